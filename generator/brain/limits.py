"""How much may be asked of BRAIN now: slots, the day's budget, and waits after trouble. Pure arithmetic."""

from dataclasses import dataclass, replace

from fleet.runtime.units import Seconds
from generator.brain.errors import (
    BrainAccessError,
    BrainAwayError,
    BrainError,
    BrainLimitError,
    BrainQuotaError,
    PersonaError,
)

DAY: Seconds = 86400.0
_GROW_AFTER: Seconds = 600.0
# First wait, and what it doubles up to.
_PERSONA: tuple[Seconds, Seconds] = (5.0, 60.0)
_ACCESS: tuple[Seconds, Seconds] = (30.0, 300.0)
_LIMIT: tuple[Seconds, Seconds] = (5.0, 300.0)
_AWAY: tuple[Seconds, Seconds] = (2.0, 300.0)
_OTHER: tuple[Seconds, Seconds] = (30.0, 600.0)
_QUOTA: Seconds = 3600.0
_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class Slots:
    """How many simulations may be in flight: `most`, or fewer while BRAIN takes fewer.

    Somebody else may use the account, or it may have fewer slots than are configured. Where BRAIN says so, as
    many are used as were running, and every ten minutes one more is tried.
    """

    most: int
    allowed: int
    grow_at: float = 0.0

    def at(self, now: float) -> "Slots":
        """Return the slots as they are at a later time."""
        if self.allowed >= self.most or now < self.grow_at:
            return self
        return replace(self, allowed=self.allowed + 1, grow_at=now + _GROW_AFTER)

    def refused(self, running: int, now: float) -> "Slots":
        """Return the slots after BRAIN took no more while so many were running."""
        return replace(self, allowed=max(1, min(self.allowed, running)), grow_at=now + _GROW_AFTER)


def budget_left(most_per_day: int, sent_today: int) -> int | None:
    """Return how many simulations the budget still allows; None where there is no budget."""
    return None if most_per_day == 0 else max(0, most_per_day - sent_today)


def wait_after(error: BrainError, failures: int, chance: float) -> Seconds:
    """Return how long to ask nothing after so many failures in a row (from 1); `chance` lies in [0, 1).

    What BRAIN itself asks for is obeyed. Otherwise the wait doubles, and is shortened by chance by up to a
    third, so that several fleets do not ask in step.
    """
    if isinstance(error, BrainQuotaError):
        return error.wait or _QUOTA
    first, most = _bounds(error)
    own = min(first * 2.0 ** min(failures - 1, _DOUBLINGS), most) * (1.0 - chance / 3.0)
    return own if error.wait is None else max(error.wait, own if failures > 1 else 0.0)


def _bounds(error: BrainError) -> tuple[Seconds, Seconds]:
    if isinstance(error, PersonaError):
        return _PERSONA
    if isinstance(error, BrainAccessError):
        return _ACCESS
    if isinstance(error, BrainLimitError):
        return _LIMIT
    return _AWAY if isinstance(error, BrainAwayError) else _OTHER
