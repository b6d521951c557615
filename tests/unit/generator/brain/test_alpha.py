import math
from typing import Any

import pytest

from generator.brain.responses import read_alpha

SAMPLE = {
    "sharpe": 1.5,
    "fitness": 1.1,
    "turnover": 0.3,
    "returns": 0.1,
    "drawdown": 0.05,
    "margin": 0.0007,
    "longCount": 1500,
    "shortCount": 1400,
    "checks": [
        {"name": "LOW_SHARPE", "result": "PASS", "limit": 1.25, "value": 1.5, "more": 1},
        {"name": "SELF_CORRELATION", "result": "PENDING"},
        "rubbish",
    ],
}


def details(**sample: Any) -> dict[str, Any]:
    return {"id": "a1", "grade": "AVERAGE", "is": {**SAMPLE, **sample}}


def test_details_become_figures() -> None:
    found = read_alpha(details())
    assert found is not None
    assert found.figures() == {
        "sharpe": 1.5,
        "turnover": 0.3,
        "fitness": 1.1,
        "returns": 0.1,
        "drawdown": 0.05,
        "margin": 0.0007,
        "long_count": 1500.0,
        "short_count": 1400.0,
        "days": None,
    }
    assert (found.alpha_id, found.grade) == ("a1", "AVERAGE")
    assert found.checks == [
        {"name": "LOW_SHARPE", "result": "PASS", "limit": 1.25, "value": 1.5},
        {"name": "SELF_CORRELATION", "result": "PENDING"},
    ]


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"is": None},
        {"is": []},
        details(sharpe=None),
        details(turnover="0.3"),
        details(returns=True),
    ],
)
def test_figures_that_cannot_be_read_are_no_figures(document: Any) -> None:
    assert read_alpha(document) is None


def test_a_missing_fitness_is_unknown_and_never_zero() -> None:
    found = read_alpha(details(fitness=None, turnover=0.0, drawdown=None))
    assert found is not None
    assert math.isnan(found.fitness)
    assert found.figures()["drawdown"] is None


def test_a_fitness_that_is_not_there_yet_is_read_again() -> None:
    assert read_alpha(details(fitness=None)) is None
    found = read_alpha(details(fitness=None, turnover=0.0))
    assert found is not None
    assert math.isnan(found.fitness)


def test_a_number_of_hundreds_of_digits_is_no_figure() -> None:
    assert read_alpha(details(sharpe=10**400)) is None


def test_a_check_of_zero_is_the_number() -> None:
    found = read_alpha(details(checks=[{"name": "X", "value": 0.0, "limit": 10**400}]))
    assert found is not None
    assert found.checks == [{"name": "X", "value": 0.0, "limit": "1" + "0" * 63}]
