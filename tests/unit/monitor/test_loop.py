"""The loop when something fails around it: a write, a source, a thread, the end at a bad moment."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from fleet.policy.events import EventKind
from fleet.policy.facts import PrefetchStarted
from fleet.policy.state import FleetState
from fleet.runtime.errors import StateError
from fleet.runtime.home import Home
from monitor import loop
from monitor.inbox import Inbox, Reported
from monitor.ingest import LOG
from monitor.loop import Monitor
from monitor.sources.base import Back, Batch, Cursor, Item, LogLine
from monitor.sources.thread import SourceThread, Stream
from state.history import read_history
from state.store import StateStore, backup_of
from tests.sources.scripted import POLICY, Scripted, batches, following, monitor_on, read_until

OOM = "CUDA error: out of memory"
RARE = replace(POLICY, check_interval=30.0)
"""A check interval that is longer than each test may take."""


class Later(Scripted):
    """Gives its batches once `go` is set."""

    def __init__(self, log: list[Batch]) -> None:
        super().__init__(log)
        self.go = threading.Event()

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        self.go.wait(30)
        yield from super().items(cursor)


class Joined(Scripted):
    """Gives its first batch, and the others once `go` is set; without a cursor a second reader has missed all."""

    def __init__(self, log: list[Batch]) -> None:
        super().__init__(log)
        self.go = threading.Event()
        self.readers = 0

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        self.readers += 1
        if self.readers == 1:
            yield self.batches[0]
            self.go.wait(30)
            yield from self.batches[1:]
        self.closed.wait()


class Endless(Scripted):
    """Gives batches of one line without end; `given` counts them."""

    def __init__(self) -> None:
        super().__init__(())
        self.given = 0

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        yield Back()
        for number in range(int(str(cursor["at"])) if cursor else 0, 10**6):
            self.given += 1
            yield Batch((LogLine(f"line {number}"),), {"at": number + 1})
            if self.closed.is_set():
                return


class Broken(Scripted):
    """Raises as soon as it is read; each time is counted."""

    def __init__(self) -> None:
        super().__init__(())
        self.read = 0
        self.raised = threading.Event()

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        self.read += 1
        self.raised.set()
        yield Back()
        raise PermissionError(13, "Permission denied", "signals.jsonl")


class FullDisk:
    """Makes the state's writes fail while it is `full`; `tried` holds the times of the tries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.tried: list[float] = []
        real = StateStore._write

        def write(store: StateStore, state: FleetState, *, backup: bool) -> None:
            if self.full:
                self.tried.append(time.monotonic())
                raise StateError("No space left on device")
            real(store, state, backup=backup)

        monkeypatch.setattr(StateStore, "_write", write)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    return FullDisk(monkeypatch)


def events(home: Home) -> list[EventKind]:
    return [event.kind for event in read_history(home.history)]


# The store fails


def test_a_failed_write_is_tried_again_after_a_second(tmp_path: Path, disk: FullDisk) -> None:
    """Nothing else need happen: neither a line nor a check comes meanwhile."""
    log = Later(batches([OOM], 1))
    with following(tmp_path, log, policy=RARE) as home:
        time.sleep(0.5)  # the first check is over, the next one comes in thirty seconds
        disk.full = True
        log.go.set()
        until(lambda: len(disk.tried) > 1)
        disk.full = False
        assert read_until(home, log=1, seconds=4).vram_error_count == 1
    assert disk.tried[1] - disk.tried[0] > 0.9


def test_a_monitor_that_starts_on_a_full_disk_waits_for_room(tmp_path: Path, disk: FullDisk) -> None:
    """supervisord gives up a program that ends at each start, and the fleet would stand without a monitor."""
    disk.full = True
    with following(tmp_path, batches([OOM], 1)) as home:
        until(lambda: len(disk.tried) > 1)
        disk.full = False
        assert read_until(home, log=1).vram_error_count == 1
    disk.full = True
    with following(tmp_path, (), monitor=monitor_on(tmp_path)):
        until(lambda: len(disk.tried) > 2)  # and ends when it is stopped meanwhile


def test_a_monitor_starts_beside_a_history_that_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(tmp_path / "home")
    home.history.mkdir(parents=True)
    with following(tmp_path, batches([OOM], 1)):
        read_until(home, log=1)
        home.history.rmdir()
        until(lambda: "incident" in [event.value for event in events(home)])


def test_a_check_whose_write_fails_is_done_again_after_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = Monitor._after_time, [StateError("No space left on device")]
    checked = threading.Semaphore(0)

    def settle(monitor: Monitor, *given: Any) -> FleetState:
        checked.release()
        if left:
            raise left.pop()
        return real(monitor, *given)

    monkeypatch.setattr(Monitor, "_after_time", settle)
    with following(tmp_path, (), policy=RARE):
        assert checked.acquire(timeout=10)
        assert checked.acquire(timeout=10), "the next check comes only in thirty seconds"


def test_while_nothing_can_be_written_a_source_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: FullDisk
) -> None:
    """Neither memory nor the processor is used up by an endless log; afterwards nothing is missing."""
    monkeypatch.setattr(loop, "_WRITE_RETRY", 0.1)
    log = Endless()
    with following(tmp_path, log, policy=RARE) as home:
        until(lambda: log.given > 20)
        disk.full = True
        until(lambda: len(disk.tried) > 1)
        stands = log.given
        until(lambda: len(disk.tried) > 3)
        assert log.given == stands
        disk.full = False
        until(lambda: log.given > stands + 20)
        read_until(home, log=stands)


@pytest.mark.parametrize("original", [True, False], ids=["an original's", "none"])
def test_a_line_counts_that_comes_after_a_state_without_a_cursor(tmp_path: Path, original: bool) -> None:
    log = Joined(batches([OOM, OOM], 1))
    with following(tmp_path, log, policy=RARE) as home:
        read_until(home, log=1)
        row = {
            "current_model_index": 1,
            "vram_error_count": 0,
            "current_model": "phi3:mini",
            "timestamp": 1.0,
        }
        with FileLock(f"{home.state}.lock"):  # a write under way would bring the old state back
            backup_of(home.state).unlink(missing_ok=True)
            home.state.unlink()
            if original:
                home.state.write_text(json.dumps(row))
        log.go.set()
        state = read_until(home, log=2)
    assert (state.current_model_index, log.readers) == (int(original), 1)
    assert events(home).count(EventKind.INCIDENT) == 2


def test_a_thread_waits_until_its_fact_is_written(tmp_path: Path, disk: FullDisk) -> None:
    monitor = monitor_on(tmp_path, policy=RARE)
    with following(tmp_path, monitor=monitor) as home:
        report(monitor, "the loop has begun")
        disk.full = True
        answered = list[FleetState]()
        sender = threading.Thread(target=lambda: answered.append(report(monitor, "first")))
        sender.start()
        until(lambda: len(disk.tried) > 1)
        assert not answered
        disk.full = False
        sender.join(10)
        assert answered[0].last_event_number == 2
        assert events(home) == [EventKind.GENERATOR_DOWN] * 2


# Facts


def report(monitor: Monitor, reason: str) -> FleetState:
    return monitor._inbox.post(Reported(EventKind.GENERATOR_DOWN, {"reason": reason}))


def test_facts_are_decided_on_in_the_order_in_which_they_come(tmp_path: Path) -> None:
    monitor = monitor_on(tmp_path, policy=RARE)
    with following(tmp_path, monitor=monitor) as home:
        reasons = [f"{number}" for number in range(20)]
        assert [report(monitor, reason).last_event_number for reason in reasons] == list(range(1, 21))
        found = [event.fields["reason"] for event in read_history(home.history)]
        assert found == reasons


def test_a_fact_and_lines_of_the_same_moment_are_both_written(tmp_path: Path) -> None:
    log = Later(batches([OOM] * 30, 1))
    monitor = monitor_on(tmp_path, log, policy=RARE)
    with following(tmp_path, monitor=monitor) as home:
        log.go.set()
        for number in range(30):
            report(monitor, f"{number}")
        state = read_until(home, log=30)
        kinds = events(home)
        assert kinds.count(EventKind.GENERATOR_DOWN) == 30
        assert kinds.count(EventKind.INCIDENT) == state.vram_error_count


def test_a_fact_that_raises_is_its_senders_and_the_loop_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.absorb_fact

    def absorb(state: FleetState, fact: object, context: Any) -> FleetState:
        if isinstance(fact, PrefetchStarted):
            raise ZeroDivisionError
        return real(state, fact, context)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(loop, "absorb_fact", absorb)
    monitor = monitor_on(tmp_path, policy=RARE)
    with following(tmp_path, monitor=monitor):
        with pytest.raises(ZeroDivisionError):
            monitor._inbox.post(PrefetchStarted("m", "why"))
        assert report(monitor, "next").last_event_number == 1


def test_a_thread_that_raises_is_run_again_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = threading.Semaphore(0)

    def broken(*_: object) -> float:
        runs.release()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("monitor.models.inventory.Inventory.__call__", broken)
    with following(tmp_path, batches([OOM], 1)) as home:
        assert runs.acquire(timeout=10)
        assert runs.acquire(timeout=10)
        read_until(home, log=1)
    assert "worker.broken" in [record.getMessage() for record in caplog.records]


# Sources


def test_a_broken_source_does_not_hold_up_the_other_and_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_BROKEN_RETRY", 4.0)
    log, calls = Later(batches([OOM], 1)), Broken()
    with following(tmp_path, log, calls, policy=RARE) as home:
        assert calls.raised.wait(10)
        time.sleep(0.2)
        began = time.monotonic()
        log.go.set()
        read_until(home, log=1)
        assert time.monotonic() - began < 3
        calls.raised.clear()
        assert calls.raised.wait(20)
    assert calls.read >= 2


def test_batches_without_lines_do_not_pile_up_and_give_their_slots_back() -> None:
    thread = SourceThread(LOG, Scripted(()), None, lambda _: None)
    released = list[int]()
    thread.release = lambda items=1: released.append(items)  # type: ignore[method-assign]  # counted here
    stream = Stream(thread, {"at": 0})
    for number in range(1000):
        stream.add(Batch((), {"at": number}))
    assert not stream.urgent
    stream.add(Batch((LogLine("x"),), {"at": 1000}))
    stream.add(Batch((), {"at": 1001}))
    assert stream.urgent
    assert stream.pending == [
        Batch((), {"at": 999}),
        Batch((LogLine("x"),), {"at": 1001}),
    ]
    assert sum(released) == 1000
    stream.written(stream.portion())
    assert sum(released) == 1002
    assert (stream.committed, stream.pending) == ({"at": 1001}, [])


# The end


def test_at_the_end_the_loop_serves_a_thread_that_still_has_something_to_post(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SIGTERM calls. A trial that is cut must still remove its pause, and its fact is not lost."""
    began, go, answered = threading.Event(), threading.Event(), list[FleetState]()
    monitor = monitor_on(tmp_path, policy=RARE)

    def step(_: object) -> float:
        began.set()
        go.wait(30)
        answered.append(report(monitor, "posted at the end"))
        return 30.0

    monkeypatch.setattr("monitor.switching.reconcile.SwitchJob.__call__", step)
    with following(tmp_path, monitor=monitor) as home:
        assert began.wait(10)
        monitor.stop()
        go.set()
    assert answered
    assert events(home) == [EventKind.GENERATOR_DOWN]


def test_the_end_is_not_held_up_by_a_thread_or_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: FullDisk
) -> None:
    began, go, raised = threading.Event(), threading.Event(), threading.Event()
    monitor = monitor_on(tmp_path, policy=RARE)

    def step(_: object) -> float:
        began.set()
        go.wait(30)
        try:
            report(monitor, "never written")
        except StateError:
            raised.set()
            raise
        return 30.0

    monkeypatch.setattr("monitor.switching.reconcile.SwitchJob.__call__", step)
    monkeypatch.setattr(loop, "_END_WITHIN", 0.5)
    with following(tmp_path, monitor=monitor):
        assert began.wait(10)
        disk.full = True
        go.set()
        until(lambda: len(disk.tried) > 1)
        monitor.stop()
    assert raised.wait(10)


def test_who_posts_after_the_end_is_answered() -> None:
    inbox = Inbox()
    inbox.close()
    with pytest.raises(StateError, match="the monitor ends"):
        inbox.post(Reported(EventKind.OLLAMA_BACK))


def until(done: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
