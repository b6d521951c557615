"""Ingest and evaluation workers, run to their end in the test's own thread, on a real database."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.config.keep_rule import parse_keep
from fleet.runtime.errors import GeneratorError
from generator.catalogue import Kind, load_catalogue
from generator.catalogue.available import Scope
from generator.context import Shared
from generator.domain import AlphaFigures, CallRecord, Candidate, ExpressionFault, Result, Ruleset, Source
from generator.llm.candidates import FinishedCall, read_reply
from generator.reporting.events import MiningEvents
from generator.rules_in_force import RulesInForce
from generator.storage.errors import StorageError
from generator.storage.hopeful import HopefulFile
from generator.storage.read import recent_alphas
from generator.storage.store import AlphaStore
from generator.workers.evaluate import EvaluationWorker
from generator.workers.ingest import IngestWorker, StorageRetry
from generator.workers.lease import Lease
from generator.workers.publish import Publisher
from generator.workers.unstored import UnstoredCalls
from tests.reference.manual_clock import StillClock
from tests.reference.stored_rows import done_rows

PANEL = Ruleset(Source.PANEL, {"panel": "mine.csv"})
SYNTHETIC = Ruleset(Source.SYNTHETIC, {"panel": "synthetic"})


class World:
    """The parts of one run, with a still clock."""

    def __init__(self, folder: Path, rules: Ruleset = PANEL) -> None:
        self.folder = folder
        self.rules = rules
        self.clock = StillClock()
        self.stopping = threading.Event()
        events = MiningEvents(model="m", standin=False, synthetic=False, clock=self.clock)
        self.shared = Shared(
            clock=self.clock,
            scope=Scope(load_catalogue(), None),
            events=events,
            rules=RulesInForce(Ruleset(rules.source, {**rules.settings, "data": None})),
        )
        self.retry = StorageRetry(self.stopping, self.clock, events)
        self.store = AlphaStore(f"sqlite:///{folder}/alphas.db", owner="here")
        self.lease = Lease(
            store=lambda: self.store, retry=self.retry, clock=self.clock, stopping=self.stopping
        )

    def close(self) -> None:
        self.store.close()

    def ingest(self, store: AlphaStore | None = None) -> None:
        """Ingest the finished calls to the end."""
        self.shared.finished.close()
        chosen = store or self.store
        IngestWorker(self.shared, store=lambda: chosen, retry=self.retry, keep_calls=60.0).run()

    def evaluate(self, evaluator: "FakeEvaluator | Callable[[], FakeEvaluator]") -> None:
        """Evaluate the waiting candidates to the end."""
        load = evaluator if callable(evaluator) else lambda: evaluator
        publisher = Publisher(
            store=lambda: self.store,
            hopeful=HopefulFile(self.folder / "hopeful_alphas.json"),
            retry=self.retry,
            clock=self.clock,
            stopping=self.stopping,
        )
        EvaluationWorker(
            self.shared,
            evaluator=load,
            store=lambda: self.store,
            keep=parse_keep("fitness > 0.5"),
            publisher=publisher,
            retry=self.retry,
            stopping=self.stopping,
            lease=self.lease,
        ).run()
        publisher.finish(1.0)

    def finish(self, name: str, *expressions: str, error: str | None = None, **values: Any) -> None:
        """Queue a finished call whose reply holds these expressions; `values` are parts of the call."""
        reply = json.dumps({"expressions": list(expressions)})
        status, text = (500, "") if error else (200, reply)
        call = CallRecord(name, 1.0, 2.0, "m", 0, 0, "p", status, reply=text, error=error)
        call = replace(call, **values)
        self.shared.finished.put(FinishedCall(call, read_reply(call, self.shared.scope.catalogue)))


class FakeEvaluator:
    """Gives each expression the fitness of its length, and ends the run once nothing is left."""

    fields: Mapping[str, Kind] | None = {"close": Kind.MATRIX, "volume": Kind.MATRIX}
    free = 2

    def __init__(self, world: World, *, troubles: Sequence[Exception] = ()) -> None:
        self._world = world
        self.source, self.settings = world.rules.source, world.rules.settings
        self._troubles = list(troubles)
        self._batch: list[Candidate] = []
        self.seen: list[str] = []
        self.closed = False

    def submit(self, candidates: Sequence[Candidate]) -> None:
        self._batch.extend(candidates)

    def results(self, timeout: float) -> Sequence[tuple[Candidate, Result]]:
        if self._troubles:
            raise self._troubles.pop()
        batch, self._batch = self._batch, []
        self.seen += [one.expression for one in batch]
        if self._world.shared.waiting.outstanding == len(batch):
            self._world.shared.waiting.close()
            self._world.stopping.set()
        return [(one, self._result(one)) for one in batch]

    def _result(self, one: Candidate) -> Result:
        if "volume" in one.expression:
            return ExpressionFault("no volume here")
        return AlphaFigures(
            1.0, 0.2, len(one.expression) / 20, 0.1, 0.1, 0.1, 5.0, 5.0, 10, checks=[{"name": "X"}]
        )

    def close(self) -> None:
        self.closed = True


def sentences(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [str(vars(record)["sentence"]) for record in caplog.records if record.message == event]


Worlds = Callable[..., World]


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Worlds]:
    """Return a factory of runs in the same folder."""
    with ExitStack() as made:
        yield lambda rules=PANEL: made.enter_context(closing(World(tmp_path, rules)))


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds()


def test_replies_become_rows_and_candidates(world: World) -> None:
    world.finish("c1", "rank(close)", "add(close, volume)", "nonsense(")
    world.finish("c2", "add(volume, close)", "-close")
    world.finish("c3", error="boom")
    world.ingest()
    totals = world.shared.stats.totals()
    assert (totals.valid, totals.invalid, totals.duplicates) == (4, 1, 1)
    assert world.shared.finished.wait_idle(0.0)
    taken = [world.shared.waiting.get(0.0) for _ in range(3)]
    assert [one.expression for one in taken if one] == ["rank(close)", "add(close, volume)", "reverse(close)"]
    page = world.shared.notebook.snapshot()
    assert [one.reason for one in page.failed] == ["the expression ends inside a parenthesis (close it: ))"]
    assert page.repeated == ("add(volume, close)",)


def test_evaluations_are_stored_before_they_are_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world.finish("c1", "rank(close)", "rank(volume)")
    world.ingest()
    evaluator = FakeEvaluator(world)
    world.evaluate(evaluator)
    assert evaluator.closed
    assert (world.store.count("done"), world.store.count("failed"), world.store.count("pending")) == (1, 1, 0)
    assert [record.message for record in caplog.records if record.message.startswith("evaluation.")] == [
        "evaluation.done",
        "evaluation.failed",
    ]
    assert set(world.shared.scope.catalogue.fields) == {"close", "volume"}
    assert world.shared.waiting.wait_idle(0.0)


def test_what_the_last_run_left_is_evaluated_first(worlds: Worlds) -> None:
    first = worlds()
    first.finish("c1", "rank(close)")
    first.ingest()
    second = worlds()
    second.finish("c2", "zscore(close)")
    second.ingest()
    evaluator = FakeEvaluator(second)
    second.evaluate(evaluator)
    assert evaluator.seen == ["rank(close)", "zscore(close)"]
    third = worlds()
    evaluator = FakeEvaluator(third)
    third.evaluate(evaluator)
    assert evaluator.seen == []


def test_kept_alphas_of_a_real_market_are_published_once(worlds: Worlds, tmp_path: Path) -> None:
    for _ in range(2):
        world = worlds()
        world.finish("c1", "rank(close)", "zscore(close)")
        world.ingest()
        if world.shared.waiting.outstanding:
            world.evaluate(FakeEvaluator(world))
    rows = json.loads((tmp_path / "hopeful_alphas.json").read_text())
    assert [row["expression"] for row in rows] == ["rank(close)", "zscore(close)"]


def test_a_crash_before_publishing_is_made_up_for(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds()
    world.finish("c1", "rank(close)")
    world.ingest()
    world.evaluate(FakeEvaluator(world))
    file = tmp_path / "hopeful_alphas.json"
    [row] = done_rows(world.store, world.rules)
    assert row.id is not None
    assert world.store.unpublished() == []
    file.unlink()
    with world.store._transaction() as connection:
        connection.exec_driver_sql("UPDATE evaluations SET published = 0")
    again = worlds()
    again.finish("c2", "zscore(close)")
    again.ingest()
    again.evaluate(FakeEvaluator(again))
    assert len(json.loads(file.read_text())) == 2


class Doubted(FakeEvaluator):
    """Gives each expression the figures of a handful of days."""

    sign = 1.0

    def _result(self, one: Candidate) -> Result:
        figures = AlphaFigures(
            30.0, 0.2, 30.0, 0.1, 0.1, 0.1, 5.0, 5.0, 2, reason="positions on 2 of 500 days"
        )
        return replace(figures, sharpe=30.0 * self.sign, fitness=30.0 * self.sign)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_figures_that_mean_nothing_are_stored_with_the_reason_and_never_an_example(
    worlds: Worlds, tmp_path: Path, sign: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world = worlds()
    world.finish("c1", "ts_mean(close, 498)")
    world.ingest()
    evaluator = Doubted(world)
    evaluator.sign = sign
    world.evaluate(evaluator)
    assert evaluator.seen == ["ts_mean(close, 498)"]
    [row] = recent_alphas(tmp_path / "alphas.db", 9)
    assert (row.fitness, row.kept, row.reason) == (30.0 * sign, False, "positions on 2 of 500 days")
    assert not (tmp_path / "hopeful_alphas.json").exists()
    assert "positions on 2 of 500 days" in next(
        str(vars(record)) for record in caplog.records if record.message == "evaluation.done"
    )
    again = worlds()
    again.evaluate(FakeEvaluator(again))
    for one in (world, again):
        page = one.shared.notebook.snapshot()
        assert page.members == ()
        assert [(note.expression, note.reason) for note in page.failed] == [
            ("ts_mean(close, 498)", "positions on 2 of 500 days")
        ]


def test_figures_of_the_made_up_panel_are_never_published(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds(SYNTHETIC)
    world.finish("c1", "rank(close)")
    world.ingest()
    world.evaluate(FakeEvaluator(world))
    assert world.shared.stats.totals().kept == 1
    assert not (tmp_path / "hopeful_alphas.json").exists()


def test_an_evaluator_that_fails_is_tried_again(world: World) -> None:
    world.finish("c1", "rank(close)")
    world.ingest()
    attempts: list[int] = []
    seen: list[dict[str, object] | None] = []

    def load() -> FakeEvaluator:
        seen.append(world.shared.events.evaluator_failure)
        attempts.append(1)
        if len(attempts) < 3:
            raise GeneratorError("no panel", hint="bring one")
        return FakeEvaluator(
            world, troubles=[GeneratorError("the engine is away")] if len(attempts) == 3 else []
        )

    world.evaluate(load)
    assert len(attempts) == 4
    assert [one and one["reason"] for one in seen] == [None, "no panel", "no panel", "the engine is away"]
    assert {one["since"] for one in seen if one} == {1000.0}
    assert world.shared.events.evaluator_failure is None
    assert world.clock.now >= 1000.0 + 30.0
    assert world.store.count("done") == 1


class Forgetful(FakeEvaluator):
    """Loses its candidates when it fails: at its first batch, and at every batch with a `poison` in it."""

    def __init__(self, world: World, *, poison: str = "none", sound: bool = True) -> None:
        super().__init__(world)
        self._poison = poison
        self._sound = sound

    def results(self, timeout: float) -> Sequence[tuple[Candidate, Result]]:
        if self._batch and (not self._sound or any(self._poison in one.expression for one in self._batch)):
            self._batch = []
            raise RuntimeError("a fault of the engine")
        return super().results(timeout)


def test_what_an_evaluator_loses_by_failing_is_given_to_the_next_one(world: World) -> None:
    world.finish("c1", "rank(close)", "zscore(close)", "rank(volume)")
    world.ingest()
    made: list[FakeEvaluator] = []

    def load() -> FakeEvaluator:
        made.append(Forgetful(world, sound=bool(made)))
        return made[-1]

    world.evaluate(load)
    assert world.shared.waiting.wait_idle(0.0)
    assert (world.store.count("done"), world.store.count("failed"), world.store.count("pending")) == (2, 1, 0)
    assert all(one.closed for one in made)


def test_what_an_evaluator_fails_at_each_time_holds_up_nothing_else(world: World) -> None:
    world.finish("c1", "rank(close)", "scale(close)", "zscore(close)", "quantile(close)")
    world.ingest()

    world.evaluate(lambda: Forgetful(world, poison="scale"))
    assert (world.store.count("done"), world.store.count("failed"), world.store.count("pending")) == (3, 1, 0)
    [(expression, reason)] = world.store.failures(world.rules, limit=9)
    assert (expression, reason) == ("scale(close)", "the evaluator failed on it each time")
    assert world.shared.waiting.wait_idle(0.0)


class FullStore(AlphaStore):
    """A database whose disk is full for some time."""

    def __init__(self, url: str, failures: int) -> None:
        super().__init__(url, owner="here")
        self.refusals = failures

    def record_call(self, *arguments: Any, **named: Any) -> Any:
        if self.refusals:
            self.refusals -= 1
            raise StorageError("the disk is full", full=True, hint="make room")
        return super().record_call(*arguments, **named)


def test_a_full_disk_is_waited_out_and_nothing_is_lost(world: World) -> None:
    world.finish("c1", "rank(close)")
    world.finish("c2", "zscore(close)")
    with closing(FullStore(f"sqlite:///{world.folder}/alphas.db", failures=4)) as store:
        world.ingest(store)
    assert world.store.count() == 2
    assert world.clock.now >= 1000.0 + 0.2 + 1.0 + 5.0


def test_while_the_database_is_away_no_more_than_a_few_calls_begin(world: World) -> None:
    for number in range(world.shared.most_calls):
        assert world.shared.has_capacity()
        world.finish(f"c{number}", "rank(close)")
    assert not world.shared.has_capacity()


def test_at_the_end_a_database_that_is_away_is_not_waited_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.finish("c1", "rank(close)")
    world.stopping.set()
    with closing(FullStore(f"sqlite:///{world.folder}/alphas.db", failures=99)) as store:
        world.ingest(store)
    assert "intake.unstored" in caplog.text
    assert not world.shared.finished.wait_idle(0.0)


def test_a_call_that_an_end_left_is_stored_by_the_next_start_and_once(world: World) -> None:
    left = UnstoredCalls(world.folder / "unstored.json")
    world.finish("c1", "rank(close)", "rank(open)")
    world.finish("c2", "rank(volume)")
    calls = [finished.call for finished in world.shared.finished.queued()]
    world.ingest()
    left.keep([*calls, replace(calls[0], id="c3", reply='{"expressions": ["rank(high)"]}')])
    again = World(world.folder)
    again.shared.finished.close()
    ingest = IngestWorker(
        again.shared, store=lambda: again.store, retry=again.retry, keep_calls=60.0, unstored=left
    )
    ingest.run()
    assert again.store.count() == 4
    assert again.shared.waiting.outstanding == 1  # those of c1 and c2 are the evaluation worker's to load
    assert left.read() == ()
    again.close()


def test_calls_that_the_database_refuses_at_the_end_can_be_kept(world: World) -> None:
    world.finish("c1", "rank(close)")
    world.finish("c2", "rank(open)")
    world.shared.finished.close()
    world.stopping.set()
    with closing(FullStore(f"sqlite:///{world.folder}/alphas.db", failures=99)) as store:
        ingest = IngestWorker(world.shared, store=lambda: store, retry=world.retry, keep_calls=60.0)
        ingest.run()
    assert ingest.current is not None
    assert [ingest.current.call.id, *(one.call.id for one in world.shared.finished.queued())] == ["c1", "c2"]


def test_a_call_that_the_database_refuses_is_stored_without_its_texts_and_keeps_its_alphas(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.finish("c1", "rank(close)", prompt="a lone \ud800")
    world.finish("c2", "rank(volume)")
    world.ingest()
    assert world.store.count() == 2
    assert caplog.text.count("intake.refused") == 1
    [sentence] = sentences(caplog, "intake.refused")
    assert sentence.startswith("call c1: the database refuses a value")
    assert "stored without its texts" in sentence


def test_a_call_that_the_database_refuses_in_any_form_is_left_out_and_mining_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.finish("c1", "rank(close)", seed=10**30)
    world.finish("c2", "rank(volume)")
    world.ingest()
    assert world.store.count() == 1
    assert "It is left out" in sentences(caplog, "intake.refused")[-1]
    assert world.clock.now == 1000.0  # nothing was waited for


def test_a_call_of_an_earlier_program_that_the_database_refuses_blocks_no_other(world: World) -> None:
    left = UnstoredCalls(world.folder / "unstored.json")
    world.finish("c1", "rank(close)")
    [finished] = world.shared.finished.queued()
    good = finished.call
    left.keep([replace(good, id="\ud800"), replace(good, id="c2", rung=10**18), replace(good, id="c3")])
    again = World(world.folder)
    again.shared.finished.close()
    IngestWorker(
        again.shared, store=lambda: again.store, retry=again.retry, keep_calls=60.0, unstored=left
    ).run()
    assert again.store.count() == 1
    assert left.read() == ()
    again.close()


class Unstorable(FakeEvaluator):
    """Gives the first expression figures that no database takes."""

    def _result(self, one: Candidate) -> Result:
        figures = super()._result(one)
        assert isinstance(figures, AlphaFigures)
        return replace(figures, days=10**30) if one.expression == "rank(close)" else figures


def test_figures_that_the_database_refuses_are_a_failure_of_the_alpha(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.finish("c1", "rank(close)", "zscore(close)")
    world.ingest()
    evaluator = Unstorable(world)
    world.evaluate(evaluator)
    assert [row.candidate.expression for row in done_rows(world.store, world.rules)] == ["zscore(close)"]
    assert world.store.count("failed") == 1
    assert world.store.failures(world.rules, limit=9) == [("rank(close)", "the database refuses its result")]
    assert evaluator.seen.count("rank(close)") == 1
    assert caplog.text.count("evaluation.refused") == 1


class Losing(FakeEvaluator):
    """Gives an expression without a sign a loss, in a database that is replaced by an empty one meanwhile."""

    def submit(self, candidates: Sequence[Candidate]) -> None:
        super().submit(candidates)
        with self._world.store.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM evaluations WHERE state = 'pending'")
            connection.exec_driver_sql("DELETE FROM calls WHERE id NOT IN (SELECT call_id FROM evaluations)")

    def _result(self, one: Candidate) -> Result:
        figures = super()._result(one)
        assert isinstance(figures, AlphaFigures)
        return figures if "reverse" in one.expression else replace(figures, sharpe=-1.0, fitness=-1.0)


def test_the_opposite_of_an_alpha_is_stored_in_a_database_that_was_replaced_since(world: World) -> None:
    world.finish("c1", "rank(close)")
    world.ingest()
    world.evaluate(Losing(world))
    assert [row.candidate.expression for row in done_rows(world.store, world.rules)] == ["rank(close)"]
    [opposite] = world.store.pending(world.rules, limit=9)
    assert (opposite.expression, opposite.call) == ("reverse(rank(close))", None)


NEW_DATA = Ruleset(Source.PANEL, {"panel": "mine.csv", "data": "b2"})


def test_other_data_make_an_expression_new_and_nothing_found_before_counts(worlds: Worlds) -> None:
    first = worlds()
    first.finish("c1", "rank(close)", "rank(volume)")
    first.ingest()
    first.evaluate(FakeEvaluator(first))
    second = worlds(NEW_DATA)
    second.finish("c2", "rank(close)", "rank(volume)")
    second.ingest()
    assert second.shared.stats.totals().duplicates == 0
    page = second.shared.notebook.snapshot()
    assert (page.members, page.failed, page.repeated) == ((), (), ())
    evaluator = FakeEvaluator(second)
    second.evaluate(evaluator)
    assert sorted(evaluator.seen) == ["rank(close)", "rank(volume)"]
    rows = recent_alphas(second.folder / "alphas.db", 9)
    assert [(row.expression, row.settings.get("data")) for row in rows] == [
        ("rank(close)", "b2"),
        ("rank(close)", None),
    ]


def test_kept_alphas_are_evaluated_before_new_ones_when_the_data_change(
    worlds: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = worlds()
    first.finish("c1", "rank(close)", "zscore(close)", "scale(close, longscale=1)", "close", "rank(volume)")
    first.ingest()
    first.evaluate(FakeEvaluator(first))
    second = worlds(NEW_DATA)
    second.finish("c2", "quantile(close)")
    second.ingest()
    evaluator = FakeEvaluator(second)
    second.evaluate(evaluator)
    # The best first; neither the failed one nor the one that was not kept.
    assert evaluator.seen == ["scale(close, longscale=1)", "zscore(close)", "rank(close)", "quantile(close)"]
    assert "evaluations.again" in [record.message for record in caplog.records]
    again = worlds(NEW_DATA)
    evaluator = FakeEvaluator(again)
    again.evaluate(evaluator)
    assert evaluator.seen == []


class Renewed(FakeEvaluator):
    """Its data change once all its candidates are evaluated."""

    def results(self, timeout: float) -> Sequence[tuple[Candidate, Result]]:
        batch, self._batch = self._batch, []
        self.seen += [one.expression for one in batch]
        if not batch:
            self._world.clock.now += 60.0
        return [(one, self._result(one)) for one in batch]

    def has_new_data(self) -> bool:
        return True


def test_new_data_are_read_while_mining(world: World) -> None:
    world.finish("c1", "rank(close)")
    world.ingest()
    made: list[FakeEvaluator] = []

    def load() -> FakeEvaluator:
        made.append(FakeEvaluator(world) if made else Renewed(world))
        made[-1].settings = (NEW_DATA if len(made) > 1 else PANEL).settings
        return made[-1]

    world.evaluate(load)
    assert [one.seen for one in made] == [["rank(close)"], ["rank(close)"]]
    assert made[0].closed
    with world.shared.rules.held() as rules:
        assert rules == NEW_DATA
    assert [one.settings for one in done_rows(world.store, NEW_DATA)] == [NEW_DATA.settings]


def test_candidates_of_before_the_panel_was_loaded_are_tried_once(worlds: Worlds) -> None:
    first = worlds()
    first.finish("c1", "rank(close)")
    first.ingest()
    first.evaluate(FakeEvaluator(first))
    second = worlds()
    second.finish("c2", "rank(close)", "zscore(close)")
    second.ingest()
    evaluator = FakeEvaluator(second)
    second.evaluate(evaluator)
    assert evaluator.seen == ["zscore(close)"]
    totals = second.shared.stats.totals()
    assert (totals.valid, totals.duplicates) == (2, 1)
    with second.store.transaction() as connection:
        counts = connection.exec_driver_sql("SELECT id, duplicates FROM calls ORDER BY id").all()
    assert [tuple(row) for row in counts] == [("c1", 0), ("c2", 1)]
