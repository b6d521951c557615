from random import Random
from typing import Any

import pytest

from generator.domain import (
    Admission,
    AlphaFigures,
    CallRecord,
    Candidate,
    Evaluated,
    Origin,
    Source,
    Stretch,
)
from generator.llm.feedback import Notebook, failure_of
from generator.llm.themes import ARMS, new_theme
from generator.pool.admission import SAME_POSITIONS
from generator.pool.model import Member, Pool

FIGURES: dict[str, Any] = {
    "sharpe": 1.0, "turnover": 0.2, "fitness": 1.0, "returns": 0.1, "drawdown": 0.1, "margin": 0.1,
    "long_count": 5.0, "short_count": 5.0, "days": 300,
}  # fmt: skip
ADMITTED = Admission(admitted=True)
REFUSED = Admission(admitted=False, reason="its fitness is 0.10; above 0.5 is required")


def evaluated(admission: Admission | None = None, **values: Any) -> Evaluated:
    figures = AlphaFigures(**{**FIGURES, **values})
    return Evaluated(
        Candidate("d", "rank(close)", "rank(close)", call="c"), Source.PANEL, {}, figures, admission=admission
    )


def call(seed: int, name: str = "c") -> CallRecord:
    return CallRecord(name, 1.0, 2.0, "m:1b", 0, 0, "p", 200, seed=seed)


def test_repetitions_displace_no_failure() -> None:
    notebook = Notebook()
    notebook.failed("f", "wrong")
    for number in range(50):
        notebook.repeated(f"r{number % 30}")
    page = notebook.snapshot()
    assert page.repeated[:2] == ("r19", "r18")
    assert len(page.repeated) == 24
    assert [one.expression for one in page.failed] == ["f"]


def test_failures_come_newest_first_once_each_and_bounded() -> None:
    notebook = Notebook()
    for number in range(50):
        notebook.failed(f"f{number}", "wrong")
    notebook.failed("f30", "wrong again")
    notebook.note(Evaluated(Candidate("x", "x", "x"), Source.PANEL, {}, error="no such group"))
    failed = notebook.snapshot().failed
    assert [(one.expression, one.reason) for one in failed[:2]] == [
        ("x", "no such group"),
        ("f30", "wrong again"),
    ]
    assert len(failed) == len({one.expression for one in failed}) == 24


def test_the_pools_members_are_shown() -> None:
    member = Member(Candidate("d", "rank(close)", "rank(close)"), Stretch(1.0, 0.2, 1.0, 0.1, 300))
    notebook = Notebook()
    notebook.show(Pool((member,)))
    assert notebook.snapshot().members == (member,)
    notebook.show(Pool())
    assert notebook.snapshot().members == ()


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (Evaluated(Candidate("x", "x", "x"), Source.PANEL, {}, error="no such group"), "no such group"),
        (evaluated(days=0, reason="its values are 0"), "never takes a position: its values are 0"),
        (evaluated(reason="it holds positions on 3 days"), "it holds positions on 3 days"),
        (
            evaluated(Admission(admitted=False, reason=f"{SAME_POSITIONS} rank(open)")),
            "the same positions as rank(open)",
        ),
        (evaluated(REFUSED, fitness=0.1), ""),
        (evaluated(ADMITTED), ""),
        (evaluated(), ""),
    ],
)
def test_a_failure_has_its_reason(one: Evaluated, reason: str) -> None:
    assert failure_of(one) == reason


def test_an_alphas_admission_is_its_themes_reward() -> None:
    notebook = Notebook()
    notebook.wrote(call(new_theme(ARMS[4], Random(1)) + 3))
    notebook.note(evaluated(ADMITTED))
    notebook.note(evaluated(REFUSED))
    results = notebook.theme_results
    assert results.admitted[4] == pytest.approx(1.0, abs=0.01)
    assert results.refused[4] == 1.0
    assert sum(results.admitted) + sum(results.refused) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("origin", [Origin.BRED, Origin.FLIPPED, Origin.VARIED])
def test_what_the_model_did_not_write_rewards_no_theme(origin: Origin) -> None:
    notebook = Notebook()
    notebook.wrote(call(new_theme(ARMS[4], Random(1))))
    one = evaluated(ADMITTED)
    candidate = Candidate("d", "rank(close)", "rank(close)", call="c", origin=origin)
    notebook.note(Evaluated(candidate, one.source, {}, one.performance, admission=ADMITTED))
    notebook.note(evaluated())  # the pool was not asked
    assert not sum(notebook.theme_results.admitted)


def test_an_alpha_of_an_unknown_call_rewards_no_theme() -> None:
    notebook = Notebook()
    for number in range(1500):
        notebook.wrote(call(new_theme(ARMS[4], Random(1)), f"c{number}"))
    notebook.note(evaluated(ADMITTED))
    assert not sum(notebook.theme_results.admitted)


def test_results_are_restored_from_seeds() -> None:
    notebook = Notebook()
    rng = Random(1)
    notebook.restore_results([(new_theme(ARMS[2], rng), True), (new_theme(ARMS[2], rng) + 5, False)])
    results = notebook.theme_results
    assert (round(results.admitted[2]), round(results.refused[2])) == (1, 1)
