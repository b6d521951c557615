"""Queue of simulations to send to BRAIN, within free slots, the daily budget and BRAIN's own limits.

A row is written before its request is sent. After a refused request the row is deleted and the jobs are queued
again, or fail if the expression is at fault. Without an answer the jobs are handed over to be searched for.
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
from generator.brain.events import BrainEvents
from generator.brain.jobs import Job, Retry, SimulationInFlight
from generator.brain.limits import DAY, Slots, budget_left, wait_after
from generator.domain import ExpressionFault
from generator.storage.simulations import SimulationTable


class Outbox:
    """Sends queued jobs as simulations. `budget` is the most simulations in any 24 hours, 0 for no limit.

    `unconfirmed` are jobs whose request had no answer, `refused` jobs that BRAIN finds wrong. The caller empties
    both lists.
    """

    def __init__(
        self,
        api: BrainApi,
        table: SimulationTable,
        *,
        retry: Retry,
        clock: Clock,
        rng: Random,
        slots: int,
        budget: int,
        events: BrainEvents,
    ) -> None:
        self._api = api
        self._table = table
        self._retry = retry
        self._clock = clock
        self._rng = rng
        self._slots = Slots(slots, slots)
        self._budget = budget
        self._events = events
        self._queue: deque[Job] = deque()
        self._sent: deque[float] = deque(retry(lambda: table.sent_times(clock.time() - DAY)))
        self._multi_allowed = True
        self._refusals = 0
        self._blocked_until = float("-inf")
        self.unconfirmed: list[Job] = []
        self.refused: list[tuple[Job, ExpressionFault]] = []

    def put(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(job)

    def capacity(self, in_flight: int) -> int:
        """Return how many more candidates could be sent now, beyond the queued ones."""
        if self._clock.monotonic() < self._blocked_until:
            return 0
        left = self._budget_left()
        free = (self.slots - in_flight) * self._batch_size - len(self._queue)
        return max(0, free if left is None else min(free, left - len(self._queue)))

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
        self._budget_left()
        return len(self._sent)

    @property
    def _batch_size(self) -> int:
        return self._api.per_simulation if self._multi_allowed else 1

    def _budget_left(self) -> int | None:
        """Return the rest of the daily budget, None without a budget."""
        now = self._clock.time()
        while self._sent and self._sent[0] <= now - DAY:
            self._sent.popleft()
        left = budget_left(self._budget, len(self._sent))
        self._events.budget(left)
        return left

    def send_next(self, in_flight: int) -> SimulationInFlight | None:
        """Send the next simulation and return it; None if nothing may be sent. Raise BrainError for other failures."""
        while self._queue and self._may_send(in_flight):
            flight = self._send(self._next(), in_flight)
            if flight is not None:
                return flight
        return None

    def _may_send(self, in_flight: int) -> bool:
        open_ = self._clock.monotonic() >= self._blocked_until
        return open_ and self._budget_left() != 0 and in_flight < self.slots

    def _next(self) -> list[Job]:
        """Remove the jobs of one simulation from the queue, as many as may be sent together."""
        jobs = [self._queue.popleft()]
        left = self._budget_left()
        most = self._batch_size if left is None else min(self._batch_size, left)
        while not jobs[0].alone and self._queue and len(jobs) < most and not self._queue[0].alone:
            jobs.append(self._queue.popleft())
        return jobs

    def _send(self, jobs: list[Job], in_flight: int) -> SimulationInFlight | None:
        """Send jobs as one simulation: write rows, send the request, store its location."""
        now = self._clock.time()
        rows = self._retry(lambda: self._table.begin([job.candidate for job in jobs], now))
        for place, (job, row) in enumerate(zip(jobs, rows, strict=True)):
            job.row, job.sent, job.place, job.tries = row, now, place, job.tries + 1
            job.multi = len(jobs) > 1
            self._sent.append(now)
        try:
            location = self._api.simulate([job.candidate.expression for job in jobs])
        except BrainAwayError as error:
            if error.sent:
                self._mark_unconfirmed(jobs)
            else:
                self._withdraw(jobs)
                self._queue.extendleft(reversed(jobs))
            raise
        except BrainError as error:
            self._withdraw(jobs)
            self._handle_refusal(jobs, error, in_flight=in_flight)
            return None
        self._retry(lambda: self._table.accept(rows, location))
        self._events.sent(jobs, location)
        self._refusals = 0
        if self._api.quota_used_up is not None:
            self._block(self._api.quota_used_up, in_flight + 1)
        monotonic = self._clock.monotonic()
        return SimulationInFlight(location, jobs, monotonic, len(jobs) > 1, due=monotonic)

    def _mark_unconfirmed(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.schedule_poll(self._clock.monotonic())
        self.unconfirmed += jobs

    def _withdraw(self, jobs: list[Job]) -> None:
        """Undo a request that BRAIN did not accept: it counts neither as a try nor against the budget."""
        self._retry(lambda: self._table.withdraw([job.row for job in jobs]))
        for job in jobs:
            job.tries -= 1
            self._sent.pop()

    def _handle_refusal(self, jobs: list[Job], error: BrainError, *, in_flight: int) -> None:
        """Queue the jobs of a refused request again, or fail them; raise an error that is no fault of theirs."""
        if isinstance(error, BrainRefusedError) and error.expression and len(jobs) == 1:
            self.refused.append((jobs[0], ExpressionFault(error.expression)))
            return
        self._queue.extendleft(reversed(jobs))
        if isinstance(error, BrainRefusedError) and len(jobs) > 1:
            # Sent one by one, the job at fault is found. Without a faulty expression the batch itself is refused.
            self._multi_allowed = self._multi_allowed and bool(error.expression)
            for job in jobs:
                job.alone = True
        elif isinstance(error, BrainDeniedError) and len(jobs) > 1:
            self._multi_allowed = False
        elif isinstance(error, BrainLimitError):
            self._block(error, in_flight)
        else:
            raise error

    def _block(self, error: BrainLimitError, in_flight: int) -> None:
        now = self._clock.monotonic()
        self._refusals += 1
        wait = wait_after(error, self._refusals, self._rng.random())
        self._blocked_until = now + wait
        if error.slots:
            self._slots = self._slots.refused(in_flight, now)
        self._events.limited(error, wait, running=in_flight)
