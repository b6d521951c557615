"""What an evaluator was given and has not answered: after a failure it goes back in, and so nothing is left behind."""

from collections import Counter, deque
from collections.abc import Sequence

from generator.domain import Candidate

MOST_FAILURES = 3


class Taken:
    """Used by one thread. After a failure candidates go in one by one, so that the one at fault shows."""

    def __init__(self) -> None:
        self._out: dict[str, Candidate] = {}
        self._again: deque[Candidate] = deque()
        self._hopeless: list[Candidate] = []
        self._failures: Counter[str] = Counter()

    def give(self, candidates: Sequence[Candidate]) -> None:
        """Note that the evaluator is given these."""
        self._out.update((one.digest, one) for one in candidates)

    def answered(self, candidate: Candidate) -> bool:
        """Note what became of one; return False if it was answered before."""
        self._failures.pop(candidate.digest, None)
        return self._out.pop(candidate.digest, None) is not None

    def take_back(self, *, blamed: bool) -> None:
        """Take back what the evaluator has, since it failed; `blamed`: whatever it has may be the cause."""
        out, self._out = list(self._out.values()), {}
        if blamed and len(out) == 1:
            self._failures[out[0].digest] += 1
            if self._failures[out[0].digest] >= MOST_FAILURES:
                self._hopeless += out
                return
        self._again.extend(out)

    @property
    def careful(self) -> bool:
        """Tell whether some wait to go in once more: nothing new goes in before."""
        return bool(self._again)

    def again(self) -> Sequence[Candidate]:
        """Return the next one to go in once more; nothing while the evaluator still has one."""
        return [] if self._out or not self._again else [self._again.popleft()]

    def hopeless(self) -> Candidate | None:
        """Return one that the evaluator failed at each time, alone; None if there is none."""
        return self._hopeless.pop() if self._hopeless else None
