"""Feedback to the model in the prompt: the best alphas so far, failures with their reasons, repetitions.

Small and in memory; filled from the database at the start. Thread-safe.
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
class BestAlpha:
    """One of the best alphas with its figures."""

    expression: str
    sharpe: float
    fitness: float
    turnover: float


@dataclass(frozen=True, slots=True)
class FailedExpression:
    """A failed expression with the reason; the expression is empty if the text was none."""

    expression: str
    reason: str


@dataclass(frozen=True, slots=True)
class Feedback:
    """Snapshot of the notebook: `best` by fitness, the others newest first. `repeated` were proposed again."""

    best: Sequence[BestAlpha] = ()
    failed: Sequence[FailedExpression] = ()
    repeated: Sequence[str] = ()


class Notebook:
    """Keeps the best alphas by fitness, the newest failures and the newest repetitions, each expression once."""

    def __init__(self) -> None:
        self._best: dict[str, BestAlpha] = {}
        self._failed: dict[str, FailedExpression] = {}
        self._repeated: dict[str, None] = {}
        self._lock = threading.Lock()

    def note(self, evaluated: Evaluated) -> None:
        """Add an evaluated candidate: to the best by fitness, or to the failures."""
        performance, expression = evaluated.performance, evaluated.candidate.expression
        if performance is None:
            self.failed(expression, evaluated.error or "no figures")
        elif performance.reason:
            self.failed(expression, performance.reason)
        elif math.isfinite(performance.fitness):
            alpha = BestAlpha(expression, performance.sharpe, performance.fitness, performance.turnover)
            with self._lock:
                self._best[expression] = alpha
                ranked = sorted(self._best.values(), key=lambda one: -one.fitness)
                self._best = {one.expression: one for one in ranked[:_BEST]}

    def forget_best(self) -> None:
        """Drop the best alphas: their figures are of other data and settings than those in force."""
        with self._lock:
            self._best.clear()

    def failed(self, expression: str, reason: str) -> None:
        """Add a failure."""
        with self._lock:
            _newest(self._failed, expression or reason, FailedExpression(expression, reason), _FAILED)

    def repeated(self, expression: str) -> None:
        """Add an expression that the model proposed again."""
        with self._lock:
            _newest(self._repeated, expression, None, _REPEATED)

    def snapshot(self) -> Feedback:
        """Return a snapshot."""
        with self._lock:
            return Feedback(
                best=tuple(self._best.values()),
                failed=tuple(reversed(self._failed.values())),
                repeated=tuple(reversed(self._repeated)),
            )


def _newest(known: dict[str, _T], key: str, value: _T, most: int) -> None:
    """Move or add a key to the end, and drop the oldest keys beyond `most`."""
    known.pop(key, None)
    known[key] = value
    for old in list(known)[:-most]:
        del known[old]
