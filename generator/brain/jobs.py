"""A candidate's way through BRAIN, as values, and what the end of a simulation means for it. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from fleet.units import Seconds
from generator.brain.answers import Ended, Status
from generator.brain.rules import same_code
from generator.evaluators.base import Fault
from generator.records import Candidate

MOST_TRIES = 2
_LOOKS: tuple[Seconds, ...] = (2.0, 5.0, 15.0, 60.0)


class Keeper(Protocol):
    """Repeats what the database cannot take now until it can."""

    def __call__(self, action: Callable[[], Any]) -> Any:
        """Return what the action returns."""


@dataclass(slots=True, eq=False)
class Job:
    """A candidate on its way; `sent` is Unix seconds, `due` monotonic, `tries` counts its requests."""

    candidate: Candidate
    row: int = 0
    tries: int = 0
    sent: float = 0.0
    place: int = 0
    several: bool = False
    """It was sent as one of a multi-simulation, at this place."""
    alone: bool = False
    """It is not to be sent together with others."""
    alpha: str = ""
    looks: int = 0
    strikes: int = 0
    due: float = 0.0

    def look_again(self, now: float) -> None:
        """Be due again, a little later each time."""
        self.due = now + _LOOKS[min(self.looks, len(_LOOKS) - 1)]
        self.looks += 1


@dataclass(slots=True, eq=False)
class Flight:
    """A simulation in flight, of one job or, as a multi-simulation, of several; times are monotonic.

    `strikes` counts failures of BRAIN at it in a row, as it does for a job.
    """

    location: str
    jobs: list[Job]
    since: float
    several: bool = False
    due: float = 0.0
    misses: int = 0
    strikes: int = 0
    children: tuple[str, ...] = ()
    ends: dict[str, Ended] = field(default_factory=dict)
    """How children ended, by their ids."""
    child_misses: dict[str, int] = field(default_factory=dict)
    """How often in a row BRAIN had nothing at a child's address."""

    def pairs(self) -> list[tuple[Job, Ended | None]]:
        """Return each job with its child's end, None where that is not known."""
        return pair(self.jobs, [self.ends.get(child) for child in self.children])


class Next(Enum):
    """What a job needs after its simulation has ended."""

    READ = auto()
    """There is an alpha, whose figures are to be read."""
    AGAIN = auto()
    """BRAIN failed, not the expression: it is sent again, by itself."""


def next_step(ended: Ended, *, tries: int, several: bool) -> Next | Fault:
    """Return what follows from a simulation's end; a fault is the expression's, in BRAIN's own words.

    What BRAIN itself fails at is tried once more. One of a multi-simulation that was cancelled says nothing: its
    siblings' faults do that.
    """
    again = tries < MOST_TRIES
    if ended.status.carries_alpha:
        if ended.alpha:
            return Next.READ
        return Next.AGAIN if again else Fault("BRAIN simulated it and made no alpha of it")
    if ended.status is Status.ERROR or (ended.status is Status.FAIL and ended.located):
        return Fault(ended.message or "BRAIN finds an error in it and does not say which")
    if ended.status is Status.CANCELLED:
        if several:
            return Next.AGAIN if tries <= MOST_TRIES else Fault("BRAIN cancelled its simulation")
        return Fault("its simulation was cancelled on BRAIN")
    if again:
        return Next.AGAIN
    told = f": {ended.message}" if ended.message else ""
    why = "took too long on BRAIN" if ended.status is Status.TIMEOUT else "failed on BRAIN"
    return Fault(f"its simulation {why}{told}")


def pair(jobs: Sequence[Job], ends: Sequence[Ended | None]) -> list[tuple[Job, Ended | None]]:
    """Return each job of a multi-simulation with its child's end: by its expression, else by its place."""
    return [(job, _end_of(job, ends)) for job in jobs]


def _end_of(job: Job, ends: Sequence[Ended | None]) -> Ended | None:
    for ended in ends:
        if ended is not None and ended.code and same_code(ended.code, job.candidate.expression):
            return ended
    placed = ends[job.place] if job.place < len(ends) else None
    return placed if placed is not None and not placed.code else None
