"""The thread that looks at Ollama goes on, whatever one look met."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.ollama import LoadedModel, Ollama
from fleet.clients.supervisor import Supervisor
from fleet.config.schema import PolicySettings, Settings
from fleet.policy.state import Switch, SwitchKind, SwitchPhase, Unanswered
from fleet.runtime.clock import SystemClock
from fleet.runtime.home import Home
from monitor.models.inventory import Knowledge
from monitor.parts import Parts
from monitor.switching.executor import Switcher
from monitor.watch.ollama import OllamaWatch
from monitor.watch.spill import LOW_READINGS, SpillState
from standin.faults import Fault, FaultKind
from standin.ollama import standin
from standin.settings import StandinSettings
from state.store import StateStore
from tests.processes.fleet import eventually

QUICK = Settings(policy=PolicySettings(check_interval=0.01))
NOBODY = Ollama("http://127.0.0.1:9")


class Twice:
    """Breaks at each look; `again` is set at the second one."""

    def __init__(self) -> None:
        self.looks = 0
        self.again = threading.Event()

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.looks += 1
        if self.looks > 1:
            self.again.set()
        raise OSError(28, "No space left on device")


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    home, clock = Home(tmp_path / "home"), SystemClock()
    home.create()
    store = StateStore(home, QUICK.ladder, clock)
    return Parts(home, QUICK, store, NOBODY, Supervisor(home.socket), clock)


def test_a_look_at_ollama_that_breaks_is_not_the_last(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = Twice()
    monkeypatch.setattr(Ollama, "loaded", twice)
    knowledge = Knowledge(QUICK, parts.ollama, parts.clock, file=None, cards=lambda: None)
    switcher = Switcher(parts, lambda: knowledge()[0])
    watch = OllamaWatch(parts, switcher, knowledge, before_unload=lambda _: None, after=lambda: None)
    watch.start()
    try:
        assert twice.again.wait(30)
    finally:
        watch.stop()


def test_a_reload_that_a_switch_stands_in_the_way_of_is_asked_for_again(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifying = Switch(1, SwitchKind.DOWNGRADE, SwitchPhase.VERIFY, 0, 1, time.time(), "why")
    state = parts.store.update(lambda state: replace(state, switch=verifying))
    model = LoadedModel(state.current_model, size=100, size_vram=40)
    monkeypatch.setattr(Ollama, "loaded", lambda *_, **__: [model])
    knowledge = Knowledge(QUICK, parts.ollama, parts.clock, file=None, cards=lambda: None)
    switcher = Switcher(parts, lambda: knowledge()[0])
    watch = OllamaWatch(parts, switcher, knowledge, before_unload=lambda _: None, after=lambda: None)
    watch.start()
    try:
        eventually(lambda: _waits_to_ask(parts), what="the reload forgotten")
    finally:
        watch.stop()


@pytest.mark.parametrize(
    "watched", [{"vram": None}, {"vram": [1]}, {"spill": None}, {"spill": 3, "gpu": "x"}]
)
def test_a_state_of_another_hand_does_not_blind_the_watch(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, watched: dict[str, Any]
) -> None:
    state = parts.store.update(lambda state: replace(state, watch=watched))
    model = LoadedModel(state.current_model, size=100, size_vram=40)
    monkeypatch.setattr(Ollama, "loaded", lambda *_, **__: [model])
    knowledge = Knowledge(QUICK, parts.ollama, parts.clock)
    switcher = Switcher(parts, lambda: knowledge()[0])
    watch = OllamaWatch(parts, switcher, knowledge, before_unload=lambda _: None, after=lambda: None)
    watch._once()
    found = parts.store.read().watch
    assert SpillState.from_json(found["spill"]).low == 1
    assert found["vram"] == {state.current_model: 40}


@pytest.mark.parametrize(
    ("vram", "hangs"), [(100, True), (60, False)], ids=["on the GPU", "partly on the CPU"]
)
def test_a_slow_model_is_not_reported_as_a_hang(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, vram: int, hangs: bool
) -> None:
    waited = Unanswered(since=1.0, calls=1, reason="no answer", waited=True)
    state = parts.store.update(lambda state: replace(state, unanswered=waited))
    model = LoadedModel(state.current_model, size=100, size_vram=vram)
    monkeypatch.setattr(Ollama, "loaded", lambda *_, **__: [model])
    monkeypatch.setattr(Ollama, "tags", lambda *_, **__: [])
    knowledge = Knowledge(QUICK, parts.ollama, parts.clock)
    switcher = Switcher(parts, lambda: knowledge()[0])
    watch = OllamaWatch(parts, switcher, knowledge, before_unload=lambda _: None, after=lambda: None)
    watch._once()
    row = parts.store.read().unanswered
    assert row is not None
    assert row.hangs is hangs


def test_a_switch_cuts_a_reload_that_hangs(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ollama sends no head of an answer while a model loads; the default patience with that is six minutes."""
    with standin(settings=StandinSettings(pace=0.0)) as server:
        server.apply(Fault(FaultKind.HANG_LOAD))
        parts = replace(parts, ollama=Ollama(server.url))
        state = parts.store.update(lambda state: state)
        model = LoadedModel(state.current_model, size=100, size_vram=40)
        monkeypatch.setattr(Ollama, "loaded", lambda *_, **__: [model])
        knowledge = Knowledge(QUICK, parts.ollama, parts.clock, file=None, cards=lambda: None)
        switcher = Switcher(parts, lambda: knowledge()[0])
        watch = OllamaWatch(parts, switcher, knowledge, before_unload=lambda _: None, after=lambda: None)
        looking = threading.Thread(target=lambda: [watch._look_once() for _ in range(LOW_READINGS)])
        looking.start()
        eventually(lambda: server._board.shown()[0]["happened"] == 1, what="the reload hangs")
        assert parts.home.pause_file.exists()
        planned = Switch(1, SwitchKind.DOWNGRADE, SwitchPhase.PULL, 0, 1, time.time(), "why")
        parts.store.update(lambda state: replace(state, switch=planned))
        looking.join(60)
        assert not looking.is_alive()
        assert not parts.home.pause_file.exists()
        spill = SpillState.from_json(parts.store.read().watch.get("spill"))
        assert (spill.low, spill.asked) == (LOW_READINGS, None), "the next low reading asks again"


def _waits_to_ask(parts: Parts) -> bool:
    spill = SpillState.from_json(parts.store.read().watch.get("spill"))
    return spill.low > LOW_READINGS and spill.asked is None


def test_a_question_for_what_models_need_that_breaks_is_not_the_last(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = Twice()
    monkeypatch.setattr("monitor.models.inventory.Models.refresh", twice)
    knowledge = Knowledge(QUICK, parts.ollama, parts.clock, file=None, cards=lambda: None)
    knowledge.start()
    try:
        assert twice.again.wait(30)
    finally:
        knowledge.stop()
