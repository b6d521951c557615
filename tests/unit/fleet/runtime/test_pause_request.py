"""Whether a paused generator still has a call in flight, and how long that is waited for."""

import json
import os
from pathlib import Path

import pytest

from fleet.runtime.home import Home
from fleet.runtime.pause_request import Pause, is_idle, pause, read_pause, resume, wait_until_idle
from tests.reference.manual_clock import StillClock

NOW = 1000.0
US = os.getpid()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


def test_a_request_says_until_when_why_and_whether_to_cut(home: Home) -> None:
    pause(home, since=NOW, until=NOW + 9, why="by hand", cut=True)
    assert read_pause(home.pause_file, NOW) == Pause(NOW + 9, "by hand", cut=True)
    pause(home, since=NOW, until=NOW + 9, why="a probe")
    assert read_pause(home.pause_file, NOW) == Pause(NOW + 9, "a probe")
    assert read_pause(home.pause_file, NOW + 9) is None
    resume(home)
    assert read_pause(home.pause_file, NOW) is None


@pytest.mark.parametrize("cut", [None, 1, "yes", {}])
def test_only_true_asks_for_the_cut(home: Home, cut: object) -> None:
    home.pause_file.write_text(json.dumps({"until": NOW + 9, "cut": cut}))
    assert read_pause(home.pause_file, NOW) == Pause(NOW + 9)


@pytest.mark.parametrize(
    ("row", "idle"),
    [
        ({}, True),
        ({"pid": 10**9, "heartbeat": NOW}, True),
        ({"pid": US, "heartbeat": 0.0, "paused": False}, True),
        ({"pid": US, "heartbeat": NOW, "paused": False, "request_since": None}, False),
        ({"pid": US, "heartbeat": NOW, "paused": True, "request_since": 5.0}, False),
        ({"pid": US, "heartbeat": NOW, "paused": True, "request_since": None}, True),
    ],
    ids=["never ran", "is gone", "hangs", "does not know of the pause", "has a call in flight", "waits"],
)
def test_a_generator_is_idle_when_no_call_of_it_can_run(row: dict[str, object], idle: bool) -> None:
    assert is_idle(row, NOW) is idle


def test_a_call_is_waited_for_as_long_as_allowed_and_while_the_wait_is_wanted(home: Home) -> None:
    clock = StillClock()
    busy = {"pid": US, "heartbeat": clock.time(), "paused": True, "request_since": 5.0}
    home.generator_file.write_text(json.dumps(busy))
    asked = list[int]()

    def unwanted() -> bool:
        asked.append(1)
        clock.now += 1.0
        return len(asked) == 5

    assert not wait_until_idle(home, clock, within=3.0, unwanted=lambda: unwanted() and False)
    assert len(asked) == 3
    assert not wait_until_idle(home, clock, within=100.0, unwanted=unwanted)
    assert len(asked) == 5
    home.generator_file.write_text(json.dumps({**busy, "request_since": None}))
    assert wait_until_idle(home, clock, within=0.0)
