"""Simulations in flight at BRAIN: sends from the outbox, polls for progress, reads the figures.

Every request is a row first (`generator.storage.simulations`), so that a restart resumes the run. A request
without an answer is searched for among the account's alphas before it is sent again. Requests run one at a time,
in the thread that calls `step`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Protocol, TypeVar

from fleet.runtime.backoff import doubling_backoff
from fleet.runtime.clock import Clock
from fleet.runtime.units import Seconds
from generator.brain.api import BrainApi
from generator.brain.errors import (
    BrainAwayError,
    BrainDeniedError,
    BrainError,
    BrainGoneError,
    BrainRefusedError,
)
from generator.brain.events import BrainEvents
from generator.brain.jobs import MOST_TRIES, Job, NextStep, Retry, SimulationInFlight, next_step, resume_jobs
from generator.brain.limits import wait_after
from generator.brain.outbox import Outbox
from generator.brain.responses import Ended, Running, Status, read_alpha
from generator.domain import Candidate, ExpressionFault, Result
from generator.storage.simulations import Simulation, SimulationTable

_LEAST_WAIT: Seconds = 0.1
_MOST_WAIT: Seconds = 60.0
_FAILURE_WAIT: Seconds = 5.0
_MOST_FAILURE_WAIT: Seconds = 300.0
_MOST_NOT_FOUND = 3
# Longer than any simulation observed: one without an end or a trace by then is lost.
_TOO_LONG: Seconds = 7200.0
_NO_TRACE: Seconds = 1200.0
_MOST_POLLS = 60

Outcome = tuple[Candidate, Result]


class _Pollable(Protocol):
    due: float
    failures: int


_Part = TypeVar("_Part", bound=_Pollable)


def _due(part: _Pollable) -> float:
    return part.due


class Simulator:
    """Turns candidates into results; `slots` and `budget` limit the outbox.

    `_unclaimed` are digests of the last run's candidates that `submit` has not received yet. `_early` holds
    their results until then.
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
        self._events = events
        self._outbox = Outbox(
            api,
            table,
            retry=retry,
            clock=clock,
            rng=rng,
            slots=slots,
            budget=budget,
            events=events,
        )
        self._flights: list[SimulationInFlight] = []
        self._unconfirmed: list[Job] = []
        self._reading: list[Job] = []
        self._done: list[Outcome] = []
        self._unclaimed: set[str] = set()
        self._early: dict[str, Outcome] = {}
        self._failures = 0
        self._answered = False
        self._unanswered: BrainError | None = None
        self._backoff_until = float("-inf")
        self._resume(retry(table.open))

    @property
    def free(self) -> int:
        """Return how many candidates `submit` accepts now: unclaimed ones, and those for free slots and budget."""
        waiting = self._clock.monotonic() < self._backoff_until
        return len(self._unclaimed) + (0 if waiting else self._outbox.capacity(len(self._flights)))

    def submit(self, candidates: Sequence[Candidate]) -> None:
        """Queue candidates; one of the last run is matched with its resumed job."""
        for candidate in candidates:
            if candidate.digest in self._unclaimed:
                self._unclaimed.discard(candidate.digest)
                if candidate.digest in self._early:
                    self._done.append(self._early.pop(candidate.digest))
            else:
                self._outbox.put(Job(candidate))

    def step(self) -> Sequence[Outcome]:
        """Make the requests that are due and return finished results. A failure of BRAIN is reported and backed off."""
        if self._clock.monotonic() >= self._backoff_until:
            try:
                if self._api.sign_in():
                    self._mark_healthy()
                self._request_due()
            except BrainError as error:
                self._failures += 1
                wait = wait_after(error, self._failures, self._rng.random())
                self._backoff_until = self._clock.monotonic() + wait
                self._events.failed(error, wait, self._failures)
        done, self._done = self._done, []
        return done

    def next_due(self) -> float:
        """Return the monotonic time of the next request."""
        if self._done:
            return self._clock.monotonic()
        dues = [*map(_due, self._flights), *map(_due, self._reading), *map(_due, self._unconfirmed)]
        return max(self._backoff_until, min(dues, default=float("inf")))

    @property
    def healthy(self) -> bool:
        """Return True if BRAIN answered the last request."""
        return self._failures == 0

    def state(self) -> dict[str, Any]:
        """Return the state for the heartbeat file."""
        return {
            "signed_in": self._api.signed_in,
            "in_flight": len(self._flights),
            "slots": self._outbox.slots,
            "queued": self._outbox.queued,
            "sent_today": self._outbox.sent_today,
            "trouble": self._events.trouble or None,
        }

    def _mark_healthy(self) -> None:
        self._answered, self._unanswered = True, None
        self._failures = 0
        self._events.recovered()

    def _request_due(self) -> None:
        # Sending comes last: results free slots first, and a failing BRAIN gets no new simulation.
        self._answered, self._unanswered = False, None
        self._each(self._flights, self._poll)
        self._each(self._reading, self._read)
        self._each(self._unconfirmed, self._search)
        self._check_answered()
        self._send_queued()

    def _check_answered(self) -> None:
        """Raise a failure without a later answer: if BRAIN is away, a new simulation would become unconfirmed."""
        if self._unanswered is not None and not self._answered:
            raise self._unanswered

    def _due(self, parts: Sequence[_Part]) -> list[_Part]:
        now = self._clock.monotonic()
        return sorted((part for part in parts if part.due <= now), key=_due)

    def _each(self, parts: Sequence[_Part], action: Callable[[_Part], None]) -> None:
        """Call the action for each due part. A part that fails waits, longer with each failure in a row.

        The first failure may be due to the part; a second one in a row is BRAIN's and is raised.
        """
        for part in self._due(parts):
            try:
                action(part)
            except BrainError as error:
                part.failures += 1
                wait = doubling_backoff(_FAILURE_WAIT, part.failures, most=_MOST_FAILURE_WAIT)
                part.due = self._clock.monotonic() + wait
                if self._unanswered is not None or not isinstance(error, BrainAwayError | BrainDeniedError):
                    raise
                self._unanswered = error
                self._events.skipped(error, wait)
            else:
                part.failures = 0
                self._mark_healthy()

    def _poll(self, flight: SimulationInFlight) -> None:
        now = self._clock.monotonic()
        if now - flight.since > _TOO_LONG:
            self._give_up_polling(flight)
            return
        try:
            progress = self._api.simulation(flight.location)
        except (BrainGoneError, BrainRefusedError):
            flight.not_found += 1
            flight.due = now + doubling_backoff(2.0, flight.not_found, most=_MOST_WAIT)
            if flight.not_found > _MOST_NOT_FOUND:
                self._give_up_polling(flight)
            return
        flight.not_found = 0
        if isinstance(progress, Running):
            flight.due = now + min(max(progress.wait, _LEAST_WAIT), _MOST_WAIT)
        elif flight.multi:
            self._children(flight, progress)
        else:
            self._flights.remove(flight)
            self._conclude(flight.jobs[0], progress, multi=False)

    def _give_up_polling(self, flight: SimulationInFlight) -> None:
        """Search the account's alphas for the jobs of a simulation whose end is unknown."""
        self._flights.remove(flight)
        for job, ended in flight.pairs():
            if ended is not None:
                self._conclude(job, ended, multi=True)
                continue
            job.due, job.polls = self._clock.monotonic(), 0
            self._unconfirmed.append(job)

    def _children(self, flight: SimulationInFlight, parent: Ended) -> None:
        flight.children = parent.children
        waits = [wait for child in parent.children if (wait := self._ask_child(flight, child)) is not None]
        if waits:
            flight.due = self._clock.monotonic() + min(waits)
        elif len(flight.ends) < len(set(parent.children)):
            self._give_up_polling(flight)
        else:
            self._flights.remove(flight)
            missing = Ended(Status.CANCELLED, message=parent.message)
            for job, ended in flight.pairs():
                self._conclude(job, ended or missing, multi=True)

    def _ask_child(self, flight: SimulationInFlight, child: str) -> Seconds | None:
        """Poll a child and return the wait for the next poll: None if the child ended or is not found too often."""
        not_found = flight.child_not_found.get(child, 0)
        if child in flight.ends or not_found > _MOST_NOT_FOUND:
            return None
        try:
            progress = self._api.simulation(child)
        except (BrainGoneError, BrainRefusedError):
            flight.child_not_found[child] = not_found + 1
            return (
                None
                if not_found == _MOST_NOT_FOUND
                else doubling_backoff(2.0, not_found + 1, most=_MOST_WAIT)
            )
        flight.child_not_found[child] = 0
        if isinstance(progress, Running):
            return min(max(progress.wait, _LEAST_WAIT), _MOST_WAIT)
        flight.ends[child] = progress
        return None

    def _conclude(self, job: Job, ended: Ended, *, multi: bool) -> None:
        now = self._clock.time()
        self._retry(
            lambda: self._table.end(
                job.row, status=ended.status.value, alpha=ended.alpha, message=ended.message, now=now
            )
        )
        job.alpha = ended.alpha
        self._events.ended(job, ended.status.value, ended.message)
        self._continue(job, next_step(ended, tries=job.tries, multi=multi))

    def _continue(self, job: Job, step: NextStep | ExpressionFault) -> None:
        if isinstance(step, ExpressionFault):
            self._finish(job, step)
        elif step is NextStep.RESEND:
            job.alone = True
            self._outbox.put(job)
        else:
            job.due, job.polls = self._clock.monotonic(), 0
            self._reading.append(job)

    def _read(self, job: Job) -> None:
        try:
            performance = read_alpha(self._api.alpha(job.alpha))
        except (BrainGoneError, BrainRefusedError):
            performance = None
        if performance is not None:
            self._reading.remove(job)
            self._finish(job, replace(performance, alpha_id=job.alpha))
        elif job.polls >= _MOST_POLLS:
            self._reading.remove(job)
            self._finish(job, ExpressionFault(f"BRAIN shows no figures of its alpha {job.alpha}"))
        else:
            job.schedule_poll(self._clock.monotonic())

    def _search(self, job: Job) -> None:
        """Search the account's alphas for the result of an unconfirmed request."""
        try:
            alpha = self._api.recent_alpha(job.candidate.expression)
        except (BrainGoneError, BrainRefusedError, BrainDeniedError):
            alpha = None  # the list of alphas is not available; nothing else shows the request
        if alpha is not None:
            self._unconfirmed.remove(job)
            self._conclude(job, Ended(Status.COMPLETE, alpha), multi=False)
        elif self._clock.time() - job.sent > _NO_TRACE:
            self._unconfirmed.remove(job)
            self._drop_lost(job)
        else:
            job.schedule_poll(self._clock.monotonic())

    def _drop_lost(self, job: Job) -> None:
        self._retry(lambda: self._table.lose([job.row]))
        self._events.lost(job)
        if job.tries > MOST_TRIES:
            self._finish(job, ExpressionFault("BRAIN loses its simulation each time"))
        else:
            self._outbox.put(job)

    def _finish(self, job: Job, result: Result) -> None:
        outcome = (job.candidate, result)
        if job.candidate.digest in self._unclaimed:
            self._early[job.candidate.digest] = outcome
        else:
            self._done.append(outcome)

    def _send_queued(self) -> None:
        try:
            while (flight := self._outbox.send_next(len(self._flights))) is not None:
                self._flights.append(flight)
                self._mark_healthy()
        finally:
            self._unconfirmed += self._outbox.unconfirmed
            self._outbox.unconfirmed.clear()
            for job, fault in self._outbox.refused:
                self._finish(job, fault)
            self._outbox.refused.clear()

    def _resume(self, rows: Sequence[Simulation]) -> None:
        resumed = resume_jobs(rows, self._clock.monotonic())
        self._unclaimed |= resumed.digests
        self._flights += resumed.flights
        self._unconfirmed += resumed.unconfirmed
        for job, ended in resumed.ended:
            self._continue(job, next_step(ended, tries=job.tries, multi=job.multi))
        self._events.resumed(len(resumed.digests))
