"""The executor's steps, with a supervisord and an Ollama of the test's own."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.config.schema import Settings
from fleet.policy.facts import ModelPresent, TrialEnded
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, HoursCap, Switch, SwitchKind, SwitchPhase
from fleet.runtime.clock import SystemClock
from fleet.runtime.home import Home
from monitor.switching import canary, executor
from monitor.switching.executor import Switcher
from monitor.switching.generator_process import Generator
from monitor.switching.reconcile import SwitchJob
from state.store import StateStore
from tests.reference.direct_owner import posting_to
from tests.reference.histories import running

SWITCH = Switch(7, SwitchKind.USE, SwitchPhase.PULL, 0, 1, 0.0, "asked for by hand", by_hand=True)
Change = Callable[[FleetState], FleetState]


@dataclass
class Supervisord:
    state: ProgramState = ProgramState.RUNNING

    def program(self, name: str) -> ProgramInfo:
        return ProgramInfo(name, self.state, 0)


class Empty:
    def tags(self, **_: Any) -> list[Any]:
        return []

    loaded = tags


@pytest.fixture
def supervisord() -> Supervisord:
    return Supervisord()


@pytest.fixture
def switcher(tmp_path: Path, supervisord: Supervisord) -> Switcher:
    home = Home(tmp_path)
    home.run.mkdir(parents=True)
    settings = Settings()
    store = StateStore(home, settings.ladder)
    store.update(lambda _: replace(running(Rules()), switch=SWITCH, ladder_hash=settings.ladder.digest))
    return Switcher(
        home=home,
        settings=settings,
        ollama=cast("Any", Empty()),
        generator=Generator(cast("Any", supervisord), SystemClock()),
        clock=SystemClock(),
        read=store.read,
        post=posting_to(store),
    )


def stops(supervisord: Supervisord, result: object) -> Callable[..., object]:
    """Return a function that takes long, so that a person stops the generator meanwhile."""

    def work(*_: object, **__: object) -> object:
        supervisord.state = ProgramState.STOPPED
        return result

    return work


def test_a_generator_that_a_person_stops_during_a_pull_stays_stopped(
    switcher: Switcher, supervisord: Supervisord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "pull_model", stops(supervisord, result=True))
    assert switcher._pull(SWITCH) == ModelPresent(7, was_stopped=True)


def test_a_generator_that_a_person_stops_during_a_trial_stays_stopped(
    switcher: Switcher, supervisord: Supervisord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Switcher, "_unload", lambda *_: None)
    monkeypatch.setattr(canary.Canary, "failure", stops(supervisord, result=""))
    trial = replace(SWITCH, phase=SwitchPhase.TRIAL)
    state = StateStore(switcher.home, switcher.settings.ladder).update(
        lambda state: replace(state, switch=trial)
    )
    assert switcher._trial(state, trial) == TrialEnded(7, passed=True, was_stopped=True)


def test_a_trial_notes_its_unloads_in_the_state(
    switcher: Switcher, supervisord: Supervisord, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[int] = []
    monkeypatch.setattr(Switcher, "_unload", lambda *_: noted.append(len(switcher.read().unloads)))
    monkeypatch.setattr(canary.Canary, "failure", stops(supervisord, "cudaMalloc failed: out of memory"))
    store = StateStore(switcher.home, switcher.settings.ladder)
    store.update(lambda state: replace(state, switch=replace(SWITCH, phase=SwitchPhase.TRIAL)))
    state = switcher.carry_out(7)
    assert (state.switch, noted, len(state.unloads)) == (None, [1, 1], 2)


def test_the_unload_for_a_pause_is_noted_in_the_state(switcher: Switcher) -> None:
    noted: list[int] = []
    server = Empty()
    server.unload = lambda *_, **__: noted.append(len(switcher.read().unloads))  # type: ignore[attr-defined]
    store = StateStore(switcher.home, switcher.settings.ladder)
    pause = HoursCap("none", None, time.time() - 60, time.time() + 60)
    paused = store.update(lambda state: replace(state, switch=None, hours=pause))
    job = SwitchJob(replace(switcher, ollama=cast("Any", server)), posting_to(store))
    job._free(paused)
    assert (set(noted), len(store.read().unloads)) == ({1}, 1)


def test_a_generator_that_a_cut_restart_left_stopped_is_no_persons_doing(
    switcher: Switcher, supervisord: Supervisord, monkeypatch: pytest.MonkeyPatch
) -> None:
    StateStore(switcher.home, switcher.settings.ladder).update(lambda state: replace(state, restarting=True))
    monkeypatch.setattr(executor, "pull_model", stops(supervisord, result=True))
    assert switcher._pull(SWITCH) == ModelPresent(7, was_stopped=False)
