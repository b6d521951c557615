"""Pause requests: `run/pause.json`, with which the monitor or the command line pauses the generator's calls.

A request expires at its `until`, so that the generator resumes even if the program that asked has crashed. With `cut`
the generator also cuts its running calls, whatever they wait for; without it they end by themselves.
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
    """A request to pause until a time (Unix seconds), with its reason; `cut`: running calls end at once."""

    until: float
    why: str = ""
    cut: bool = False


def read_pause(path: Path, now: float) -> Pause | None:
    """Return the request in force at `now`; None if it is missing, expired or damaged."""
    row = read_json(path)
    if row is None:
        return None
    until = finite(row.get("until"))
    if until is None or until <= now:
        return None
    return Pause(until, str(row.get("why", "")), cut=row.get("cut") is True)


def pause(home: Home, *, since: float, until: float, why: str, cut: bool = False) -> None:
    """Request a pause until a time (Unix seconds); raise OSError."""
    row = {"since": since, "until": until, "why": why, "cut": cut}
    replace_text(home.pause_file, json.dumps(row) + "\n")


def resume(home: Home) -> None:
    """Withdraw the request, if there is one; raise OSError."""
    with contextlib.suppress(FileNotFoundError):
        home.pause_file.unlink()
