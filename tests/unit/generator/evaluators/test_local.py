"""The local evaluator with a fake backtest."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.config.schema import PanelSettings
from generator.backtest.settings import AlphaSettings
from generator.backtest.synthetic import synthetic_panel
from generator.catalogue import load_catalogue
from generator.domain import AlphaFigures, Candidate, ExpressionFault, Ruleset, Source
from generator.evaluators.local import BATCH, LocalEvaluator, backtest_settings, tree_of
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
        kept: Sequence[object],
    ) -> list[Any]:
        self.runs += 1
        if any("volume" in show(tree) for tree in trees):
            raise TypeError("a fault of the engine")
        return [show(tree) for tree in trees]


@pytest.fixture
def evaluator(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEvaluator]:
    made = LocalEvaluator.__new__(LocalEvaluator)
    made._backtest = made._engine = Engine()  # type: ignore[assignment]  # ours in their place
    made._panel = made._settings = SimpleNamespace()  # type: ignore[assignment]
    made._rules = Ruleset(Source.SYNTHETIC, {})
    made._catalogue = load_catalogue()
    made._batch, made._batch_size, made._kept, made._recent = [], 1, {}, {}
    monkeypatch.setattr("generator.evaluators.local._result", lambda outcome: outcome)
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
