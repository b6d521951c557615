"""Asking the generator to pause: `run/pause.json`, which ends by itself at its `until`.

A pause is bounded in time, so that no crash of whoever asked for it leaves the generator idle for good.
"""

import contextlib
import json

from fleet.files import replace_text
from fleet.home import Home


def pause(home: Home, *, since: float, until: float, why: str) -> None:
    """Ask for a pause until a time (Unix seconds); raise OSError."""
    replace_text(home.pause_file, json.dumps({"since": since, "until": until, "why": why}) + "\n")


def resume(home: Home) -> None:
    """End a pause, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        home.pause_file.unlink()
