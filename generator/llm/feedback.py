"""Feedback for prompts: the best alphas so far, failures with their reasons, and repeated expressions.

It is small, in memory and thread-safe; at the start it is filled from the database.
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
    """A good alpha with its figures."""

    expression: str
    sharpe: float
    fitness: float
    turnover: float


@dataclass(frozen=True, slots=True)
class FailedExpression:
    """A failed expression, empty for a text that is none, and the reason."""

    expression: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """Snapshot of the notebook, best and newest first; `repeated` are expressions written again."""

    best: Sequence[Note] = ()
    failed: Sequence[FailedExpression] = ()
    repeated: Sequence[str] = ()


class Notebook:
    """Collects the best alphas by fitness, and the newest failures and repetitions; each expression once."""

    def __init__(self) -> None:
        self._best: dict[str, Note] = {}
        self._failed: dict[str, FailedExpression] = {}
        self._repeated: dict[str, None] = {}
        self._lock = threading.Lock()

    def note(self, evaluated: Evaluated) -> None:
        """Record an evaluation."""
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

    def forget_best(self) -> None:
        """Drop the notes: their figures are not of the data and settings in force."""
        with self._lock:
            self._best.clear()

    def failed(self, expression: str, reason: str) -> None:
        """Record a failure."""
        with self._lock:
            _newest(self._failed, expression or reason, FailedExpression(expression, reason), _FAILED)

    def repeated(self, expression: str) -> None:
        """Record an expression known before: it has no fault, but the call was wasted."""
        with self._lock:
            _newest(self._repeated, expression, None, _REPEATED)

    def page(self) -> Page:
        """Return a snapshot."""
        with self._lock:
            return Page(
                best=tuple(self._best.values()),
                failed=tuple(reversed(self._failed.values())),
                repeated=tuple(reversed(self._repeated)),
            )


def _newest(known: dict[str, _T], key: str, value: _T, most: int) -> None:
    """Move a key to the end and drop the oldest keys beyond `most`."""
    known.pop(key, None)
    known[key] = value
    for old in list(known)[:-most]:
        del known[old]
