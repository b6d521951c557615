"""The candidates that the evaluator has, and those to submit again after a failure. Pure."""

from collections import Counter, deque
from collections.abc import Sequence

from generator.domain import Candidate

MOST_FAILURES = 3


class SubmittedCandidates:
    """Candidates in the evaluator, and those to submit again after a failure; for one thread.

    After a failure candidates are submitted one by one, which finds the one at fault.
    """

    def __init__(self) -> None:
        self._submitted: dict[str, Candidate] = {}
        self._resubmit: deque[Candidate] = deque()
        self._abandoned: list[Candidate] = []
        self._failures: Counter[str] = Counter()

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Record candidates that are submitted now."""
        self._submitted.update((one.digest, one) for one in candidates)

    def resolve(self, candidate: Candidate) -> bool:
        """Record a candidate's result; return False if it had one before."""
        self._failures.pop(candidate.digest, None)
        return self._submitted.pop(candidate.digest, None) is not None

    def requeue(self, *, blamed: bool) -> None:
        """Requeue all submitted candidates after a failure; with `blamed` they may be its cause."""
        submitted, self._submitted = list(self._submitted.values()), {}
        if blamed and len(submitted) == 1:
            digest = submitted[0].digest
            self._failures[digest] += 1
            if self._failures[digest] >= MOST_FAILURES:
                self._abandoned += submitted
                return
        self._resubmit.extend(submitted)

    @property
    def resubmitting(self) -> bool:
        """Return True if candidates wait to be submitted again; new ones have to wait."""
        return bool(self._resubmit)

    def next_again(self) -> Sequence[Candidate]:
        """Return the next candidate to submit again; nothing while the evaluator has one."""
        return [] if self._submitted or not self._resubmit else [self._resubmit.popleft()]

    def drop(self) -> int:
        """Drop all candidates, whose rows now belong to another ruleset; return their number."""
        count = len(self._submitted) + len(self._resubmit) + len(self._abandoned)
        self._submitted.clear()
        self._resubmit.clear()
        self._abandoned.clear()
        self._failures.clear()
        return count

    def pop_abandoned(self) -> Candidate | None:
        """Return a candidate that failed alone MOST_FAILURES times; None if there is none."""
        return self._abandoned.pop() if self._abandoned else None
