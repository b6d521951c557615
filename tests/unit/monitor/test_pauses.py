"""The generator pauses where the state has it pause, and a disk that is full takes nothing down."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.config.schema import SEED_LADDER
from fleet.policy.rules import VERIFY_RETRY
from fleet.policy.state import (
    FleetState,
    Hold,
    HoursCap,
    OperatorPause,
    Switch,
    SwitchKind,
    SwitchPhase,
)
from fleet.runtime.home import Home
from fleet.runtime.pause_request import Pause, pause, read_pause
from monitor.pauses import Pauses, pause_of, release_pause
from state.codec import default_state

T = 1_800_000_000.0
REST = default_state(SEED_LADDER, T)
HELD = replace(REST, hold=Hold(T + 60, 0, "all fail"))
SWITCH = Switch(1, SwitchKind.DOWNGRADE, SwitchPhase.VERIFY, 0, 1, T, "")


def paused(until: float | None) -> FleetState:
    return replace(REST, pause=OperatorPause(T - 1, until, "by hand"))


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
        (paused(T + 60), T + 60),
        (replace(paused(T + 60), hold=Hold(T + 90, 0, "all fail")), T + 60),
        (replace(paused(T + 60), hours=HoursCap("none", None, T - 5, T + 99)), T + 99),
        (HELD, T + 60),
        (replace(REST, hold=Hold(T - 1, 0, "over")), None),
        (in_phase(SwitchPhase.VERIFY), None),
        (in_phase(SwitchPhase.VERIFY, T - 1), T - 1 + VERIFY_RETRY),
        (in_phase(SwitchPhase.VERIFY, T - VERIFY_RETRY), None),
    ],
    ids=[
        "at rest",
        "paused",
        "paused and held",
        "paused by hand and by the clock",
        "held",
        "the hold is over",
        "new model",
        "second chance to come",
        "second chance is here",
    ],
)
def test_a_state_says_until_when_to_pause(state: FleetState, until: float | None) -> None:
    found = pause_of(state, T)
    assert (found and found.until) == until


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


def test_a_pause_by_hand_cuts_the_call_and_may_have_no_end(home: Home) -> None:
    Pauses(home).follow(paused(None), T)
    assert read_pause(home.pause_file, T + 10**9) == Pause(None, "by hand", cut=True)
    Pauses(home).follow(paused(T + 60), T)
    assert read_pause(home.pause_file, T) == Pause(T + 60, "by hand", cut=True)
    assert read_pause(home.pause_file, T + 60) is None


def test_a_file_that_vanished_is_written_again_and_one_that_was_left_is_removed(home: Home) -> None:
    pauses = Pauses(home)
    pauses.follow(HELD, T)
    home.pause_file.unlink()
    pauses.follow(HELD, T + 1)
    assert home.pause_file.exists()
    Pauses(home).follow(REST, T + 2)
    assert not home.pause_file.exists(), "a monitor that begins knows no reason for it"
    pause(home, since=T, until=T + 9, why="a check")
    pauses = Pauses(home)
    pauses.follow(in_phase(SwitchPhase.TRIAL), T + 3)
    assert home.pause_file.exists(), "a trial of the command line"


class Still:
    """A clock that stands."""

    def time(self) -> float:
        return T

    def monotonic(self) -> float:
        return 0.0

    def wait(self, event: threading.Event, seconds: float) -> bool:
        raise AssertionError


@pytest.mark.parametrize(
    ("states", "left"),
    [
        ([REST, REST], None),
        ([paused(None), paused(None)], "by hand"),
        ([REST, paused(None), paused(None)], "by hand"),
        ([paused(None), REST, REST], None),
        ([HELD, HELD], "all fail"),
    ],
    ids=["at rest", "paused", "paused meanwhile", "resumed meanwhile", "held"],
)
def test_the_end_of_a_step_leaves_the_pause_that_the_state_asks_for(
    home: Home, states: list[FleetState], left: str | None
) -> None:
    pause(home, since=T, until=T + 9, why="trying")
    rest = iter(states)
    release_pause(home, lambda: next(rest), Still())
    found = read_pause(home.pause_file, T)
    assert (found and found.why) == left


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
