"""A screen's two evaluations on one database, with scripted evaluators."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fleet.config.keep_rule import parse_keep
from fleet.config.schema import BrainSettings, PanelSettings
from fleet.runtime.home import Home
from generator.brain.api import simulation_settings
from generator.brain.credentials import CredentialSource
from generator.catalogue import Kind, load_catalogue
from generator.catalogue.available import Scope
from generator.context import Shared
from generator.domain import AlphaFigures, CallRecord, Candidate, Result, Ruleset, Source
from generator.evaluators.brain import BrainPlan, EvaluatorContext
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import Promotion, ScreenPlan
from generator.reporting.events import MiningEvents
from generator.rules_in_force import RulesInForce
from generator.storage.hopeful import HopefulFile
from generator.storage.store import AlphaStore
from generator.workers.evaluate import EvaluationWorker
from generator.workers.ingest import StorageRetry
from generator.workers.lease import Lease
from generator.workers.publish import Publisher
from tests.reference.manual_clock import StillClock

LOADED = Ruleset(Source.PANEL, {"panel": "mine.csv", "data": "1f2e"})


class Scripted:
    """Gives scripted results, `slots` at a time, and ends after the last."""

    fields: dict[str, Kind] | None = None
    settings: Mapping[str, Any]

    def __init__(
        self, fitness: dict[str, float], stopping: threading.Event, *, source: Source, slots: int
    ) -> None:
        self.fitness = dict(fitness)
        self.source = source
        self.free = slots
        self.seen: list[str] = []
        self._stopping = stopping
        self._batch: list[Candidate] = []

    def submit(self, candidates: Sequence[Candidate]) -> None:
        assert len(candidates) <= self.free
        self._batch += candidates

    def results(self, timeout: float) -> Sequence[tuple[Candidate, Result]]:
        batch, self._batch = self._batch, []
        found: list[tuple[Candidate, Result]] = []
        for one in batch:
            fitness = self.fitness.pop(one.expression)
            alpha = f"a-{one.expression}" if self.source is Source.BRAIN else None
            figures = AlphaFigures(fitness, 0.2, fitness, 0.1, 0.1, 0.1, 5.0, 5.0, None, alpha_id=alpha)
            self.seen.append(one.expression)
            found.append((one, figures))
        if not self.fitness:
            self._stopping.set()
        return found

    def close(self) -> None:
        return


class ScreenWorld:
    """One run's parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = StillClock()
        self.stopping = threading.Event()
        events = MiningEvents(model="m", standin=False, synthetic=False, clock=self.clock)
        self.shared = Shared(
            clock=self.clock, scope=Scope(load_catalogue(), None), events=events, rules=RulesInForce(LOADED)
        )
        self.retry = StorageRetry(self.stopping, self.clock, events)
        self.store = AlphaStore(f"sqlite:///{folder}/alphas.db", owner="here")
        self.lease = Lease(
            store=lambda: self.store, retry=self.retry, clock=self.clock, stopping=self.stopping
        )
        panel, brain = PanelSettings(path="mine.csv"), BrainSettings()
        self.plan = ScreenPlan(
            LocalPlan(panel, Source.PANEL),
            BrainPlan(
                brain,
                simulation_settings(brain, panel),
                CredentialSource({}, ()),
                "http://127.0.0.1:9",
                Home(folder),
            ),
        )
        self.tools = EvaluatorContext(
            lambda: self.store,
            self.retry,
            self.clock,
            Random(0),
            self.stopping,
            self.shared.scope,
            self.shared.stats,
            self.shared.rules,
        )

    def waiting(self, *expressions: str) -> None:
        """Queue candidates as the ingest worker does."""
        call = CallRecord("c1", 1.0, 2.0, "m", 0, 0, "p", 200)
        rows = [Candidate(text, text, text, "c1", "m") for text in expressions]
        for one in self.store.record_call(call, rows, LOADED)[0]:
            self.shared.waiting.put(one)

    def evaluate(self, evaluator: Scripted) -> list[str]:
        """Run one of the two evaluations to its end; return its expressions in order."""
        self.stopping.clear()
        brain = evaluator.source is Source.BRAIN
        evaluator.settings = self.plan.brain.rules.settings if brain else LOADED.settings
        publisher = Publisher(
            store=lambda: self.store,
            hopeful=HopefulFile(self.folder / "hopeful_alphas.json"),
            retry=self.retry,
            clock=self.clock,
            stopping=self.stopping,
        )
        EvaluationWorker(
            self.shared,
            evaluator=lambda: evaluator,
            store=lambda: self.store,
            keep=parse_keep("fitness > 0.5"),
            publisher=publisher,
            retry=self.retry,
            stopping=self.stopping,
            lease=self.lease,
            queue=Promotion(self.plan, self.tools) if brain else None,
        ).run()
        publisher.finish(1.0)
        return evaluator.seen

    def local(self, **fitness: float) -> list[str]:
        self.waiting(*fitness)
        return self.evaluate(Scripted(fitness, self.stopping, source=Source.PANEL, slots=8))

    def brain(self, slots: int = 1, **fitness: float) -> list[str]:
        return self.evaluate(Scripted(fitness, self.stopping, source=Source.BRAIN, slots=slots))

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScreenWorld]:
    with closing(ScreenWorld(tmp_path)) as made:
        yield made


def test_the_best_of_the_panel_goes_to_brain_first_and_losers_never(world: ScreenWorld) -> None:
    world.local(close=0.2, high=1.5, low=0.9, cap=-0.1)
    assert world.brain(high=0.7, low=0.8, close=0.1) == ["high", "low", "close"]
    assert world.store.count("done") == 7


def test_what_comes_in_later_and_is_better_goes_before_what_waits(world: ScreenWorld) -> None:
    world.local(close=0.2, high=1.5)
    assert world.brain(high=0.7) == ["high"]
    call = CallRecord("c2", 1.0, 2.0, "m", 0, 0, "p", 200)
    [one] = world.store.record_call(call, [Candidate("open", "open", "open", "c2", "m")], LOADED)[0]
    world.shared.waiting.put(one)
    world.evaluate(Scripted({"open": 3.0}, world.stopping, source=Source.PANEL, slots=8))
    assert world.brain(open=0.7, close=0.1) == ["open", "close"]


def test_a_restart_takes_up_what_brain_was_given(world: ScreenWorld) -> None:
    world.local(close=0.2, high=1.5, low=0.9)
    promotion = Promotion(world.plan, world.tools)
    given = promotion.get(0.0)
    assert given is not None
    assert given.expression == "high"
    with closing(ScreenWorld(world.folder)) as again:
        again.shared.waiting.close()
        assert again.brain(slots=2, high=0.7, low=0.8) == ["high", "low"]


def test_what_others_left_hides_nothing_of_the_last_run(world: ScreenWorld) -> None:
    world.local(high=1.5)
    assert Promotion(world.plan, world.tools).get(0.0) is not None
    again = Promotion(world.plan, world.tools)
    again.put_first([])  # a claim while BRAIN has no free slot
    found = again.get(0.0)
    assert found is not None
    assert found.expression == "high"


def test_brains_own_word_stands_in_the_file_of_hopeful_alphas(world: ScreenWorld) -> None:
    world.local(high=1.5, low=0.9)
    world.brain(high=0.7, low=0.1)
    rows = json.loads((world.folder / "hopeful_alphas.json").read_text())
    assert [(row["expression"], row["alpha_id"], row["fitness"]) for row in rows] == [
        ("high", "a-high", 0.7),
        ("low", None, 0.9),
    ]


@pytest.mark.parametrize("turned", [0.9, 0.1])
def test_an_alpha_that_loses_steadily_is_tried_with_the_opposite_sign(
    world: ScreenWorld, turned: float
) -> None:
    seen = world.local(close=-0.9, low=-0.2)
    assert seen == ["close", "low"]
    again = world.evaluate(Scripted({"reverse(close)": turned}, world.stopping, source=Source.PANEL, slots=8))
    assert again == ["reverse(close)"]
    assert world.store.count("done") == 3
    assert world.brain(**{"reverse(close)": 0.7}) == ["reverse(close)"]


def test_brain_s_own_losers_are_turned_too(world: ScreenWorld) -> None:
    world.local(high=1.5)
    assert world.brain(**{"high": -0.7, "reverse(high)": 0.7}) == ["high", "reverse(high)"]


def test_only_what_both_know_is_offered() -> None:
    scope = Scope(load_catalogue(), {"close": Kind.MATRIX, "mine_alone": Kind.MATRIX}, known_only=True)
    assert set(scope.catalogue.fields) == {"close"}
    scope.adopt(load_catalogue().restricted_to(fields=["open", "volume"]))
    assert set(scope.catalogue.fields) == set()
    scope.restrict({"open": Kind.MATRIX, "close": Kind.MATRIX})
    assert set(scope.catalogue.fields) == {"open"}
