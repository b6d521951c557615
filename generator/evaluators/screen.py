"""Screening: every candidate is backtested on the user's own panel, and the best ones go to BRAIN.

Two evaluators run side by side, each under its own ruleset and with its own rows. The database is the queue between
them. A free slot of BRAIN gets the panel's best alpha that BRAIN has not evaluated.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet.runtime.units import Seconds
from generator.catalogue import Catalogue, Kind
from generator.domain import Candidate, Ruleset
from generator.evaluators.brain import BrainPlan, EvaluatorContext
from generator.evaluators.local import LocalPlan

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore

_MOST_PENDING = 10_000


@dataclass(frozen=True, slots=True)
class ScreenPlan:
    """Both plans; new candidates are evaluated under the local plan's ruleset."""

    local: LocalPlan
    brain: BrainPlan

    @property
    def synthetic(self) -> bool:
        """Return False: a screen has a panel of the user's own."""
        return False

    @property
    def rules(self) -> Ruleset:
        """Return the ruleset of new candidates."""
        return self.local.rules

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return the local plan's fields."""
        return self.local.fields

    @property
    def listing(self) -> Catalogue | None:
        """Return BRAIN's last listing for this account, None if there is none."""
        return self.brain.listing


class Promotion:
    """BRAIN's queue in a screen: pending candidates of the last run, then the panel's best, one a call."""

    def __init__(self, plan: ScreenPlan, context: EvaluatorContext) -> None:
        self._plan = plan
        self._context = context
        self._pending: deque[Candidate] | None = None

    def get(self, timeout: Seconds) -> Candidate | None:
        """Return the next candidate for BRAIN; None after `timeout` if there is none."""
        store, brain = self._context.store(), self._plan.brain.rules
        if self._pending is None:
            found = self._context.retry(lambda: store.pending(brain, limit=_MOST_PENDING))
            self._pending = deque(found)
        if self._pending:
            return self._pending.popleft()
        candidate = self._promoted(store, brain)
        if candidate is None and timeout:
            self._context.clock.wait(self._context.stopping, timeout)
        return candidate

    def _promoted(self, store: "AlphaStore", brain: Ruleset) -> Candidate | None:
        from generator.storage.additions import promote  # noqa: PLC0415  # SQLAlchemy, after the first call

        with self._context.rules.held() as tried:
            found: Candidate | None = self._context.retry(
                lambda: promote(store, tried, brain, self._context.clock.time())
            )
        return found

    def put(self, candidate: Candidate) -> None:
        """Append a candidate that has a row of BRAIN's, such as one of the opposite sign."""
        if self._pending is not None:  # else the first `get` reads its row
            self._pending.append(candidate)

    def put_first(self, candidates: Sequence[Candidate]) -> None:
        """Queue candidates that have rows of BRAIN's before all others."""
        if self._pending is not None:  # as above
            self._pending.extendleft(reversed(candidates))

    def reload(self, items: Iterable[Candidate]) -> None:
        """Replace the pending candidates."""
        self._pending = deque(items)

    def done(self) -> None:
        """Do nothing: candidates that wait for BRAIN do not slow the calls down."""
