"""Limits of requests to BRAIN: slots, the daily budget, and back-off after errors. Pure arithmetic."""

from dataclasses import dataclass, replace

from fleet.runtime.backoff import doubling_backoff
from fleet.runtime.units import Seconds
from generator.brain.errors import (
    BrainAccessError,
    BrainAwayError,
    BrainError,
    BrainLimitError,
    BrainQuotaError,
    PersonaError,
)

_GROW_AFTER: Seconds = 600.0
# First wait of a back-off, and its upper bound.
_PERSONA: tuple[Seconds, Seconds] = (5.0, 60.0)
_ACCESS: tuple[Seconds, Seconds] = (30.0, 300.0)
_LIMIT: tuple[Seconds, Seconds] = (5.0, 300.0)
_AWAY: tuple[Seconds, Seconds] = (2.0, 300.0)
_OTHER: tuple[Seconds, Seconds] = (30.0, 600.0)
_QUOTA: Seconds = 3600.0


@dataclass(frozen=True, slots=True)
class Slots:
    """Simulations that may be in flight: `most`, or fewer while BRAIN accepts fewer.

    The account may have fewer slots than configured, or another program may use it. After a refusal the number
    that was running is allowed, and one more every ten minutes. Times are monotonic seconds.
    """

    most: int
    allowed: int
    grow_at: float = 0.0

    def at(self, now: float) -> "Slots":
        """Return the slots at a later time."""
        if self.allowed >= self.most or now < self.grow_at:
            return self
        return replace(self, allowed=self.allowed + 1, grow_at=now + _GROW_AFTER)

    def refused(self, running: int, now: float) -> "Slots":
        """Return the slots after BRAIN refused another simulation beside `running` ones."""
        return replace(self, allowed=max(1, min(self.allowed, running)), grow_at=now + _GROW_AFTER)


def budget_left(most_per_day: int, sent_today: int) -> int | None:
    """Return how many simulations the budget still allows, None without a budget (0 a day)."""
    return None if most_per_day == 0 else max(0, most_per_day - sent_today)


def wait_after(error: BrainError, failures: int, jitter: float) -> Seconds:
    """Return the wait after this many failures in a row (from 1); `jitter` lies in [0, 1).

    BRAIN's own Retry-After is obeyed. Otherwise the wait doubles. Jitter shortens it by up to a third: several fleets
    do not retry in step.
    """
    if isinstance(error, BrainQuotaError):
        return error.wait or _QUOTA
    first, most = _bounds(error)
    own = doubling_backoff(first, failures, most=most) * (1.0 - jitter / 3.0)
    return own if error.wait is None else max(error.wait, own if failures > 1 else 0.0)


def _bounds(error: BrainError) -> tuple[Seconds, Seconds]:
    if isinstance(error, PersonaError):
        return _PERSONA
    if isinstance(error, BrainAccessError):
        return _ACCESS
    if isinstance(error, BrainLimitError):
        return _LIMIT
    return _AWAY if isinstance(error, BrainAwayError) else _OTHER
