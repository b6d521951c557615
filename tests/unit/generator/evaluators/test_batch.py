"""Jobs and answers as text: nothing is lost on the way, and a malformed answer is refused."""

import json
import math
import struct
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from fleet.runtime.errors import GeneratorError
from generator.domain import AlphaFigures, ExpressionFault, Moments, Result, Split, Stretch
from generator.evaluators.batch import BatchError, Job, read_job, read_results, results_text
from generator.evaluators.cluster import require_versions
from generator.evaluators.remote import VERSIONS

SPLIT = Split(date(2021, 5, 1), date(2022, 5, 1))
STRETCH = Stretch(1.0, 0.1, float("nan"), 0.2, 60)
FIGURES = AlphaFigures(
    1.5, 0.2, 0.9, 0.1, 0.05, float("nan"), 12, 11, 2,
    checks=[{"name": "LOW_SHARPE", "result": "PASS", "limit": 1.25, "value": None, "hard": False}],
    grade="GOOD",
    reason="too few days",
    validation=STRETCH,
    moments=Moments(0.1, 3, 0.0, 3.0),
    pnl=struct.pack("3f", 0.1, -0.2, 0.3),
)  # fmt: skip


@pytest.mark.parametrize("split", [None, SPLIT])
def test_a_job_is_read_as_it_was_written(split: Split | None) -> None:
    job = Job("0123456789abcdef", {"delay": 1, "truncation": 0.08}, split, ["rank(close)", "-close"])
    assert read_job(job.as_text()) == job


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"panel": 1, "settings": 2, "split": null, "expressions": []}']
)
def test_a_text_that_is_no_job_is_refused(text: str) -> None:
    with pytest.raises(BatchError):
        read_job(text)


def test_results_are_read_as_they_were_written() -> None:
    sent: list[Result] = [FIGURES, ExpressionFault("position 3: unknown field")]
    found = read_results(results_text(sent), 2)
    assert repr(found) == repr(sent)
    assert isinstance(found[0], AlphaFigures)
    assert found[0].pnl == FIGURES.pnl


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    row = json.loads(results_text([FIGURES]))
    change(row["results"][0])
    return json.dumps(row)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "null",
        "{}",
        '{"results": {}}',
        '{"results": []}',
        '{"results": [{"fault": "a"}, {"fault": "b"}]}',
        '{"results": [3]}',
        '{"results": [{"fault": 3}]}',
        "[" * 100_000,
        changed(lambda row: row.update(sharpe=math.inf)),
        changed(lambda row: row.update(sharpe=math.nan)),
        changed(lambda row: row.update(sharpe=True)),
        changed(lambda row: row.update(sharpe="1.5")),
        changed(lambda row: row.pop("fitness")),
        changed(lambda row: row.update(days=-1)),
        changed(lambda row: row.update(days=1.5)),
        changed(lambda row: row.update(days=4)),
        changed(lambda row: row.update(checks={})),
        changed(lambda row: row.update(checks=[3])),
        changed(lambda row: row.update(checks=[{"value": [1]}])),
        changed(lambda row: row.update(grade=3)),
        changed(lambda row: row["validation"].update(sharpe="x")),
        changed(lambda row: row["validation"].update(days=None)),
        changed(lambda row: row["moments"].pop("kurtosis")),
        changed(lambda row: row.update(pnl="AAA")),
        changed(lambda row: row.update(pnl="AAAAAAA=")),
        changed(lambda row: row.update(pnl="AACAfwAAgH8AAIB/")),  # infinities
        results_text([FIGURES]).replace("1.5", "1e999"),
    ],
)
def test_a_malformed_answer_is_refused(text: str) -> None:
    with pytest.raises(BatchError):
        read_results(text, 1)


def test_a_text_of_a_worker_is_printable_and_short() -> None:
    [found] = read_results(json.dumps({"results": [{"fault": "a\x1b[31m" + "b" * 10_000}]}), 1)
    assert isinstance(found, ExpressionFault)
    assert found.reason.isprintable()
    assert len(found.reason) <= 2000


@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("value", [None, 0, "2"])
def test_a_worker_of_another_version_is_refused(name: str, value: object) -> None:
    require_versions({**VERSIONS, "has_panel": True}, VERSIONS)
    with pytest.raises(GeneratorError, match=rf"another version \({name} .*same release"):
        require_versions({**VERSIONS, name: value}, VERSIONS)
