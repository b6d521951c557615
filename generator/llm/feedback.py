"""What the prompt tells the model of its past: the best alphas so far, what failed and why, what it repeats.

Small and in memory; the database fills it at the start. Safe for any thread.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from generator.domain import Evaluated

_T = TypeVar("_T")
_BEST = 24
_FAILED = 24
_REPEATED = 24


@dataclass(frozen=True, slots=True)
class Note:
    """An alpha that did well, with the figures that say how well."""

    expression: str
    sharpe: float
    fitness: float
    turnover: float


@dataclass(frozen=True, slots=True)
class FailedExpression:
    """An expression that failed, empty where it was none, and why."""

    expression: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """The notebook at one moment, best and newest first; `repeated` was written again after it was tried."""

    best: Sequence[Note] = ()
    failed: Sequence[FailedExpression] = ()
    repeated: Sequence[str] = ()


class Notebook:
    """Keeps the best notes by fitness, the newest failures and repetitions, one of each expression."""

    def __init__(self) -> None:
        self._best: dict[str, Note] = {}
        self._failed: dict[str, FailedExpression] = {}
        self._repeated: dict[str, None] = {}
        self._lock = threading.Lock()

    def note(self, evaluated: Evaluated) -> None:
        """Take in what became of a candidate."""
        performance, expression = evaluated.performance, evaluated.candidate.expression
        if performance is None:
            self.failed(expression, evaluated.error or "no figures")
        elif performance.reason:
            self.failed(expression, performance.reason)
        elif math.isfinite(performance.fitness):
            note = Note(expression, performance.sharpe, performance.fitness, performance.turnover)
            with self._lock:
                self._best[expression] = note
                ranked = sorted(self._best.values(), key=lambda one: -one.fitness)
                self._best = {one.expression: one for one in ranked[:_BEST]}

    def failed(self, expression: str, reason: str) -> None:
        """Take in a failure."""
        with self._lock:
            _newest(self._failed, expression or reason, FailedExpression(expression, reason), _FAILED)

    def repeated(self, expression: str) -> None:
        """Take in an expression that was tried before: no fault of its own, and a call wasted on it."""
        with self._lock:
            _newest(self._repeated, expression, None, _REPEATED)

    def page(self) -> Page:
        """Return what is noted now."""
        with self._lock:
            return Page(
                best=tuple(self._best.values()),
                failed=tuple(reversed(self._failed.values())),
                repeated=tuple(reversed(self._repeated)),
            )


def _newest(known: dict[str, _T], key: str, value: _T, most: int) -> None:
    """Put a key at the end of the known ones, of which so many stay."""
    known.pop(key, None)
    known[key] = value
    for old in list(known)[:-most]:
        del known[old]
