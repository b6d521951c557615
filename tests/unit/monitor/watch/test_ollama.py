"""The job that looks at Ollama: what it posts, and what it does when the state requests a reload."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.ollama import LoadedModel, Ollama
from fleet.config.schema import PolicySettings, Settings
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState, SlowCause, Switch, SwitchKind, SwitchPhase, Unanswered
from fleet.runtime.clock import SystemClock
from fleet.runtime.errors import OllamaAwayError
from fleet.runtime.home import Home
from fleet.runtime.units import GIGABYTE
from monitor.watch.ollama import OllamaWatch
from monitor.watch.spill import LOW_READINGS, SpillState, spill_of
from standin.faults import Fault, FaultKind
from standin.ollama import standin
from standin.settings import StandinSettings
from state.codec import to_json
from state.history import read_history
from state.store import StateStore
from tests.processes.fleet import eventually
from tests.reference.direct_owner import posting_to

QUICK = Settings(policy=PolicySettings(check_interval=0.01))
NOBODY = Ollama("http://127.0.0.1:9")


@dataclass(frozen=True)
class World:
    """A home with its state, and the watch on an Ollama."""

    home: Home
    store: StateStore

    def watch(self, ollama: Ollama = NOBODY) -> OllamaWatch:
        return OllamaWatch(
            home=self.home,
            settings=QUICK,
            ollama=ollama,
            clock=SystemClock(),
            read=self.store.read,
            post=posting_to(self.store),
            lock=contextlib.nullcontext,
            stopping=threading.Event(),
        )

    def change(self, **values: Any) -> FleetState:
        return self.store.update(lambda state: replace(state, **values))

    @property
    def spill(self) -> SpillState:
        return spill_of(self.store.read())


@pytest.fixture
def world(tmp_path: Path) -> World:
    home = Home(tmp_path / "home")
    home.create()
    return World(home, StateStore(home, QUICK.ladder))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what lets `/api/ps` list the ladder's first model, with this part of 100 bytes in GPU memory."""

    def lists(vram: int) -> None:
        model = LoadedModel(QUICK.ladder[0].model, size=100, size_vram=vram)
        monkeypatch.setattr(Ollama, "loaded", lambda *_, **__: [model])

    return lists


def test_ollama_is_away_from_the_second_miss_on_and_then_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: Iterator[list[LoadedModel] | OllamaAwayError] = iter(
        [OllamaAwayError("no answer"), OllamaAwayError("no answer"), OllamaAwayError("no answer"), [], []]
    )

    def answer(*_: Any, **__: Any) -> list[LoadedModel]:
        one = next(answers)
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(Ollama, "loaded", answer)
    watch = world.watch()
    for _ in range(5):
        watch()
    kinds = [event.kind for event in read_history(world.home.history)]
    assert kinds == [EventKind.OLLAMA_AWAY, EventKind.OLLAMA_BACK]


def test_a_reload_that_a_switch_stands_in_the_way_of_is_requested_again(
    world: World, loaded: Callable[..., None]
) -> None:
    world.change(switch=Switch(1, SwitchKind.DOWNGRADE, SwitchPhase.VERIFY, 0, 1, time.time(), "why"))
    loaded(40)
    watch = world.watch()
    for _ in range(LOW_READINGS + 1):
        watch()
    assert world.spill.low == LOW_READINGS + 1
    assert world.spill.asked is None, "each low reading requests it, and each time it is not possible"


def test_a_reload_that_ollama_refuses_is_requested_again(world: World, loaded: Callable[..., None]) -> None:
    loaded(40)
    watch = world.watch(NOBODY)
    for _ in range(LOW_READINGS):
        watch()
    assert (world.spill.low, world.spill.asked) == (LOW_READINGS, None)
    assert not world.home.pause_file.exists()


def test_a_requested_reload_is_done_by_the_next_monitor(world: World) -> None:
    """The state carries the request, so that a crash does not lose it."""
    with standin(settings=StandinSettings(pace=0.0, vram=8 * GIGABYTE)) as server:
        ollama = Ollama(server.url)
        state = world.store.update(lambda state: state)
        asked = SpillState(model=state.current_model, low=LOW_READINGS, asked=1.0)
        world.change(watch={"spill": to_json(asked)})
        world.watch(ollama)()
        assert [model.name for model in ollama.loaded()] == [state.current_model]
    assert (world.spill.low, world.spill.asked) == (0, None), "it fits"


@pytest.mark.parametrize(
    "watched", [{"vram": None}, {"vram": [1]}, {"spill": None}, {"spill": 3, "gpu": "x"}]
)
def test_a_state_of_another_hand_does_not_blind_the_watch(
    world: World, loaded: Callable[..., None], watched: dict[str, Any]
) -> None:
    state = world.change(watch=watched)
    loaded(40)
    world.watch()()
    assert world.spill.low == 1
    assert world.store.read().watch["vram"] == {state.current_model: 40}


@pytest.mark.parametrize(
    ("vram", "read", "ended", "hangs", "slow"),
    [
        (100, None, 70, True, None),
        (60, None, 70, False, SlowCause.CPU),
        (100, 100, 70, False, SlowCause.PROMPT),
        (100, 900, 70, True, None),
        (100, None, 3, False, None),
        (100, None, 30, False, None),
    ],
    ids=[
        "on the GPU",
        "partly on the CPU",
        "reads the prompt",
        "read one long ago",
        "may be ended by Ollama yet",
        "may be loaded anew by Ollama yet",
    ],
)
def test_only_what_neither_the_log_nor_the_placement_explains_is_a_hang(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    loaded: Callable[..., None],
    *,
    vram: int,
    read: int | None,
    ended: int,
    hangs: bool,
    slow: SlowCause | None,
) -> None:
    """`read` and `ended`: so many seconds ago the log showed a prompt's progress, and the call was given up."""
    now = time.time()
    waited = Unanswered(since=1.0, calls=1, reason="no answer", waited=True, last=now - ended)
    world.change(unanswered=waited, watch={} if read is None else {"prompt_read": now - read})
    loaded(vram)
    monkeypatch.setattr(Ollama, "tags", lambda *_, **__: [])
    world.watch()()
    row = world.store.read().unanswered
    assert row is not None
    assert (row.hangs, row.slow) == (hangs, slow)


def test_a_switch_cuts_a_reload_that_hangs(world: World, loaded: Callable[..., None]) -> None:
    """Ollama sends no head of an answer while a model loads; the default patience with that is six minutes."""
    with standin(settings=StandinSettings(pace=0.0)) as server:
        server.apply(Fault(FaultKind.HANG_LOAD))
        loaded(40)
        watch = world.watch(Ollama(server.url))
        looking = threading.Thread(target=lambda: [watch() for _ in range(LOW_READINGS)])
        looking.start()
        eventually(lambda: server._board.shown()[0]["happened"] == 1, what="the reload hangs")
        assert world.home.pause_file.exists()
        world.change(switch=Switch(1, SwitchKind.DOWNGRADE, SwitchPhase.PULL, 0, 1, time.time(), "why"))
        looking.join(60)
        assert not looking.is_alive()
        assert not world.home.pause_file.exists()
        assert (world.spill.low, world.spill.asked) == (LOW_READINGS, None), "the next low reading asks again"
