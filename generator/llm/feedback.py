"""Feedback to the model in the prompt: the pool's members, failures with their reasons, repetitions.

Failures and repetitions are few and in memory; the evaluation worker fills them from the database at the start.
Thread-safe.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from generator.domain import CallRecord, Evaluated, Origin, failure_reason
from generator.llm.themes import ThemeResults, theme_of
from generator.pool.admission import GOOD_FITNESS
from generator.pool.model import Member, Pool

_T = TypeVar("_T")
_FAILED = 24
_REPEATED = 24
_CALLS = 1000
"""Most calls whose theme is remembered while their alphas wait for the evaluation."""


@dataclass(frozen=True, slots=True)
class FailedExpression:
    """A failed expression with the reason; the expression is empty if the text was none."""

    expression: str
    reason: str


@dataclass(frozen=True, slots=True)
class Feedback:
    """Snapshot: `members` of the pool by train fitness, failures and repetitions newest first."""

    members: Sequence[Member] = ()
    failed: Sequence[FailedExpression] = ()
    repeated: Sequence[str] = ()


class Notebook:
    """Keeps the pool's members, the newest failures and repetitions, each once, and the results of the themes."""

    def __init__(self) -> None:
        self._members: Sequence[Member] = ()
        self._failed: dict[str, FailedExpression] = {}
        self._repeated: dict[str, None] = {}
        self._seeds: dict[str, int] = {}
        self._results = ThemeResults()
        self._lock = threading.Lock()

    @property
    def theme_results(self) -> ThemeResults:
        """Return the results of the themes so far."""
        with self._lock:
            return self._results

    def show(self, pool: Pool) -> None:
        """Take the members of the pool."""
        with self._lock:
            self._members = pool.members

    def wrote(self, call: CallRecord) -> None:
        """Remember the theme of a call whose alphas will be evaluated."""
        with self._lock:
            _newest(self._seeds, call.id, call.seed, _CALLS)

    def note(self, evaluated: Evaluated) -> None:
        """Add an evaluated candidate: to the failures if it is one, and to its theme's results."""
        candidate, reason = evaluated.candidate, failure_of(evaluated)
        if reason:
            self.failed(candidate.expression, reason)
        if (
            evaluated.admission is not None
            and candidate.origin is Origin.MODEL
            and candidate.call is not None
        ):
            with self._lock:
                seed = self._seeds.get(candidate.call)
                if seed is not None:
                    self._add_result(seed, admitted=evaluated.admission.admitted)

    def restore_results(self, results: Iterable[tuple[int, bool]]) -> None:
        """Set the themes' results from calls' seeds and their alphas' admissions, the oldest first."""
        with self._lock:
            self._results = ThemeResults()
            for seed, admitted in results:
                self._add_result(seed, admitted=admitted)

    def _add_result(self, seed: int, *, admitted: bool) -> None:
        self._results = self._results.with_result(theme_of(seed)[1], admitted=admitted)

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
                members=self._members,
                failed=tuple(reversed(self._failed.values())),
                repeated=tuple(reversed(self._repeated)),
            )


def failure_of(evaluated: Evaluated) -> str:
    """Return why an evaluated candidate failed, in words for a prompt; empty if it did not fail.

    A low fitness is no failure; a good alpha that the pool refuses is one.
    """
    performance, admission = evaluated.performance, evaluated.admission
    if performance is None:
        return evaluated.error or "no figures"
    if performance.reason:
        return failure_reason(performance.reason, performance.days)
    good = performance.fitness > GOOD_FITNESS
    return admission.reason if admission is not None and good else ""


def _newest(known: dict[str, _T], key: str, value: _T, most: int) -> None:
    """Move or add a key to the end, and drop the oldest keys beyond `most`."""
    known.pop(key, None)
    known[key] = value
    for old in list(known)[:-most]:
        del known[old]
