"""The loop when something fails around it: a write, a source, a wake-up at the wrong moment."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.runtime.errors import StateError
from monitor import loop
from monitor.loop import Monitor
from monitor.sources.base import Back, Batch, Cursor, Item, LogLine
from monitor.streams import Pending
from state.store import StateStore
from tests.sources.scripted import POLICY, Scripted, batches, following, read_until

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


def test_a_failed_write_is_tried_again_after_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else need happen: neither a line nor a check comes meanwhile."""
    real, failed, log = StateStore.update, list[float](), Later(batches([OOM], 1))

    def update(store: StateStore, change: Any) -> Any:
        before = store.read()
        if len(failed) < 2 and log.go.is_set() and change(before).cursors != before.cursors:
            failed.append(time.monotonic())
            raise StateError("No space left on device")
        return real(store, change)

    monkeypatch.setattr(StateStore, "update", update)
    with following(tmp_path, log, policy=RARE) as home:
        time.sleep(0.5)  # the first check is over, the next one comes in thirty seconds
        log.go.set()
        assert read_until(home, log=1, seconds=4).vram_error_count == 1
    assert 0.9 < failed[1] - failed[0] < 3


def test_a_check_whose_write_fails_is_done_again_after_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, checked = StateStore.update_if_changed, threading.Semaphore(0)
    left = [StateError("No space left on device")]

    def settle(store: StateStore, change: Any) -> Any:
        if threading.current_thread().name == "loop":
            checked.release()
            if left:
                raise left.pop()
        return real(store, change)

    monkeypatch.setattr(StateStore, "update_if_changed", settle)
    with following(tmp_path, (), policy=RARE):
        assert checked.acquire(timeout=10)
        assert checked.acquire(timeout=10), "the next check comes only in thirty seconds"


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


def test_a_nudge_while_the_next_check_is_planned_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, nudged = threading.Semaphore(0), list[int]()
    real = Monitor._check

    def check(monitor: Monitor) -> None:
        class Moment(float):
            """A deadline far away; another thread nudges just when it is compared with now."""

            def __sub__(self, other: float) -> float:
                if not nudged:
                    nudged.append(1)
                    monitor.nudge()
                return float(self) - other

        monkeypatch.setattr(loop, "deadline", lambda *_: Moment(time.time() + 1000))
        real(monitor)
        checked.release()

    monkeypatch.setattr(Monitor, "_check", check)
    with following(tmp_path, (), policy=RARE):
        assert checked.acquire(timeout=10)
        assert checked.acquire(timeout=4), "the nudge asked for a second check"


def test_batches_without_lines_do_not_pile_up_while_nothing_can_be_written() -> None:
    pending = Pending()
    for number in range(1000):
        pending.add(Batch((), 1, {"at": number}))
    pending.add(Batch((LogLine("x"),), 1, {"at": 1000}))
    pending.add(Batch((), 5, {"at": 1001}))
    assert pending.batches == [
        Batch((), 1000, {"at": 999}),
        Batch((LogLine("x"),), 6, {"at": 1001}),
    ]
