"""BRAIN's client and simulator against the stand-in, on one clock that a test moves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from fleet.config.schema import BrainSettings, PanelSettings
from generator.brain.api import BrainApi, simulation_settings
from generator.brain.credentials import Credentials
from generator.brain.events import BrainEvents
from generator.brain.http import BrainHttp
from generator.brain.session import BrainSession, SessionFile
from generator.brain.sign_in import SignInTurns
from generator.brain.simulations import Simulator
from generator.domain import AlphaFigures, CallRecord, Candidate, Evaluated, Result, Ruleset, Source
from generator.storage.simulations import SimulationTable
from generator.storage.store import AlphaStore
from standin.brain.server import StandinBrain
from standin.brain.settings import BrainStandinSettings
from tests.reference.manual_clock import StillClock

QUICK = BrainStandinSettings(seconds=10.0, retry_after=2.5)
RULES = Ruleset(Source.BRAIN, simulation_settings(BrainSettings(), PanelSettings()))


class BrainWorld:
    """A stand-in BRAIN and a home; the simulator can be thrown away and made anew, as by a restart."""

    def __init__(self, folder: Path, settings: BrainStandinSettings = QUICK) -> None:
        self.folder = folder
        self.clock = StillClock(1_700_000_000.0)
        self.server = StandinBrain(settings, clock=self.clock.monotonic).start()
        self.account = Credentials(settings.email, settings.password, "v1")
        self.store = AlphaStore(f"sqlite:///{folder}/alphas.db", owner="here")
        self.table = SimulationTable(self.store, RULES)
        self.events = BrainEvents()
        self.rules = RULES
        self.done: dict[str, Result] = {}
        self.wires: list[BrainHttp] = []
        self.given: dict[int, set[str]] = {}

    def session(self, store: AlphaStore | None = None) -> BrainSession:
        """Return a session of this home, or of another one with a store of the same database."""
        store = store or self.store
        wire = BrainHttp(self.server.url, timeouts=(5.0, 5.0))
        self.wires.append(wire)
        file = SessionFile(self.folder / ("brain.json" if store is self.store else f"{store.owner}.json"))
        turns = SignInTurns(store, lambda action: action())
        return BrainSession(wire, lambda: self.account, file, self.clock, turns)

    def api(self, settings: Mapping[str, Any] = RULES.settings) -> BrainApi:
        return BrainApi(self.session(), self.clock, settings)

    def simulator(self, *, slots: int = 3, budget: int = 0, api: BrainApi | None = None) -> Simulator:
        return Simulator(
            api or self.api(),
            self.table,
            retry=lambda action: action(),
            clock=self.clock,
            rng=Random(0),
            slots=slots,
            budget=budget,
            events=self.events,
        )

    def candidates(self, *expressions: str) -> list[Candidate]:
        """Return candidates that are rows already."""
        call = CallRecord("-".join(expressions)[:32], 1.0, 2.0, "m", 0, 0, "p", 200)
        rows = [Candidate(text, text, text, call.id, "m") for text in expressions]
        self.store.record_call(call, rows, self.rules)
        return rows

    def run(
        self,
        simulator: Simulator,
        waiting: Sequence[Candidate] = (),
        *,
        until: Callable[[], bool] | None = None,
        hours: float = 3.0,
    ) -> dict[str, Result]:
        """Work until all that waits is done (or something holds), each result stored as it comes."""
        given = self.given.setdefault(id(simulator), set())
        queue = [one for one in waiting if one.digest not in given]
        wanted = {one.digest for one in waiting}
        end = self.clock.now + hours * 3600
        idle = 20.0 if hours < 5 else 120.0  # long waits in larger steps
        while self.clock.now < end:
            free = simulator.free
            simulator.submit(queue[:free])
            given.update(one.digest for one in queue[:free])
            queue = queue[free:]
            for candidate, result in simulator.step():
                self.finish(candidate, result)
            if until() if until else wanted <= self.done.keys():
                return self.done
            self.clock.now += max(0.5, min(simulator.next_due() - self.clock.now, idle))
        raise AssertionError(
            f"not done in {hours} h: {wanted - self.done.keys()}; {self.server.requests[-20:]}"
        )

    def finish(self, candidate: Candidate, result: Result) -> None:
        """Store a result; a second one of the same candidate is an error."""
        assert candidate.digest not in self.done
        self.done[candidate.digest] = result
        figures = result if isinstance(result, AlphaFigures) else None
        error = None if isinstance(result, AlphaFigures) else result.reason
        row = Evaluated(candidate, RULES.source, RULES.settings, figures, error, time=self.clock.now)
        self.store.finish(replace(row), RULES)

    def requests(self, method: str, path: str) -> int:
        """Return how many requests began with this path."""
        return sum(m == method and p.startswith(path) for m, p in self.server.requests)

    def close(self) -> None:
        for wire in self.wires:
            wire.close()
        self.store.close()
        self.server.stop()
