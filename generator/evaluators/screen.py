"""Screening: every candidate is backtested here on the user's own panel, and the best of them go to BRAIN.

Two evaluations run side by side, each under its own rules and with its own rows. The queue between them is the
database: whenever BRAIN has a free slot, the best alpha of the panel that it has not seen is sent.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet.runtime.units import Seconds
from generator.catalogue import Catalogue, Kind
from generator.domain import Candidate, Ruleset
from generator.evaluators.brain import BrainPlan, Tools
from generator.evaluators.local import LocalPlan

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore

_LEFT_OVER = 10_000


@dataclass(frozen=True, slots=True)
class ScreenPlan:
    """Both plans; candidates come in under the local one's rules."""

    local: LocalPlan
    brain: BrainPlan

    @property
    def synthetic(self) -> bool:
        """Tell whether the figures are about a made-up market; a screen has a panel of the user's own."""
        return False

    @property
    def rules(self) -> Ruleset:
        """Return what new candidates are evaluated under."""
        return self.local.rules

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return None: only the panel can tell."""
        return self.local.fields

    @property
    def listing(self) -> Catalogue | None:
        """Return what BRAIN listed for this account last."""
        return self.brain.listing


class Promotion:
    """BRAIN's queue in a screen: what it left on its way first, then the panel's best, one when it is asked."""

    def __init__(self, plan: ScreenPlan, tools: Tools) -> None:
        self._plan = plan
        self._tools = tools
        self._left: deque[Candidate] | None = None

    def get(self, patience: Seconds) -> Candidate | None:
        """Return the next candidate for BRAIN, after a wait None if there is none now."""
        store, brain = self._tools.store(), self._plan.brain.rules
        if self._left is None:
            self._left = deque(self._tools.keep(lambda: store.pending(brain, limit=_LEFT_OVER)))
        if self._left:
            return self._left.popleft()
        candidate = self._promoted(store, brain)
        if candidate is None and patience:
            self._tools.clock.wait(self._tools.stopping, patience)
        return candidate

    def _promoted(self, store: "AlphaStore", brain: Ruleset) -> Candidate | None:
        from generator.storage.additions import promote  # noqa: PLC0415  # SQLAlchemy, after the first call

        found: Candidate | None = self._tools.keep(
            lambda: promote(store, self._plan.local.rules, brain, self._tools.clock.time())
        )
        return found

    def put(self, candidate: Candidate) -> None:
        """Take a candidate that is already a row of BRAIN's, such as one of the opposite sign."""
        self._left = self._left or deque()
        self._left.append(candidate)

    def done(self) -> None:
        """Nothing is counted here: what waits for BRAIN holds nobody up."""
