"""Feedback to the model in the prompt: the best alphas so far, failures with their reasons, repetitions.

Small and in memory; filled from the database at the start. Thread-safe.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from generator.domain import Evaluated
from generator.pool.admission import GOOD_FITNESS
from generator.pool.model import Pool

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
    """Snapshot of the notebook: `best` by train fitness, the others newest first. `repeated` were proposed again."""

    best: Sequence[BestAlpha] = ()
    failed: Sequence[FailedExpression] = ()
    repeated: Sequence[str] = ()


class Notebook:
    """Keeps the best alphas of the pool, the newest failures and the newest repetitions, each expression once."""

    def __init__(self) -> None:
        self._best: Sequence[BestAlpha] = ()
        self._failed: dict[str, FailedExpression] = {}
        self._repeated: dict[str, None] = {}
        self._lock = threading.Lock()

    def note(self, evaluated: Evaluated) -> None:
        """Add an evaluated candidate to the failures if it is one: without figures, or good and yet not admitted."""
        performance, expression = evaluated.performance, evaluated.candidate.expression
        admission = evaluated.admission
        if performance is None:
            self.failed(expression, evaluated.error or "no figures")
        elif performance.reason:
            self.failed(expression, performance.reason)
        elif admission is not None and admission.reason and performance.fitness > GOOD_FITNESS:
            self.failed(expression, admission.reason)

    def show(self, pool: Pool) -> None:
        """Take the best alphas from the pool."""
        best = [
            BestAlpha(one.expression, one.train.sharpe, one.train.fitness, one.train.turnover)
            for one in pool.members[:_BEST]
        ]
        with self._lock:
            self._best = best

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
                best=tuple(self._best),
                failed=tuple(reversed(self._failed.values())),
                repeated=tuple(reversed(self._repeated)),
            )


def _newest(known: dict[str, _T], key: str, value: _T, most: int) -> None:
    """Move or add a key to the end, and drop the oldest keys beyond `most`."""
    known.pop(key, None)
    known[key] = value
    for old in list(known)[:-most]:
        del known[old]
