"""Pause requests: `run/pause.json`, with which the monitor or the command line pauses the generator's calls.

A request expires at its `until`: the generator resumes even if the requesting program has crashed. A request without an
end stands for a pause in the state. With `cut` the generator also cuts its running calls; without it they run to their
end.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.clock import Clock
from fleet.runtime.home import Home, process_environ, read_json
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import moment

IDLE_WITHIN: Seconds = 120.0
"""Longest wait for a running call; on a slow model a call takes a minute."""
CUT_WITHIN: Seconds = 2.0
"""Longest wait for the generator to cut its running calls."""
HUNG_AFTER: Seconds = 30.0
"""Age of a generator's heartbeat that means a hang; a heartbeat is due every five seconds."""
_POLL: Seconds = 0.05


@dataclass(frozen=True, slots=True)
class Pause:
    """A request to pause until a time (Unix seconds), with its reason; `cut`: running calls end at once.

    `until` is None for a request without an end: the state says when it is over.
    """

    until: float | None
    why: str = ""
    cut: bool = False


def read_pause(path: Path, now: float) -> Pause | None:
    """Return the request in force at `now`; None if it is missing, expired or damaged."""
    row = read_json(path)
    if row is None:
        return None
    # A key of its own: a damaged number reads as None too, and must not pause without end.
    endless = row.get("endless") is True
    until = None if endless else moment(row.get("until"))
    if not endless and (until is None or until <= now):
        return None
    return Pause(until, str(row.get("why", "")), cut=row.get("cut") is True)


def pause(home: Home, *, since: float, until: float | None, why: str, cut: bool = False) -> None:
    """Request a pause until a time (Unix seconds); raise OSError."""
    row: dict[str, Any] = {"since": since, "until": until, "why": why, "cut": cut}
    if until is None:
        row["endless"] = True
    replace_text(home.pause_file, json.dumps(row) + "\n")


def resume(home: Home) -> None:
    """Withdraw the request, if there is one; raise OSError."""
    with contextlib.suppress(FileNotFoundError):
        home.pause_file.unlink()


def wait_until_idle(
    home: Home, clock: Clock, *, within: Seconds = IDLE_WITHIN, unwanted: Callable[[], bool] = lambda: False
) -> bool:
    """Wait until the paused generator has no call in flight; return False after `within` or once it is `unwanted`.

    A generator that hangs or does not run counts as idle.
    """
    never, end = threading.Event(), clock.monotonic() + within
    while not is_idle(read_json(home.generator_file) or {}, clock.time()):
        if clock.monotonic() >= end or unwanted():
            return False
        clock.wait(never, _POLL)
    return True


def is_idle(row: Mapping[str, Any], now: float) -> bool:
    """Return True if the generator with this heartbeat has no call in flight and obeys the request."""
    pid, beat = row.get("pid"), row.get("heartbeat")
    if not isinstance(pid, int) or not process_environ(pid):
        return True
    if not isinstance(beat, (int, float)) or now - beat > HUNG_AFTER:
        return True
    return bool(row.get("paused")) and row.get("request_since") is None
