"""What the last run left on its way, made jobs and flights again. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from generator.brain.jobs import Flight, Job
from generator.brain.responses import Ended, Status
from generator.storage.schema import ENDED, RUNNING, SENDING
from generator.storage.simulations import Simulation


@dataclass(slots=True)
class Left:
    """What there is to go on with; `digests` are all candidates in it."""

    flights: list[Flight] = field(default_factory=list)
    unseen: list[Job] = field(default_factory=list)
    ended: list[tuple[Job, Ended]] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)


def take_up(rows: Sequence[Simulation], now: float) -> Left:
    """Return what the rows say; one that was lost is nothing to go on with, and comes as a new candidate."""
    left = Left()
    together: dict[str, Flight] = {}
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


def _board(left: Left, together: dict[str, Flight], job: Job, location: str) -> None:
    flight = together.get(location) if job.several else None
    if flight is not None:
        flight.jobs.append(job)
        return
    left.flights.append(Flight(location, [job], job.due, job.several, due=job.due))
    if job.several:
        together[location] = left.flights[-1]
