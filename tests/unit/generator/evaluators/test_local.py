"""The local evaluator with a fake backtest."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fleet.config.schema import PanelSettings
from generator.backtest.settings import AlphaSettings
from generator.backtest.synthetic import synthetic_panel
from generator.catalogue import Kind, load_catalogue
from generator.domain import AlphaFigures, Candidate, ExpressionFault, Ruleset, Source
from generator.evaluators.local import (
    BATCH,
    LocalEvaluator,
    LocalPlan,
    PanelFiles,
    backtest_settings,
    tree_of,
)
from generator.language import Field, Node, parse, show


class Never:
    """A class that no outcome here is an instance of."""


@dataclass
class Engine:
    """Fails on every expression with the field `volume`; counts its runs."""

    runs: int = 0
    Evaluation = Never

    def evaluate(
        self,
        trees: Sequence[Node],
        panel: object,
        settings: object,
        *,
        engine: object,
        split: object,
    ) -> list[Any]:
        self.runs += 1
        if any("volume" in show(tree) for tree in trees):
            raise TypeError("a fault of the engine")
        return [show(tree) for tree in trees]


@pytest.fixture
def evaluator(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEvaluator]:
    made = LocalEvaluator.__new__(LocalEvaluator)
    made._backtest = made._engine = Engine()  # type: ignore[assignment]  # ours in their place
    made._split, made._moved = None, lambda: False
    made._panel = made._settings = SimpleNamespace()  # type: ignore[assignment]
    made._rules = Ruleset(Source.SYNTHETIC, {})
    made._catalogue = load_catalogue()
    made._files, made._warned = PanelFiles(""), set()
    made._batch, made._batch_size = [], 1
    monkeypatch.setattr("generator.evaluators.local._result", lambda outcome, *_: outcome)
    with ThreadPoolExecutor(1) as made._executor:
        yield made


class Here(Executor):
    """Runs each task where it is submitted, and counts them."""

    def __init__(self) -> None:
        self.tasks = 0
        self.ended = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.tasks += 1
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.ended = True


def candidate(expression: str) -> Candidate:
    return Candidate(expression, expression, expression)


def test_the_first_ones_go_alone_and_then_ever_more(evaluator: LocalEvaluator) -> None:
    sizes = []
    for _ in range(6):
        sizes.append(evaluator.free)
        evaluator.submit([candidate("close")] * evaluator.free)
        evaluator.results(0.0)
    assert sizes == [1, 2, 4, 8, 8, 8]
    assert BATCH == 8


def test_where_the_engine_fails_only_the_one_at_fault_pays(
    evaluator: LocalEvaluator, caplog: pytest.LogCaptureFixture
) -> None:
    batch = [candidate(text) for text in ("rank(close)", "rank(volume)", "open", "gone(close)")]
    evaluator.submit(batch)
    results = evaluator.results(0.0)
    assert [one for one, _ in results] == batch
    good, bad, other, unread = (result for _, result in results)
    assert [str(good), str(other)] == ["rank(close)", "open"]
    assert bad == ExpressionFault("the evaluator failed on it (TypeError)")
    assert isinstance(unread, ExpressionFault)
    assert "unknown operator" in unread.reason
    assert [record.message for record in caplog.records] == ["evaluator.failed"]


def test_look_backs_that_leave_two_days_are_reported() -> None:
    panel = synthetic_panel(days=60, instruments=30)
    made = LocalEvaluator(panel, backtest_settings(PanelSettings()), Ruleset(Source.PANEL, {}))
    try:
        made.submit([candidate("ts_delta(close, 57)")])
        [(_, short)] = made.results(0.0)
        made.submit([candidate("ts_delta(close, 5)")])
        [(_, long)] = made.results(0.0)
    finally:
        made.close()
    assert isinstance(short, AlphaFigures)
    assert isinstance(long, AlphaFigures)
    assert "on 2 of the panel's 60 days" in short.reason
    assert long.reason == ""
    assert short.checks[-1]["result"] == "FAIL"


def test_a_tree_is_used_as_it_came_and_read_only_where_there_is_none() -> None:
    catalogue = load_catalogue()
    tree = Field("close")
    assert tree_of(Candidate("d", "something else", "x", tree=tree), catalogue) is tree
    assert tree_of(candidate("rank(close)"), catalogue) == parse("rank(close)", catalogue)


def test_a_batch_is_one_task_of_the_executor_that_is_given() -> None:
    here = Here()
    panel = synthetic_panel(days=60, instruments=20)
    made = LocalEvaluator(panel, AlphaSettings(), Ruleset(Source.SYNTHETIC, {}), executor=here)
    for batch in (["rank(close)"], ["rank(close)", "-rank(close)"]):
        made.submit([candidate(text) for text in batch])
        assert len(made.results(0.0)) == len(batch)
    assert here.tasks == 2
    made.close()
    assert not here.ended


def plan(path: Path, neutralization: str = "industry") -> LocalPlan:
    return LocalPlan(PanelSettings(path=str(path), neutralization=neutralization), Source.PANEL)


def write_panel(path: Path, *, last: float = 100.0, days: int = 30) -> None:
    rows = ["date,symbol,close,volume"]
    for day in range(days):
        for symbol in range(12):
            price = last if day == days - 1 and symbol == 0 else 100 + symbol + (day * (symbol + 1)) % 7
            rows.append(
                f"{np.datetime64('2024-01-01') + np.timedelta64(day, 'D')},S{symbol:02d},{price},{1000 + day}"
            )
    path.write_text("\n".join(rows) + "\n")


def loaded(made: LocalPlan) -> Ruleset:
    evaluator = made.load()
    try:
        return Ruleset(evaluator.source, evaluator.settings)
    finally:
        evaluator.close()


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    write_panel(tmp_path / "mine.csv")
    return tmp_path / "mine.csv"


def test_the_key_is_of_the_panels_content_and_the_neutralization_really_used(mine: Path) -> None:
    first, before = loaded(plan(mine)), plan(mine).rules
    assert (first.settings["neutralization"], first.settings["last_date"]) == ("market", "2024-01-30")
    assert before.key != first.key
    assert loaded(plan(mine, "market")).key == first.key
    assert loaded(plan(mine, "none")).key != first.key
    moved = mine.with_name("moved.csv")
    moved.write_bytes(mine.read_bytes())
    assert loaded(plan(moved)).key == first.key
    write_panel(mine, last=101.0)
    changed = loaded(plan(mine))
    assert changed.key != first.key
    write_panel(mine, days=31)
    assert loaded(plan(mine)).settings["last_date"] == "2024-01-31"


def test_a_version_of_engine_or_canonical_form_has_keys_of_its_own(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = loaded(plan(mine)).key
    monkeypatch.setattr("generator.backtest.settings.ENGINE_VERSION", 99)
    second = loaded(plan(mine)).key
    monkeypatch.setattr("generator.evaluators.local.CANONICAL_VERSION", 99)
    assert len({first, second, loaded(plan(mine)).key}) == 3


def test_every_part_of_a_panel_is_in_its_content() -> None:
    panel = synthetic_panel(days=20, instruments=10)
    name, matrix = next(iter(panel.fields.items()))
    other = matrix.copy()
    other[-1, -1] += 1e-9
    group, codes = next(iter(panel.groups.items()))
    regrouped = codes.copy()
    regrouped[0, 0] = -1
    variants = [
        panel,
        replace(panel, fields={**panel.fields, name: other}),
        replace(panel, fields={**panel.fields, "more": matrix}),
        replace(panel, groups={**panel.groups, group: regrouped}),
        replace(panel, symbols=("X", *panel.symbols[1:])),
        replace(panel, dates=panel.dates + np.timedelta64(1, "D")),
        replace(panel, gaps=np.array([[2, 5, 0]], dtype=np.int32)),
        replace(panel, universe=np.ones(panel.shape, dtype=np.bool_)),
    ]
    assert len({one.content() for one in variants}) == len(variants)
    assert replace(panel, warnings=("odd",)).content() == panel.content()


def test_a_warning_of_the_engine_reaches_the_log_once(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = plan(mine).load()
    for text in ("rank(close)", "rank(volume)", "close"):
        made.submit([candidate(text)])
        made.results(0.0)
    made.close()
    found = [str(vars(record)) for record in caplog.records if record.message == "evaluator.warning"]
    assert len(found) == 1
    assert "no industry groups: neutralized by market instead" in found[0]


def test_new_data_are_noticed_once_they_are_written_whole(mine: Path) -> None:
    files = PanelFiles(str(mine))
    assert not files.changed()
    for days in (31, 32):
        write_panel(mine, days=days)
        assert not files.changed()  # another write may follow
    assert files.changed()
    mine.unlink()
    assert not files.changed()
    assert not files.changed()
    assert not PanelFiles("").changed()


def test_a_plan_knows_the_fields_that_its_panel_had_at_the_last_loading(mine: Path) -> None:
    assert plan(mine).fields is None
    plan(mine).load().close()
    known = plan(mine).fields
    assert known is not None
    assert (known["close"], known["market"]) == (Kind.MATRIX, Kind.GROUP)
    assert "eps" not in known
    assert plan(mine.with_name("other.csv")).fields is None


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"path": 1}', '{"path": "P", "fields": {"close": "odd"}}', "[" * 9999]
)
def test_a_damaged_file_of_fields_is_passed_over(mine: Path, text: str) -> None:
    plan(mine).load().close()
    [file] = mine.parent.glob("home/panels/fields.json")
    file.write_text(text.replace('"P"', json.dumps(str(mine))))
    assert plan(mine).fields is None
    plan(mine).load().close()
    assert plan(mine).fields
