"""Heartbeats: `run/<program>.json`, by which others see that a program is alive, and how long one has been silent."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.home import Home, read_json
from fleet.runtime.units import Seconds

LATE: Seconds = 30.0
"""How long after its time a sign of life may come: a busy machine is no fault."""

SHOW_LIFE = ("monitor", "generator")
"""The programs that show signs of life."""


class Pulse:
    """The signs of life of a program that has nothing else to tell: a file with the first, whose time is the last."""

    def __init__(self, home: Home, program: str, within: Seconds) -> None:
        self._path = home.heartbeat(program)
        self._within = within
        self._begun = False

    def beat(self, now: float) -> None:
        """Leave a sign of life, which says by when the next one comes; raise OSError."""
        if self._begun:
            with contextlib.suppress(OSError):  # writing it finds out
                os.utime(self._path, (now, now))
                return
        text = f'{{"pid": {os.getpid()}, "heartbeat": {now}, "next": {now + self._within}}}\n'
        replace_text(self._path, text)
        os.utime(self._path, (now, now))
        self._begun = True


def last_beat(home: Home, program: str) -> dict[str, Any] | None:
    """Return what a program's heartbeat file says, moved on to the time of the file; None if there is none."""
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


def silence(beat: Mapping[str, object] | None, now: float) -> str:
    """Return what is wrong with a program's sign of life, empty for a fresh one; one from the future is fresh."""
    last = (beat or {}).get("heartbeat")
    due = (beat or {}).get("next", last)
    if not isinstance(last, (int, float)) or not isinstance(due, (int, float)):
        return "has shown no sign of life"
    return f"has shown no sign of life for {now - last:.0f} s" if now > due + LATE else ""
