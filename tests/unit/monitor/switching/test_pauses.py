"""The generator pauses where the state has it pause, and a disk that is full takes nothing down."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.config.schema import SEED_LADDER
from fleet.policy.rules import VERIFY_RETRY
from fleet.policy.state import FleetState, Hold, Switch, SwitchKind, SwitchPhase
from fleet.runtime.home import Home
from fleet.runtime.pause_request import pause
from monitor.switching.pauses import Pauses, pause_of
from state.codec import default_state

T = 1_800_000_000.0
REST = default_state(SEED_LADDER, T)
HELD = replace(REST, hold=Hold(T + 60, 0, "all fail"))
SWITCH = Switch(1, SwitchKind.DOWNGRADE, SwitchPhase.VERIFY, 0, 1, T, "")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def in_phase(phase: SwitchPhase, failed_at: float | None = None) -> FleetState:
    return replace(REST, switch=replace(SWITCH, phase=phase, failed_at=failed_at))


@pytest.mark.parametrize(
    ("state", "until"),
    [
        (REST, None),
        (HELD, T + 60),
        (replace(REST, hold=Hold(T - 1, 0, "over")), None),
        (in_phase(SwitchPhase.VERIFY), None),
        (in_phase(SwitchPhase.VERIFY, T - 1), T - 1 + VERIFY_RETRY),
        (in_phase(SwitchPhase.VERIFY, T - VERIFY_RETRY), None),
    ],
    ids=[
        "at rest",
        "held",
        "the hold is over",
        "new model",
        "second chance to come",
        "second chance is here",
    ],
)
def test_a_state_says_until_when_to_pause(state: FleetState, until: float | None) -> None:
    found = pause_of(state, T)
    assert (found and found[0]) == until


def test_a_pause_follows_the_state(home: Home) -> None:
    pauses = Pauses(home)
    pauses.follow(HELD, T)
    assert json.loads(home.pause_file.read_text()) == {
        "since": T,
        "until": T + 60,
        "why": "all fail",
        "cut": False,
    }
    pauses.follow(REST, T + 1)
    assert not home.pause_file.exists()


def test_the_pause_of_a_trial_is_its_own(home: Home) -> None:
    pauses = Pauses(home)
    pauses.follow(HELD, T)
    pause(home, since=T, until=T + 9, why="trying")
    pauses.follow(in_phase(SwitchPhase.TRIAL), T + 1)
    assert home.pause_file.exists()


def test_a_pause_that_cannot_be_written_is_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    pauses = Pauses(home)
    with monkeypatch.context() as patched:
        patched.setattr("fleet.runtime.pause_request.replace_text", full)
        pauses.follow(HELD, T)
    assert not home.pause_file.exists()
    pauses.follow(HELD, T + 1)
    assert home.pause_file.exists()
