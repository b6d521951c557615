"""What waits to be sent to BRAIN, and whether it may be: free slots, the day's budget, BRAIN's own limits.

A request is a row before it is sent. What becomes of one that BRAIN did not take depends on why: it is taken
back, put on the expression, or, where nobody knows whether it arrived, handed over to be looked for.
"""

from collections import deque
from random import Random

from fleet.runtime.clock import Clock
from generator.brain.api import BrainApi
from generator.brain.errors import (
    BrainAwayError,
    BrainDeniedError,
    BrainError,
    BrainLimitError,
    BrainRefusedError,
)
from generator.brain.jobs import Job, Keeper, SimulationInFlight
from generator.brain.limits import DAY, Slots, budget_left, wait_after
from generator.domain import ExpressionFault
from generator.reporting.events import BrainEvents
from generator.storage.simulations import SimulationTable


class Outbox:
    """Jobs in, flights out. `budget` is the most simulations in any 24 hours, 0 for no bound of ours.

    `unseen` are jobs whose answer nobody saw, `refused` those that BRAIN finds wrong; who sends empties both.
    """

    def __init__(
        self,
        api: BrainApi,
        ledger: SimulationTable,
        *,
        keep: Keeper,
        clock: Clock,
        chance: Random,
        slots: int,
        budget: int,
        teller: BrainEvents,
    ) -> None:
        self._api = api
        self._ledger = ledger
        self._keep = keep
        self._clock = clock
        self._chance = chance
        self._slots = Slots(slots, slots)
        self._budget = budget
        self._teller = teller
        self._queue: deque[Job] = deque()
        self._sent: deque[float] = deque(keep(lambda: ledger.sent_times(clock.time() - DAY)))
        self._several = True
        self._limits = 0
        self._closed_until = float("-inf")
        self.unseen: list[Job] = []
        self.refused: list[tuple[Job, ExpressionFault]] = []

    def put(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(job)

    def room(self, in_flight: int) -> int:
        """Return how many more candidates could be sent now, beside those that are queued."""
        if self._clock.monotonic() < self._closed_until:
            return 0
        left = self._left()
        room = (self.slots - in_flight) * self._per - len(self._queue)
        return max(0, room if left is None else min(room, left - len(self._queue)))

    @property
    def slots(self) -> int:
        """Return how many simulations may be in flight now."""
        self._slots = self._slots.at(self._clock.monotonic())
        return self._slots.allowed

    @property
    def queued(self) -> int:
        """Return how many jobs are queued."""
        return len(self._queue)

    @property
    def sent_today(self) -> int:
        """Return how many simulations were sent in the last 24 hours."""
        self._left()
        return len(self._sent)

    @property
    def _per(self) -> int:
        return self._api.per_simulation if self._several else 1

    def _left(self) -> int | None:
        """Return what is left of the day's budget, None where there is none."""
        now = self._clock.time()
        while self._sent and self._sent[0] <= now - DAY:
            self._sent.popleft()
        left = budget_left(self._budget, len(self._sent))
        self._teller.budget(left)
        return left

    def send_next(self, in_flight: int) -> SimulationInFlight | None:
        """Send what is next and return its flight; None if nothing may be sent, raise BrainError for trouble."""
        while self._queue and self._may_send(in_flight):
            flight = self._send(self._next(), in_flight)
            if flight is not None:
                return flight
        return None

    def _may_send(self, in_flight: int) -> bool:
        open_ = self._clock.monotonic() >= self._closed_until
        return open_ and self._left() != 0 and in_flight < self.slots

    def _next(self) -> list[Job]:
        """Take the jobs of one simulation from the queue: as many as may go together."""
        jobs = [self._queue.popleft()]
        left = self._left()
        most = self._per if left is None else min(self._per, left)
        while not jobs[0].alone and self._queue and len(jobs) < most and not self._queue[0].alone:
            jobs.append(self._queue.popleft())
        return jobs

    def _send(self, jobs: list[Job], in_flight: int) -> SimulationInFlight | None:
        """Send jobs as one simulation: rows first, then the request, then where BRAIN put it."""
        now = self._clock.time()
        rows = self._keep(lambda: self._ledger.begin([job.candidate for job in jobs], now))
        for place, (job, row) in enumerate(zip(jobs, rows, strict=True)):
            job.row, job.sent, job.place, job.tries = row, now, place, job.tries + 1
            job.several = len(jobs) > 1
            self._sent.append(now)
        try:
            location = self._api.simulate([job.candidate.expression for job in jobs])
        except BrainAwayError as error:
            if error.sent:
                self._nobody_knows(jobs)
            else:
                self._take_back(jobs)
                self._queue.extendleft(reversed(jobs))
            raise
        except BrainError as error:
            self._take_back(jobs)
            self._not_taken(jobs, error, in_flight=in_flight)
            return None
        self._keep(lambda: self._ledger.accept(rows, location))
        self._teller.sent(jobs, location)
        self._limits = 0
        if self._api.used_up is not None:
            self._close(self._api.used_up, in_flight + 1)
        monotonic = self._clock.monotonic()
        return SimulationInFlight(location, jobs, monotonic, len(jobs) > 1, due=monotonic)

    def _nobody_knows(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.look_again(self._clock.monotonic())
        self.unseen += jobs

    def _take_back(self, jobs: list[Job]) -> None:
        self._keep(lambda: self._ledger.withdraw([job.row for job in jobs]))
        for job in jobs:
            job.tries -= 1
            self._sent.pop()

    def _not_taken(self, jobs: list[Job], error: BrainError, *, in_flight: int) -> None:
        """Deal with a request that BRAIN did not take; raise what is no fault of these jobs."""
        if isinstance(error, BrainRefusedError) and error.expression and len(jobs) == 1:
            self.refused.append((jobs[0], ExpressionFault(error.expression)))
            return
        self._queue.extendleft(reversed(jobs))
        if isinstance(error, BrainRefusedError) and len(jobs) > 1:
            # One by one they tell whose fault it was; what is not an expression's is the bundle's own.
            self._several = self._several and bool(error.expression)
            for job in jobs:
                job.alone = True
        elif isinstance(error, BrainDeniedError) and len(jobs) > 1:
            self._several = False
        elif isinstance(error, BrainLimitError):
            self._close(error, in_flight)
        else:
            raise error

    def _close(self, error: BrainLimitError, in_flight: int) -> None:
        now = self._clock.monotonic()
        self._limits += 1
        wait = wait_after(error, self._limits, self._chance.random())
        self._closed_until = now + wait
        if error.slots:
            self._slots = self._slots.refused(in_flight, now)
        self._teller.limited(error, wait, running=in_flight)
