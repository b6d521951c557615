"""`run/pause.json`: a request of the monitor or the command line that the generator begins no call.

A request ends by itself at its `until`: a crash of its author leaves the generator idle no longer than that.
"""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.home import Home, read_json
from fleet.runtime.untrusted import finite


@dataclass(frozen=True, slots=True)
class Pause:
    """A request to pause until a time (Unix seconds), and why."""

    until: float
    why: str = ""


def read_pause(path: Path, now: float) -> Pause | None:
    """Return the request that holds now; None if there is none, it is over, or it cannot be understood.

    It is over by itself at its time, so that a monitor which died does not stop the generator for ever.
    """
    row = read_json(path)
    if row is None:
        return None
    until = finite(row.get("until"))
    return Pause(until, str(row.get("why", ""))) if until is not None and until > now else None


def pause(home: Home, *, since: float, until: float, why: str) -> None:
    """Ask for a pause until a time (Unix seconds); raise OSError."""
    replace_text(home.pause_file, json.dumps({"since": since, "until": until, "why": why}) + "\n")


def resume(home: Home) -> None:
    """End a pause, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        home.pause_file.unlink()
