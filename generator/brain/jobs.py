"""A candidate's states at BRAIN, and the step after a simulation's end. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from fleet.runtime.backoff import backoff_step
from fleet.runtime.units import Seconds
from generator.brain.api import same_code
from generator.brain.responses import Ended, Status
from generator.domain import Candidate, ExpressionFault
from generator.storage.schema import ENDED, RUNNING, SENDING
from generator.storage.simulations import Simulation

MOST_TRIES = 2
_POLL_STEPS: tuple[Seconds, ...] = (2.0, 5.0, 15.0, 60.0)


class Retry(Protocol):
    """Retries a database action until it succeeds."""

    def __call__(self, action: Callable[[], Any]) -> Any:
        """Return the action's result."""


@dataclass(slots=True, eq=False)
class Job:
    """A candidate at BRAIN, from queue to figures.

    `sent` is Unix seconds, `due` the monotonic time of the next request about it. `tries` counts simulations
    sent, `polls` and `failures` count requests in a row without a result and failures in a row.
    """

    candidate: Candidate
    row: int = 0
    tries: int = 0
    sent: float = 0.0
    place: int = 0
    multi: bool = False
    """It was sent in a multi-simulation, at the position `place`."""
    alone: bool = False
    """It has to be sent in a simulation of its own."""
    alpha: str = ""
    polls: int = 0
    failures: int = 0
    due: float = 0.0

    def schedule_poll(self, now: float) -> None:
        """Set the next request's time, with a longer wait after each poll."""
        self.polls += 1
        self.due = now + backoff_step(_POLL_STEPS, self.polls)


@dataclass(slots=True, eq=False)
class SimulationInFlight:
    """A simulation in flight, of one job, or of several jobs as a multi-simulation.

    `since` and `due` are monotonic seconds. `not_found` counts answers in a row without this address, `failures`
    failures of BRAIN in a row.
    """

    location: str
    jobs: list[Job]
    since: float
    multi: bool = False
    due: float = 0.0
    not_found: int = 0
    failures: int = 0
    children: tuple[str, ...] = ()
    ends: dict[str, Ended] = field(default_factory=dict)
    """Ends of children by their ids."""
    child_not_found: dict[str, int] = field(default_factory=dict)
    """Answers in a row without a child's address, by its id."""

    def pairs(self) -> list[tuple[Job, Ended | None]]:
        """Return each job with its child's end, None if that is unknown."""
        return pair(self.jobs, [self.ends.get(child) for child in self.children])


class NextStep(Enum):
    """Next step of a job after the end of its simulation."""

    READ = auto()
    """Read the figures of the alpha."""
    RESEND = auto()
    """BRAIN failed, not the expression: simulate it again, alone."""


def next_step(ended: Ended, *, tries: int, multi: bool) -> NextStep | ExpressionFault:
    """Return the step after a simulation's end; an ExpressionFault quotes BRAIN's message.

    After a failure of BRAIN itself the job is sent once more. A cancelled child of a multi-simulation proves
    nothing about its expression: the fault may be a sibling's.
    """
    again = tries < MOST_TRIES
    if ended.status.carries_alpha:
        if ended.alpha:
            return NextStep.READ
        return NextStep.RESEND if again else ExpressionFault("BRAIN simulated it without creating an alpha")
    if ended.status is Status.ERROR or (ended.status is Status.FAIL and ended.located):
        return ExpressionFault(ended.message or "BRAIN finds an error in it and does not say which")
    if ended.status is Status.CANCELLED:
        if multi:
            return (
                NextStep.RESEND if tries <= MOST_TRIES else ExpressionFault("BRAIN cancelled its simulation")
            )
        return ExpressionFault("its simulation was cancelled on BRAIN")
    if again:
        return NextStep.RESEND
    detail = f": {ended.message}" if ended.message else ""
    why = "took too long on BRAIN" if ended.status is Status.TIMEOUT else "failed on BRAIN"
    return ExpressionFault(f"its simulation {why}{detail}")


def pair(jobs: Sequence[Job], ends: Sequence[Ended | None]) -> list[tuple[Job, Ended | None]]:
    """Return each job of a multi-simulation with its child's end, matched by expression, else by place."""
    return [(job, _end_of(job, ends)) for job in jobs]


def _end_of(job: Job, ends: Sequence[Ended | None]) -> Ended | None:
    for ended in ends:
        if ended is not None and ended.code and same_code(ended.code, job.candidate.expression):
            return ended
    placed = ends[job.place] if job.place < len(ends) else None
    return placed if placed is not None and not placed.code else None


@dataclass(slots=True)
class ResumedJobs:
    """Jobs of the last run by state; `digests` names all their candidates."""

    flights: list[SimulationInFlight] = field(default_factory=list)
    unconfirmed: list[Job] = field(default_factory=list)
    ended: list[tuple[Job, Ended]] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)


def resume_jobs(rows: Sequence[Simulation], now: float) -> ResumedJobs:
    """Return the jobs of stored rows; a lost one is left out, because its candidate is queued as a new one."""
    resumed = ResumedJobs()
    together: dict[str, SimulationInFlight] = {}
    for row in rows:
        job = Job(
            row.candidate, row.id, row.tries, row.sent, row.place or 0, multi=row.place is not None, due=now
        )
        if row.state == SENDING:
            resumed.unconfirmed.append(job)
        elif row.state == ENDED:
            job.alpha = row.alpha_id
            resumed.ended.append((job, Ended(Status(row.status), row.alpha_id, row.message)))
        elif row.state == RUNNING:
            _add_running(resumed, together, job, row.location)
        else:
            continue
        resumed.digests.add(row.candidate.digest)
    return resumed


def _add_running(
    resumed: ResumedJobs, together: dict[str, SimulationInFlight], job: Job, location: str
) -> None:
    flight = together.get(location) if job.multi else None
    if flight is not None:
        flight.jobs.append(job)
        return
    resumed.flights.append(SimulationInFlight(location, [job], job.due, job.multi, due=job.due))
    if job.multi:
        together[location] = resumed.flights[-1]
