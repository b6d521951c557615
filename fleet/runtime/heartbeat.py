"""Heartbeats: `run/<program>.json`, the proof that a program is alive and not hanging."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.home import Home, read_json
from fleet.runtime.units import Seconds

GRACE: Seconds = 30.0
"""Tolerated delay of a heartbeat, since a busy machine is no fault."""

WITH_HEARTBEAT = ("monitor", "generator")
"""The programs that write heartbeats."""


class HeartbeatFile:
    """Heartbeat file, written once; each later beat only sets its mtime."""

    def __init__(self, home: Home, program: str, within: Seconds) -> None:
        self._path = home.heartbeat(program)
        self._within = within
        self._written = False

    def beat(self, now: float) -> None:
        """Record a heartbeat at `now`, the next one being due `within` seconds; raise OSError."""
        if self._written:
            with contextlib.suppress(OSError):  # the file is gone: write it again
                os.utime(self._path, (now, now))
                return
        text = f'{{"pid": {os.getpid()}, "heartbeat": {now}, "next": {now + self._within}}}\n'
        replace_text(self._path, text)
        os.utime(self._path, (now, now))
        self._written = True


def read_heartbeat(home: Home, program: str) -> dict[str, Any] | None:
    """Return a program's heartbeat file with its times moved to the last beat (mtime); None without a file."""
    path = home.heartbeat(program)
    row = read_json(path)
    first, due = (row or {}).get("heartbeat"), (row or {}).get("next")
    if row is None or not isinstance(first, (int, float)) or not isinstance(due, (int, float)):
        return row
    try:
        later = path.stat().st_mtime - first
    except OSError:
        return row
    return {**row, "heartbeat": first + later, "next": due + later}


def heartbeat_fault(beat: Mapping[str, object] | None, now: float) -> str:
    """Return the fault of a heartbeat, worded to follow the program's name.

    Return "" for one on time or in the future.
    """
    last = (beat or {}).get("heartbeat")
    due = (beat or {}).get("next", last)
    if not isinstance(last, (int, float)) or not isinstance(due, (int, float)):
        return "has written no heartbeat"
    return f"has written no heartbeat for {now - last:.0f} s" if now > due + GRACE else ""
