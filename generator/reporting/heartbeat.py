"""Heartbeat file `run/generator.json`: the generator's state for the monitor and the command line."""

import json
import os
from pathlib import Path
from typing import Any

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.units import Seconds
from generator.domain import Assignment, ThrottleState

INTERVAL: Seconds = 5.0


class Heartbeat:
    """Rewrites the file at every change, and at least every INTERVAL seconds."""

    def __init__(self, path: Path, assignment: Assignment, *, standin: bool) -> None:
        self._path = path
        self._assignment = assignment
        self._standin = standin
        self._last: dict[str, Any] = {}
        self._written = float("-inf")

    def beat(self, state: ThrottleState, done: dict[str, Any], *, now: float, monotonic: float) -> None:
        """Write the file if it is due; raise OSError if it cannot be written.

        `done` holds the run's counts. `now` is Unix seconds, `monotonic` monotonic seconds.
        """
        row = {
            "pid": os.getpid(),
            "model": self._assignment.model,
            "rung": self._assignment.rung,
            "switches": self._assignment.switches,
            "request_since": state.request_since,
            "in_flight": state.in_flight,
            "requests": done["totals"]["calls"] + state.in_flight,
            "paused": state.pause is not None,
            "unusable": state.streak.row(),
            **done,
            "standin": self._standin,
        }
        if row == self._last and monotonic - self._written < INTERVAL:
            return
        replace_text(self._path, json.dumps({**row, "heartbeat": now}, indent=1) + "\n")
        self._last, self._written = row, monotonic
