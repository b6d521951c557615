"""Crash loops: programs that supervisord restarts again and again, found in its own log.

supervisord reports such a program as RUNNING most of the time. Its log is the one record that needs no program of ours
alive. A program's count restarts at each stop (by a person or by a switch) and at each start of supervisord.
"""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleet.runtime.units import Seconds

CRASH_LOOP_WINDOW: Seconds = 600.0
CRASH_LOOP_EXITS = 3
"""Unexpected exits within the window that make a crash loop; one or two may be an accident."""

_TAIL = 65536
_STAMP = len("2026-11-28 18:07:43,123")


def is_crash_loop(exits: int) -> bool:
    """Return True if this number of unexpected exits makes a crash loop."""
    return exits >= CRASH_LOOP_EXITS


def read_exits(log: Path, now: float) -> Mapping[str, int]:
    """Return each program's unexpected exits within the window, by supervisord's log; empty without a log."""
    text = b"".join(_tail(path) for path in (log.with_name(log.name + ".1"), log))[-_TAIL:]
    return count_exits(text.decode(errors="replace").splitlines(), now)


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
            return stream.read()
    except OSError:
        return b""


def count_exits(lines: Iterable[str], now: float) -> dict[str, int]:
    """Return each program's unexpected exits within the window; lines of other kinds are skipped."""
    exits: dict[str, int] = {}
    for line in lines:
        _, _, message = line[_STAMP:].strip().partition(" ")
        if message.startswith("supervisord started"):
            exits.clear()
            continue
        verb, _, rest = message.partition(": ")
        name = rest.partition(" (")[0]
        if verb == "stopped":
            exits.pop(name, None)
        elif verb == "exited" and name and _age(line[:_STAMP], now) <= CRASH_LOOP_WINDOW:
            exits[name] = exits.get(name, 0) + 1
    return exits


def _age(stamp: str, now: float) -> Seconds:
    """Return the age of a line by its stamp in local time. An unreadable stamp gives infinity, a future one 0."""
    try:
        parts = [
            int(stamp[start:end]) for start, end in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
        ]
        return max(now - time.mktime((*parts, 0, 0, -1)), 0.0)  # type: ignore[arg-type]  # six numbers
    except (ValueError, OverflowError):
        return float("inf")
