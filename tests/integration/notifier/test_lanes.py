"""One notifier for the lanes of a fleet: each notice names its lane, and the ping is sent while all lanes are well."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cli.target import Fleet, find_fleet
from fleet.clients.notices import notice_places
from fleet.policy.events import Event, EventKind
from fleet.runtime.home import FleetFile, Home
from notifier.loop import Notifier
from state.history import HistoryFile
from tests.integration.notifier.test_notifier import STARTED, Receiver, listening, receiver
from tests.processes.fleet import eventually

__all__ = ["receiver"]  # the fixture

LANES = '[[lane]]\nname = "a"\n[[lane]]\nname = "b"\n'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with two lanes that was started once and whose programs are gone."""
    made, config = Home(tmp_path / "home"), tmp_path / "fleet.toml"
    config.write_text(LANES)
    for one in (made, made.of_lane("a"), made.of_lane("b")):
        one.create()
        file = FleetFile("native", "http://127.0.0.1:9", "file:/none", str(config), str(made.socket), STARTED)
        file.write(one)
    return made


def lost(home: Home, lane: str) -> None:
    HistoryFile(home.of_lane(lane).history).append([Event(1, STARTED + 1, EventKind.GPU_LOST, {})])


def test_the_same_event_number_of_two_lanes_gives_two_notices_with_their_names(
    home: Home, receiver: Receiver
) -> None:
    lost(home, "a")
    lost(home, "b")
    with listening(home, FLEET_NOTIFY_URLS=receiver.url):
        eventually(lambda: {"a-event-1", "b-event-1"} <= set(receiver.ids()), what="both notices")
    assert all(", lane " in row["title"] for row in receiver.taken)
    assert not home.notices_file.exists()


def test_the_ping_is_sent_by_the_first_lane_while_all_are_well(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = {"b"}
    pinged: list[str] = []

    def status(fleet: Fleet) -> dict[str, Any]:
        faults = [{"part": "x", "detail": "y", "hint": ""}] if fleet.home.lane in faulty else []
        return {"faults": faults, "programs": {}, "hold": None}

    monkeypatch.setattr("notifier.loop.collect_status", status)
    monkeypatch.setattr("notifier.loop._ping", pinged.append)
    environ = {"FLEET_HOME": str(home.path), "FLEET_NOTIFY_PING_URL": "http://127.0.0.1:9/ping"}
    notifiers: list[Notifier] = []
    for lane in find_fleet(None, environ).lanes():
        notifiers.append(Notifier(lane, notice_places([], ""), notifiers))

    def all_look() -> None:
        with ThreadPoolExecutor() as pool:
            for notifier in reversed(notifiers):  # the first lane looks last, at what the others found
                notifier.wake()
                notifier.step(pool)

    all_look()
    assert pinged == []
    faulty.clear()
    all_look()
    assert pinged == ["http://127.0.0.1:9/ping"]

    other = notifiers[1]._fleet.home
    other.state.write_text("{")
    monkeypatch.setattr("notifier.loop.PING_EVERY", 0.0)
    all_look()  # a lane that cannot be looked at is not well
    assert len(pinged) == 1
    other.state.unlink()
    all_look()
    assert len(pinged) == 2
