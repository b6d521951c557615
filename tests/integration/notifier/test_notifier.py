"""The notifier as a process: supervisord's protocol, deliveries to a receiver on loopback, and kills at random."""

import contextlib
import http.server
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.status import undelivered
from cli.target import Fleet, find_fleet
from fleet.clients.notices import notice_places
from fleet.policy.events import Event, EventKind
from fleet.runtime.home import ROOT, FleetFile, Home, process_environ
from notifier.loop import Notifier
from state.history import HistoryFile, rotated
from tests.processes.fleet import FleetProcess, eventually

STARTED = time.time()


class Receiver:
    """A server that Apprise's json:// addresses reach; it refuses while `open` is False."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.open = True
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.open:
                    outer.taken.append(json.loads(body))
                self.send_response(200 if outer.open else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://someone:hunter22@127.0.0.1:{self.server.server_port}"

    def ids(self) -> list[str]:
        """Return the ids of the notices taken, in order; a title ends with its notice's."""
        return [row["title"].rpartition("[")[2].rstrip("]") for row in self.taken]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home of a fleet that was started once and whose programs are gone."""
    made = Home(tmp_path / "home")
    made.create()
    FleetFile("native", "http://127.0.0.1:9", "file:/none", "", str(made.socket), STARTED).write(made)
    return made


class Listener:
    """A notifier that this test starts in supervisord's place."""

    def __init__(self, home: Home, **environ: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "notifier"],
            cwd=ROOT,
            env={**kept, "FLEET_HOME": str(home.path), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def line(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def kill(self) -> str:
        self.process.kill()
        if self.process.stdin is not None and self.process.stdin.closed:
            self.process.stdin = None  # communicate would flush it
        _, errors = self.process.communicate()
        return errors.decode()


@contextlib.contextmanager
def listening(home: Home, **environ: str) -> Iterator[Listener]:
    listener = Listener(home, **environ)
    try:
        yield listener
    finally:
        listener.kill()


def happens(home: Home, number: int, kind: EventKind = EventKind.GPU_LOST, **values: Any) -> None:
    HistoryFile(home.history).append([Event(number, time.time(), kind, {"reason": "restart it", **values})])


def test_each_event_of_supervisords_is_answered_at_once(home: Home) -> None:
    with listening(home, FLEET_NOTIFY_COMMAND="/bin/true") as listener:
        assert listener.line() == b"READY\n"
        payload = b"processname:monitor groupname:monitor from_state:RUNNING expected:0 pid:7"
        header = f"ver:3.0 serial:1 eventname:PROCESS_STATE_EXITED len:{len(payload)}\n".encode()
        assert listener.process.stdin is not None
        listener.process.stdin.write(header + payload)
        listener.process.stdin.flush()
        assert listener.line() == b"RESULT 2\n"
        assert listener.line() == b"OKREADY\n"
        listener.process.stdin.close()
        assert listener.process.wait(10) == 0


def test_a_notice_arrives_and_its_end_too(home: Home, receiver: Receiver) -> None:
    with listening(home, FLEET_NOTIFY_URLS=receiver.url) as listener:
        assert listener.line() == b"READY\n"
        happens(home, 1)
        eventually(lambda: "event-1-over" in receiver.ids(), what="a notice and its end")
    assert receiver.ids()[:2] == ["event-1", "event-1-over"]
    assert "restart it" in receiver.taken[0]["message"]
    assert [row["type"] for row in receiver.taken[:2]] == ["warning", "success"]


@pytest.mark.slow
def test_what_a_place_refuses_is_tried_again_and_stands_in_the_status(home: Home, receiver: Receiver) -> None:
    receiver.open = False
    happens(home, 1)
    with listening(home, FLEET_NOTIFY_URLS=receiver.url) as listener:
        late = eventually(lambda: undelivered(home), what="an undelivered notice")
        receiver.open = True
        eventually(lambda: "event-1" in receiver.ids(), what="a second try")
        eventually(lambda: not undelivered(home), what="a clean outbox")
        errors = listener.kill()
    assert late[0]["place"] == "urls[0] (json)"
    assert "503" in late[0]["reason"]
    stored = home.notices_file.read_text()
    assert "hunter22" not in stored + errors
    assert home.notices_file.stat().st_mode & 0o077 == 0


def test_events_before_the_fleets_start_are_the_past(home: Home, receiver: Receiver) -> None:
    HistoryFile(home.history).append([Event(1, STARTED - 60, EventKind.GPU_LOST, {"reason": "old"})])
    happens(home, 2, EventKind.OLLAMA_HANGS)
    with listening(home, FLEET_NOTIFY_URLS=receiver.url):
        eventually(lambda: "event-2" in receiver.ids(), what="the event after the start")
    assert "event-1" not in receiver.ids()


def kill_at_random(home: Home, receiver: Receiver, kills: int, seed: int) -> None:
    """Kill the notifier again and again while conditions begin; check that none lacks its notice."""
    random_ = random.Random(seed)
    number = 0
    for _ in range(kills):
        with listening(home, FLEET_NOTIFY_URLS=receiver.url) as listener:
            listener.line()
            for _ in range(random_.randrange(1, 4)):
                number += 1
                happens(home, number, random_.choice((EventKind.GPU_LOST, EventKind.OLLAMA_HANGS)))
                time.sleep(random_.random() * 0.4)
    with listening(home, FLEET_NOTIFY_URLS=receiver.url):
        number += 1
        happens(home, number, EventKind.SPILL, model="a", share=0.5, outcome="reported")
        eventually(lambda: f"event-{number}-over" in receiver.ids(), what="the last notice")
        eventually(lambda: not json.loads(home.notices_file.read_text())["waiting"], what="an empty outbox")
    counts = Counter(receiver.ids())
    begun = {one for one in counts if one.startswith("event-") and not one.endswith("-over")}
    assert {f"{one}-over" for one in begun} == {one for one in counts if one.startswith("event-")} - begun
    assert begun == {f"event-{one}" for one in range(1, number + 1)}


@pytest.mark.slow
def test_no_condition_loses_its_notice_over_kills(home: Home, receiver: Receiver) -> None:
    kill_at_random(home, receiver, int(os.environ.get("FLEET_NOTIFY_KILLS", "5")), seed=3)


@pytest.mark.slow
def test_a_whole_fleet_reports_a_program_that_is_down(tmp_path: Path, receiver: Receiver) -> None:
    fleet = FleetProcess(tmp_path / "home", FLEET_NOTIFY_URLS=receiver.url)
    try:
        fleet.start()
        environs = {
            name: process_environ(fleet.supervisor.program(name).pid)
            for name in ("monitor", "generator", "standin", "notifier")
        }
        fleet.supervisor.stop("monitor")
        eventually(lambda: any("program failed" in row["title"] for row in receiver.taken), what="its notice")
        fleet.supervisor.start("monitor")
        eventually(lambda: any("is over" in row["title"] for row in receiver.taken), what="its end")
    finally:
        fleet.stop()
    assert environs["notifier"]["FLEET_NOTIFY_URLS"] == receiver.url
    assert not any(environs[name].get("FLEET_NOTIFY_URLS") for name in ("monitor", "generator", "standin"))
    assert "hunter22" not in fleet.output()


def test_a_look_that_fails_holds_up_no_notice(
    home: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("notifier.loop.collect_status", broken)
    happens(home, 1)
    fleet = find_fleet(None, {"FLEET_HOME": str(home.path), "FLEET_NOTIFY_URLS": receiver.url})
    notifier = Notifier(fleet, notice_places([receiver.url], ""))
    with ThreadPoolExecutor() as pool:
        notifier.step(pool)
    assert receiver.ids() == ["event-1"]


@pytest.mark.parametrize("step", [8 * 3600.0, -8 * 3600.0], ids=["woken up", "set back"])
def test_after_a_step_of_the_clock_programs_have_the_time_for_a_heartbeat(
    home: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """A laptop that wakes up reported a monitor without a heartbeat for the length of its sleep."""
    clock = SimpleNamespace(wall=time.time(), spent=100.0)
    given = SimpleNamespace(time=lambda: clock.wall + clock.spent, monotonic=lambda: clock.spent)
    monkeypatch.setattr("notifier.loop.time", given)
    looks = list[float]()

    def look(_: Fleet) -> dict[str, Any]:
        looks.append(clock.spent)
        raise ZeroDivisionError

    monkeypatch.setattr("notifier.loop.collect_status", look)
    fleet = find_fleet(None, {"FLEET_HOME": str(home.path), "FLEET_NOTIFY_URLS": receiver.url})
    notifier = Notifier(fleet, notice_places([receiver.url], ""))
    with ThreadPoolExecutor() as pool:
        notifier.step(pool)
        clock.spent, clock.wall = 170.0, clock.wall + step
        happens(home, 1)
        notifier.step(pool)
        clock.spent = 229.0
        notifier.step(pool)
        assert looks == [100.0]
        clock.spent = 231.0
        notifier.step(pool)
    assert looks == [100.0, 231.0]
    assert receiver.ids() == ["event-1"], "events are delivered meanwhile"


def test_an_event_at_which_the_history_is_rotated_is_reported_at_once(
    home: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("state.history._ROTATE_AT", 1)
    HistoryFile(home.history).append([Event(1, STARTED - 60, EventKind.GPU_LOST, {"reason": "old"})])
    happens(home, 2)
    fleet = find_fleet(None, {"FLEET_HOME": str(home.path), "FLEET_NOTIFY_URLS": receiver.url})
    notifier = Notifier(fleet, notice_places([receiver.url], ""))
    with ThreadPoolExecutor() as pool:
        notifier.step(pool)
    assert rotated(home.history).exists()
    assert receiver.ids() == ["event-2"]


def test_a_state_that_cannot_be_read_ends_no_condition(home: Home, receiver: Receiver) -> None:
    home.state.write_text("{")
    happens(home, 1)
    fleet = find_fleet(None, {"FLEET_HOME": str(home.path), "FLEET_NOTIFY_URLS": receiver.url})
    with ThreadPoolExecutor() as pool:
        Notifier(fleet, notice_places([receiver.url], "")).step(pool)
    assert receiver.ids() == ["event-1"]
    assert [one["key"] for one in json.loads(home.notices_file.read_text())["ledger"]["open"]] == ["gpu_lost"]
