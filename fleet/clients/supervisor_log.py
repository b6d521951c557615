"""Programs that supervisord starts again and again, by its own log: they are RUNNING at most looks all the same.

The log is the one record that needs none of our programs alive, the monitor included. A program's count begins
anew where it was stopped (by a person, or by a switch) and where supervisord itself started.
"""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleet.runtime.units import Seconds

WITHIN: Seconds = 600.0
LOOPS_FROM = 3
"""So many ends by itself within that time are a fault; one or two may be an accident."""

_TAIL = 65536
_STAMP = len("2026-11-28 18:07:43,123")


def loops(ends: int) -> bool:
    """Return True if a program that ended so often by itself is kept alive only by supervisord."""
    return ends >= LOOPS_FROM


def read_ends(log: Path, now: float) -> Mapping[str, int]:
    """Return how often each program ended by itself of late, by the end of supervisord's log; empty without one."""
    text = b"".join(_tail(path) for path in (log.with_name(log.name + ".1"), log))[-_TAIL:]
    return count_ends(text.decode(errors="replace").splitlines(), now)


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
            return stream.read()
    except OSError:
        return b""


def count_ends(lines: Iterable[str], now: float) -> dict[str, int]:
    """Return how often each program ended by itself within the last ten minutes; other lines are passed over."""
    ends: dict[str, int] = {}
    for line in lines:
        _, _, message = line[_STAMP:].strip().partition(" ")
        if message.startswith("supervisord started"):
            ends.clear()
            continue
        verb, _, rest = message.partition(": ")
        name = rest.partition(" (")[0]
        if verb == "stopped":
            ends.pop(name, None)
        elif verb == "exited" and name and _age(line[:_STAMP], now) <= WITHIN:
            ends[name] = ends.get(name, 0) + 1
    return ends


def _age(stamp: str, now: float) -> Seconds:
    """Return how long ago a line was written, infinity where its stamp (local time) is none; the future is now."""
    try:
        parts = [
            int(stamp[start:end]) for start, end in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
        ]
        return max(now - time.mktime((*parts, 0, 0, -1)), 0.0)  # type: ignore[arg-type]  # six numbers
    except (ValueError, OverflowError):
        return float("inf")
