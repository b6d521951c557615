"""When the switch thread takes a generator for one that hangs: by its heartbeat, its calls and a clock that may be set."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from fleet.clients.ollama import LoadedModel, LocalModel, PullProgress
from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.config.schema import Settings
from fleet.policy.decide import decide
from fleet.policy.facts import Command
from fleet.policy.rules import Rules
from fleet.policy.state import HoursCap, SwitchKind
from fleet.runtime.home import Home
from fleet.runtime.pause_request import HUNG_AFTER
from monitor.switching.executor import Switcher
from monitor.switching.generator_process import Generator
from monitor.switching.reconcile import SwitchJob
from monitor.watch.generator import request_limit
from state.store import StateStore
from tests.reference.direct_owner import posting_to
from tests.reference.histories import running
from tests.reference.manual_clock import StillClock

NIGHT = 8 * 3600.0
LONGEST = request_limit(Settings().ollama.first_token_timeout)


class SettableClock(StillClock):
    """A clock whose wall time a test sets: `ahead` of the monotonic time, which a suspended machine lacks."""

    ahead = 1_800_000_000.0

    def time(self) -> float:
        return self.now + self.ahead

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Move the time only for the test's own thread: another one watches a pull."""
        own = threading.current_thread() is threading.main_thread()
        return super().wait(event, seconds) if own else event.wait(0.01)


@dataclass
class Supervisord:
    """Tells of a running generator; `signals` are those that it was asked to send."""

    pid: int = field(default_factory=os.getpid)
    signals: list[str] = field(default_factory=list)
    state: ProgramState = ProgramState.RUNNING
    started: int = 0

    def program(self, name: str) -> ProgramInfo:
        return ProgramInfo(name, self.state, self.pid if self.state is ProgramState.RUNNING else 0)

    def start(self, _: str) -> None:
        self.state = ProgramState.RUNNING
        self.started += 1

    def signal(self, _: str, signal: str) -> None:
        self.signals.append(signal)


@dataclass
class Pulling:
    """An Ollama without models, in which a pull takes two minutes; `seen` is called every 20 seconds of it."""

    clock: SettableClock
    stopping: threading.Event
    seen: Callable[[], object] = lambda: None
    unloaded: list[str] = field(default_factory=list)

    def tags(self, **_: Any) -> list[LocalModel]:
        return []

    def loaded(self, **_: Any) -> list[LoadedModel]:
        return []

    def unload(self, model: str, **_: Any) -> None:
        self.unloaded.append(model)

    def pull(self, _: str, *, progress: Callable[[PullProgress], None], **__: Any) -> None:
        for part in range(7):
            progress(PullProgress("pulling", "sha256:1", part, 6))
            self.seen()
            self.clock.now += 20
        self.stopping.set()


@dataclass
class Scene:
    home: Home
    clock: SettableClock
    store: StateStore
    ollama: Pulling
    supervisord: Supervisord
    look: SwitchJob

    def beat(self, *, pid: int = 0, calls_since: float | None = None) -> None:
        """Write the generator's heartbeat now."""
        row = {
            "pid": pid or self.supervisord.pid,
            "heartbeat": self.clock.time(),
            "request_since": calls_since,
        }
        self.home.generator_file.write_text(json.dumps(row))

    def pass_by(self, seconds: float) -> None:
        """Look every thirty seconds for so long."""
        for _ in range(int(seconds / 30) + 1):
            self.look()
            self.clock.now += 30


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    home, clock, supervisord = Home(tmp_path), SettableClock(), Supervisord()
    ollama = Pulling(clock, threading.Event())
    home.run.mkdir()
    settings = Settings()
    store = StateStore(home, settings.ladder, clock)
    store.update(lambda _: replace(running(Rules()), ladder_hash=settings.ladder.digest))
    switcher = Switcher(
        home=home,
        settings=settings,
        ollama=cast("Any", ollama),
        generator=Generator(cast("Any", supervisord), clock),
        clock=clock,
        read=store.read,
        post=posting_to(store),
        stopping=ollama.stopping,
    )
    look = SwitchJob(switcher, posting_to(store))
    return Scene(home, clock, store, ollama, supervisord, look)


def plan_pull(scene: Scene) -> None:
    """Plan a `use` of a missing model. At the end of its pull the monitor is stopped."""
    use = Command(SwitchKind.USE, 1)
    scene.store.update(lambda state: decide(state, use, scene.clock.time(), Rules()).state)


@pytest.mark.parametrize("end", [ProgramState.FATAL, ProgramState.EXITED])
def test_a_generator_that_ends_in_a_long_pull_is_started_again(scene: Scene, end: ProgramState) -> None:
    """It mines on its old model meanwhile."""
    seen = []

    def fall() -> None:
        scene.supervisord.state = end if not scene.supervisord.started else scene.supervisord.state
        seen.append(scene.supervisord.started)

    scene.ollama.seen = fall
    plan_pull(scene)
    scene.look()
    assert (seen[0], seen[-1]) == (0, 1)


def test_a_pause_that_begins_in_a_long_pull_frees_the_gpu_at_once(scene: Scene) -> None:
    cap = HoursCap("none", None, scene.clock.time())
    scene.ollama.seen = lambda: scene.store.update(lambda state: replace(state, hours=cap))
    plan_pull(scene)
    scene.look()
    assert "llama3.2:3b" in scene.ollama.unloaded


@pytest.mark.parametrize("night", [NIGHT, -NIGHT], ids=["suspended, or set forward", "set back"])
def test_a_clock_that_steps_makes_no_healthy_generator_hang(scene: Scene, night: float) -> None:
    scene.beat(calls_since=scene.clock.time() - 5)
    began = scene.clock.time() - 5
    scene.look()
    scene.clock.ahead += night
    scene.look()  # before its next heartbeat
    scene.clock.now += 5
    scene.beat(calls_since=began)
    scene.look()
    assert scene.supervisord.signals == []


@pytest.mark.parametrize("writes", ["none", "one, and no more", "its predecessor's"])
def test_one_without_a_new_heartbeat_hangs_whatever_the_clock_says(scene: Scene, writes: str) -> None:
    if writes != "none":
        scene.beat(pid=1 if writes.startswith("its") else 0)
    scene.look()
    scene.clock.ahead -= NIGHT
    scene.pass_by(HUNG_AFTER - 30)
    assert scene.supervisord.signals == []
    scene.pass_by(30)
    assert scene.supervisord.signals[0] == "TERM"


def test_a_call_that_is_seen_for_longer_than_any_may_last_hangs(scene: Scene) -> None:
    began = scene.clock.time()
    for _ in range(int(LONGEST / 20) + 1):
        scene.beat(calls_since=began)
        scene.look()
        assert scene.supervisord.signals == []
        scene.clock.now += 20
    scene.beat(calls_since=began)
    scene.look()
    assert scene.supervisord.signals[0] == "TERM"
