"""Reading, store and switcher as one machine, with a crash at any write and at any effect (hypothesis).

Log, Ollama and supervisord are fakes in this process; state file, history, policy and executor are the real ones. A crash
is an exception in the middle of a step, after which everything but the files and the fakes begins anew.
"""

import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fleet.clients.ollama import Generation, LocalModel
from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.config.ladder import Ladder, Rung, full_name
from fleet.config.schema import PolicySettings, Settings
from fleet.policy.decide import decide
from fleet.policy.events import Event, EventKind
from fleet.policy.facts import Command, PrefetchDone, Tick, Unpin, VerifyEnded
from fleet.policy.incident_count import count
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchKind, SwitchPhase
from fleet.runtime.errors import FleetError, OllamaError, SwitchError
from fleet.runtime.home import Home
from monitor.detection.detector import Detector
from monitor.inbox import Fact
from monitor.ingest import LOG, SIGNALS, Context, absorb_batch, absorb_fact, absorb_time
from monitor.sources.base import LogLine
from monitor.switching import generator_process, reconcile
from monitor.switching.executor import Switcher
from monitor.switching.generator_process import Generator
from monitor.switching.reconcile import SwitchJob
from state.history import read_history
from state.store import StateStore, read_state
from tests.processes.fleet import stamped_failure

LADDER = Ladder([Rung(0, "big:70b"), Rung(1, "mid:13b"), Rung(2, "small:3b")])
SETTINGS = Settings(
    ladder=LADDER,
    policy=PolicySettings(
        threshold=2,
        incident_gap=0.02,
        cool_down=1.0,
        recover_after=30.0,
        max_switches_per_hour=6,
        window=120.0,
    ),
)
RULES = Rules(LADDER, SETTINGS.policy)
DETECTOR = Detector()
NO_PROCESS = 2**22 + 7
"""No process has this id: the executor does not wait for its end."""
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Crash(BaseException):
    """The process was killed here."""


@dataclass
class Fuse:
    """Counts the effects until a crash; None: there is none."""

    left: int | None = None

    def burn(self) -> None:
        if self.left is None or threading.current_thread() is not threading.main_thread():
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise Crash


class Clock:
    """Stands still until the test moves it; its waits are short."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(min(seconds, 0.001))


class CrashingStore(StateStore):
    fuse: Fuse

    def update(self, change: Callable[[FleetState], FleetState]) -> FleetState:
        self.fuse.burn()
        state = super().update(change)
        self.fuse.burn()
        return state


@dataclass
class Supervisord:
    """Starts the generator as its launcher does: on the state's switch."""

    fuse: Fuse
    switches: Callable[[], int]
    state: ProgramState = ProgramState.RUNNING
    runs_on: int = 0
    pid: int = NO_PROCESS

    def program(self, name: str) -> ProgramInfo:
        return ProgramInfo(name, self.state, self.pid if self.state is ProgramState.RUNNING else 0)

    def programs(self) -> list[ProgramInfo]:
        return [self.program("generator")]

    def start(self, _: str) -> None:
        self.fuse.burn()
        if self.state is not ProgramState.RUNNING:
            self.state, self.runs_on = ProgramState.RUNNING, self.switches()
        self.fuse.burn()

    def stop(self, _: str, *, wait: bool = True) -> None:
        self.fuse.burn()
        self.state = ProgramState.STOPPED
        self.fuse.burn()

    def signal(self, _: str, __: str) -> None:
        """End the generator, which comes back at once as another process."""
        self.fuse.burn()
        self.pid += 1
        self.runs_on = self.switches()


@dataclass
class FakeOllama:
    """Has some models; a model in `failing` cannot be loaded."""

    fuse: Fuse
    here: set[str] = field(default_factory=lambda: {"big:70b", "small:3b"})
    failing: set[str] = field(default_factory=set)

    def version(self, **_: Any) -> str:
        self.fuse.burn()
        return "0.12.0"

    def tags(self, **_: Any) -> list[LocalModel]:
        return [LocalModel(full_name(name), 1) for name in sorted(self.here)]

    def loaded(self, **_: Any) -> list[Any]:
        return []

    def unload(self, *_: Any, **__: Any) -> None:
        self.fuse.burn()

    def pull(self, model: str, **_: Any) -> None:
        self.fuse.burn()
        self.here.add(model)
        self.fuse.burn()

    def generate(self, body: dict[str, Any], **_: Any) -> Generation:
        self.fuse.burn()
        if body["model"] in self.failing:
            raise OllamaError("CUDA error: out of memory", status=500)
        return Generation("x")


class FleetMachine(RuleBasedStateMachine):
    """What may happen to a fleet, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="sm-", dir=IN_MEMORY))
        self.home = Home(self.folder)
        self.home.run.mkdir(parents=True)
        self.fuse, self.clock = Fuse(), Clock()
        self.lines: dict[str, list[str]] = {LOG: [], SIGNALS: []}
        self.printed: list[int] = []
        self.stopped_by_a_person = False
        self.supervisord = Supervisord(self.fuse, lambda: self.state.switches)
        self.ollama = FakeOllama(self.fuse)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda _: None)  # a killed process loses nothing of what it wrote
        for module in (generator_process, reconcile):
            self.patch.setattr(module, "switches_of", lambda pid: self.supervisord.runs_on if pid else None)

    @initialize()
    def begin(self) -> None:
        self.boot()
        self.store.update(lambda state: state)

    def boot(self) -> None:
        """Start the monitor's and the operator's objects anew, as after a kill."""
        self.fuse.left = None
        self.store = CrashingStore(self.home, LADDER, self.clock)
        self.store.fuse = self.fuse
        self.switcher = Switcher(
            home=self.home,
            settings=SETTINGS,
            ollama=cast("Any", self.ollama),
            generator=Generator(cast("Any", self.supervisord), self.clock),
            clock=self.clock,
            read=self.store.read,
            post=self.post,
        )

    def post(self, fact: Fact) -> FleetState:
        """Decide on a fact and write, as the owner of the state does."""
        return self.store.update(lambda state: absorb_fact(state, fact, self.context()))

    @property
    def state(self) -> FleetState:
        state = read_state(self.home)
        assert state is not None, "the state is readable at any moment"
        return state

    def attempt(self, work: Callable[[], object], crash: int | None) -> None:
        """Do something that is killed after so many effects."""
        self.fuse.left = crash
        try:
            work()
        except Crash:
            self.boot()
        except FleetError:
            pass
        self.fuse.left = None

    # The world

    @rule(wait=st.sampled_from([0.05, 1.5, 5.0]))
    def a_failure_is_printed(self, wait: float) -> None:
        self.clock.now = round(self.clock.now + wait, 3)
        self.lines[LOG].append(stamped_failure(self.clock.now))
        self.printed.append(round(self.clock.now * 1000))

    @rule(answered=st.booleans(), memory=st.booleans())
    def a_call_ends(self, answered: bool, memory: bool) -> None:
        if self.supervisord.state is not ProgramState.RUNNING:
            return
        self.clock.now += 0.5
        error = (
            "" if answered else "connection reset" if not memory else "model runner has unexpectedly stopped"
        )
        number, now = self.supervisord.runs_on, self.clock.now
        self.lines[SIGNALS].append(
            f'{{"id":"{len(self.lines[SIGNALS])}","started":{now - 0.2},"ended":{now},"model":"x","switches":{number},'
            f'"status":{500 if error else 200},"error":"{error}"}}'
        )

    @rule(seconds=st.sampled_from([1.0, 7.0, 40.0, 130.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(model=st.sampled_from(["big:70b", "mid:13b", "small:3b"]), fails=st.booleans())
    def a_model_fails_or_heals(self, model: str, fails: bool) -> None:
        (self.ollama.failing.add if fails else self.ollama.failing.discard)(model)

    @precondition(lambda self: not self.state.restarting)
    @rule()
    def a_person_stops_or_starts_the_generator(self) -> None:
        self.stopped_by_a_person = not self.stopped_by_a_person
        if self.stopped_by_a_person:
            self.supervisord.state = ProgramState.STOPPED
        else:
            self.supervisord.start("generator")

    # The monitor

    @rule(origin=st.sampled_from([LOG, SIGNALS]), most=st.integers(1, 5), crash=st.none() | st.integers(0, 2))
    def the_monitor_reads(self, origin: str, most: int, crash: int | None) -> None:
        self.attempt(lambda: self.read(origin, most), crash)

    def read(self, origin: str, most: int) -> None:
        began = int(str((self.store.read().cursors.get(origin) or {}).get("at", 0)))
        lines = [LogLine(text) for text in self.lines[origin][began : began + most]]

        def change(state: FleetState) -> FleetState:
            assert int(str((state.cursors.get(origin) or {}).get("at", 0))) == began
            state = absorb_batch(state, origin, lines, self.context())
            cursor = {"kind": "test", "at": began + len(lines)}
            return _with_cursor(state, origin, cursor)

        if lines:
            self.store.update(change)

    def context(self) -> Context:
        return Context(self.clock.now, RULES, DETECTOR)

    @rule(crash=st.none() | st.integers(0, 2))
    def the_monitor_looks_at_the_time(self, crash: int | None) -> None:
        self.attempt(self.tick, crash)

    def tick(self) -> None:
        def change(state: FleetState) -> FleetState:
            state = absorb_time(state, self.context())
            switch, now = state.switch, self.clock.now
            verifies = switch is not None and switch.phase is SwitchPhase.VERIFY
            if switch is not None and verifies and now - (switch.restarted or switch.since) > 420:
                state = decide(
                    state, VerifyEnded(switch.number, "no call was answered in time"), now, RULES
                ).state
            return decide(state, Tick(), now, RULES).state

        state = self.store.update(change)
        assert state.vram_error_count <= count(state, self.clock.now, RULES) or state.hold is not None

    @rule(crash=st.none() | st.integers(0, 12))
    def the_monitor_carries_out(self, crash: int | None) -> None:
        self.attempt(self.switcher.carry_out, crash)

    @rule(crash=st.none() | st.integers(0, 4))
    def the_monitor_reconciles(self, crash: int | None) -> None:
        self.attempt(lambda: SwitchJob(self.switcher, self.post)._reconcile(self.state), crash)

    @rule(crash=st.none() | st.integers(0, 2))
    def a_skipped_model_is_pulled(self, crash: int | None) -> None:
        self.attempt(self.pull_behind, crash)

    def pull_behind(self) -> None:
        for model in self.state.behind:
            self.ollama.here.add(model)
            self.post(PrefetchDone(model))

    # An operator

    @rule(
        kind=st.sampled_from([SwitchKind.DOWNGRADE, SwitchKind.UPGRADE, SwitchKind.RESET, SwitchKind.USE]),
        rung=st.integers(0, 2),
        pin=st.booleans(),
        crash=st.none() | st.integers(0, 14),
    )
    def an_operator_commands(self, kind: SwitchKind, rung: int, pin: bool, crash: int | None) -> None:
        command = Command(kind, rung, pin=pin and kind is SwitchKind.USE)

        def work() -> None:
            try:
                state = self.store.update(lambda state: decide(state, command, self.clock.now, RULES).state)
            except SwitchError:
                return
            if state.switch is not None:
                self.switcher.carry_out(state.switch.number)

        self.attempt(work, crash)

    @rule()
    def an_operator_unpins(self) -> None:
        self.store.update(lambda state: decide(state, Unpin(), self.clock.now, RULES).state)

    # What always holds

    def events(self) -> list[Event]:
        """Return the history and what has not reached it."""
        old = read_history(self.home.history)
        last = old[-1].number if old else 0
        return [*old, *(event for event in self.state.events if event.number > last)]

    @invariant()
    def nothing_is_out_of_number(self) -> None:
        if not self.home.state.exists():
            return
        events = self.events()
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        commits = [one.fields["number_of_switch"] for one in events if one.kind is EventKind.SWITCH_COMMITTED]
        assert commits == list(range(1, len(commits) + 1))
        assert self.state.switches == len(commits)

    @invariant()
    def no_incident_is_doubled(self) -> None:
        if not self.home.state.exists():
            return
        found = self.incidents()
        assert set(found) <= set(self.printed)
        assert all(times == 1 for times in found.values())

    def incidents(self) -> Counter[int]:
        events = self.events()
        return Counter(round(one.fields["at"] * 1000) for one in events if one.kind is EventKind.INCIDENT)

    def teardown(self) -> None:
        """In a quiet world every printed failure is an incident, and the fleet comes to rest."""
        try:
            self.boot()
            self.ollama.failing.clear()
            for _ in range(40):
                before = self.state
                self.read(LOG, 100)
                self.a_call_ends(answered=True, memory=False)
                self.read(SIGNALS, 100)
                self.switcher.carry_out()
                self.the_monitor_reconciles(crash=None)
                self.pull_behind()
                self.clock.now += 500
                self.tick()
                after = self.state
                if after.switch is None and after.switches == before.switches and after.hold is None:
                    break
            assert self.incidents() == Counter(self.printed)
            self.comes_to_rest()
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder, ignore_errors=True)

    def comes_to_rest(self) -> None:
        state = self.state
        assert state.switch is None
        assert state.hold is None or not state.hold.active(self.clock.now)
        if self.stopped_by_a_person:
            assert self.supervisord.state is ProgramState.STOPPED, "what a person stopped stays stopped"
            return
        assert self.supervisord.state is ProgramState.RUNNING
        assert self.supervisord.runs_on == state.switches
        assert state.pinned or state.current_model_index == (state.ceiling or 0)


def _with_cursor(state: FleetState, origin: str, cursor: dict[str, Any]) -> FleetState:
    return replace(state, cursors={**state.cursors, origin: cursor})


_EXAMPLES = int(os.environ.get("FLEET_FUZZ", "40"))
FleetMachine.TestCase.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestFleetMachine = pytest.mark.slow(FleetMachine.TestCase)
