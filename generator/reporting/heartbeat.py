"""`run/generator.json`: what the generator says of itself, for the monitor and the command line."""

import json
import os
from pathlib import Path
from typing import Any

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.units import Seconds
from generator.config import Assignment
from generator.llm.throttle import GateView

EVERY: Seconds = 5.0


class Heartbeat:
    """Rewrites the file when something changed, and every five seconds."""

    def __init__(self, path: Path, assignment: Assignment, *, standin: bool) -> None:
        self._path = path
        self._assignment = assignment
        self._standin = standin
        self._last: dict[str, Any] = {}
        self._written = float("-inf")

    def beat(self, view: GateView, done: dict[str, Any], *, now: float, monotonic: float) -> None:
        """Write the file if it is due; raise OSError if it cannot be written."""
        row = {
            "pid": os.getpid(),
            "model": self._assignment.model,
            "rung": self._assignment.rung,
            "switches": self._assignment.switches,
            "request_since": view.request_since,
            "in_flight": view.in_flight,
            "requests": done["totals"]["calls"] + view.in_flight,
            "paused": view.pause is not None,
            "unusable": view.streak.row(),
            **done,
            "standin": self._standin,
        }
        if row == self._last and monotonic - self._written < EVERY:
            return
        replace_text(self._path, json.dumps({**row, "heartbeat": now}, indent=1) + "\n")
        self._last, self._written = row, monotonic
