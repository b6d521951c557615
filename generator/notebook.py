"""What the prompt tells the model of its past: the best alphas so far, and what failed and why.

Small and in memory; the database fills it at the start. Safe for any thread.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from generator.records import Evaluated

_BEST = 24
_FAILED = 24


@dataclass(frozen=True, slots=True)
class Note:
    """An alpha that did well, with the figures that say how well."""

    expression: str
    sharpe: float
    fitness: float
    turnover: float


@dataclass(frozen=True, slots=True)
class Failure:
    """An expression (or what should have been one) that failed, and why."""

    expression: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """The notebook at one moment, best and newest first."""

    best: Sequence[Note] = ()
    failed: Sequence[Failure] = ()


class Notebook:
    """Keeps the best notes by fitness and the newest failures, one of each expression."""

    def __init__(self) -> None:
        self._best: dict[str, Note] = {}
        self._failed: dict[str, Failure] = {}
        self._lock = threading.Lock()

    def note(self, evaluated: Evaluated) -> None:
        """Take in what became of a candidate."""
        performance, expression = evaluated.performance, evaluated.candidate.expression
        if performance is None:
            self.failed(expression, evaluated.error or "no figures")
        elif math.isfinite(performance.fitness):
            note = Note(expression, performance.sharpe, performance.fitness, performance.turnover)
            with self._lock:
                self._best[expression] = note
                ranked = sorted(self._best.values(), key=lambda one: -one.fitness)
                self._best = {one.expression: one for one in ranked[:_BEST]}

    def failed(self, expression: str, reason: str) -> None:
        """Take in a failure."""
        with self._lock:
            self._failed.pop(expression, None)
            self._failed[expression] = Failure(expression, reason)
            for old in list(self._failed)[:-_FAILED]:
                del self._failed[old]

    def page(self) -> Page:
        """Return what is noted now."""
        with self._lock:
            return Page(tuple(self._best.values()), tuple(reversed(self._failed.values())))
