"""Counts and last alphas of this run, and BRAIN's state, for the heartbeat file."""

import threading
from collections import deque
from dataclasses import dataclass, fields, replace
from typing import Any

from generator.domain import Evaluated

_LAST = 5


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts since the start. `calls` counts finished calls; `valid` includes `duplicates`."""

    calls: int = 0
    failed: int = 0
    valid: int = 0
    invalid: int = 0
    duplicates: int = 0
    evaluated: int = 0
    kept: int = 0


class RunStats:
    """Collects totals and the last alphas; thread-safe."""

    def __init__(self) -> None:
        self._totals = Totals()
        self._last: deque[dict[str, Any]] = deque(maxlen=_LAST)
        self._brain: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def count(self, **amounts: int) -> None:
        """Add amounts to the totals of these names."""
        with self._lock:
            new = {name: getattr(self._totals, name) + amount for name, amount in amounts.items()}
            self._totals = replace(self._totals, **new)

    def alpha(self, evaluated: Evaluated) -> None:
        """Record an alpha if it has figures."""
        if evaluated.performance is None:
            return
        figures = evaluated.performance.figures()
        row = {
            "expression": evaluated.candidate.expression,
            "sharpe": figures["sharpe"],
            "fitness": figures["fitness"],
            "turnover": figures["turnover"],
            "model": evaluated.candidate.model,
            "time": evaluated.time,
            "source": evaluated.source.value,
            "kept": evaluated.kept,
        }
        with self._lock:
            self._last.append(row)

    def brain(self, state: dict[str, Any]) -> None:
        """Record BRAIN's current state."""
        with self._lock:
            self._brain = state

    def totals(self) -> Totals:
        """Return the totals."""
        with self._lock:
            return self._totals

    def row(self) -> dict[str, Any]:
        """Return totals, last alphas and BRAIN's state as in `generator.json`."""
        with self._lock:
            counts = {part.name: getattr(self._totals, part.name) for part in fields(Totals)}
            row = {"totals": counts, "alphas": list(self._last)}
            return row if self._brain is None else {**row, "brain": self._brain}
