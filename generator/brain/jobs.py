"""A candidate's way through BRAIN, as values, and what the end of a simulation means for it. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from fleet.runtime.units import Seconds
from generator.brain.api import same_code
from generator.brain.responses import Ended, Status
from generator.domain import Candidate, ExpressionFault
from generator.storage.schema import ENDED, RUNNING, SENDING
from generator.storage.simulations import Simulation

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
class SimulationInFlight:
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


def next_step(ended: Ended, *, tries: int, several: bool) -> Next | ExpressionFault:
    """Return what follows from a simulation's end; a fault is the expression's, in BRAIN's own words.

    What BRAIN itself fails at is tried once more. One of a multi-simulation that was cancelled says nothing: its
    siblings' faults do that.
    """
    again = tries < MOST_TRIES
    if ended.status.carries_alpha:
        if ended.alpha:
            return Next.READ
        return Next.AGAIN if again else ExpressionFault("BRAIN simulated it and made no alpha of it")
    if ended.status is Status.ERROR or (ended.status is Status.FAIL and ended.located):
        return ExpressionFault(ended.message or "BRAIN finds an error in it and does not say which")
    if ended.status is Status.CANCELLED:
        if several:
            return Next.AGAIN if tries <= MOST_TRIES else ExpressionFault("BRAIN cancelled its simulation")
        return ExpressionFault("its simulation was cancelled on BRAIN")
    if again:
        return Next.AGAIN
    told = f": {ended.message}" if ended.message else ""
    why = "took too long on BRAIN" if ended.status is Status.TIMEOUT else "failed on BRAIN"
    return ExpressionFault(f"its simulation {why}{told}")


def pair(jobs: Sequence[Job], ends: Sequence[Ended | None]) -> list[tuple[Job, Ended | None]]:
    """Return each job of a multi-simulation with its child's end: by its expression, else by its place."""
    return [(job, _end_of(job, ends)) for job in jobs]


def _end_of(job: Job, ends: Sequence[Ended | None]) -> Ended | None:
    for ended in ends:
        if ended is not None and ended.code and same_code(ended.code, job.candidate.expression):
            return ended
    placed = ends[job.place] if job.place < len(ends) else None
    return placed if placed is not None and not placed.code else None


@dataclass(slots=True)
class Left:
    """What there is to go on with; `digests` are all candidates in it."""

    flights: list[SimulationInFlight] = field(default_factory=list)
    unseen: list[Job] = field(default_factory=list)
    ended: list[tuple[Job, Ended]] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)


def take_up(rows: Sequence[Simulation], now: float) -> Left:
    """Return what the rows say; one that was lost is nothing to go on with, and comes as a new candidate."""
    left = Left()
    together: dict[str, SimulationInFlight] = {}
    for row in rows:
        job = Job(
            row.candidate, row.id, row.tries, row.sent, row.place or 0, several=row.place is not None, due=now
        )
        if row.state == SENDING:
            left.unseen.append(job)
        elif row.state == ENDED:
            job.alpha = row.alpha_id
            left.ended.append((job, Ended(Status(row.status), row.alpha_id, row.message)))
        elif row.state == RUNNING:
            _board(left, together, job, row.location)
        else:
            continue
        left.digests.add(row.candidate.digest)
    return left


def _board(left: Left, together: dict[str, SimulationInFlight], job: Job, location: str) -> None:
    flight = together.get(location) if job.several else None
    if flight is not None:
        flight.jobs.append(job)
        return
    left.flights.append(SimulationInFlight(location, [job], job.due, job.several, due=job.due))
    if job.several:
        together[location] = left.flights[-1]
