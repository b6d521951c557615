"""Simulations at BRAIN: the shell that makes the due request of each row and applies `states.advance` to the answer.

The rows of the table `simulations` are the whole state: a restart continues with them as the next step does. Requests
run one at a time, in the thread that calls `step`. Each row fails alone; BRAIN as a whole is away only if no request is
answered.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from random import Random
from typing import Any, Protocol, TypeVar

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
from generator.brain.inquiry import Inquiry
from generator.brain.limits import Slots, budget_left, wait_after
from generator.brain.responses import Ended
from generator.brain.states import Accepted, Declined, Fact, Failing, Faulty, Missing, advance, is_due
from generator.domain import AlphaFigures, Candidate, ExpressionFault, Result
from generator.storage.schema import LOST, QUEUED
from generator.storage.simulations import Simulation, SimulationTable, Usage

_T = TypeVar("_T")


class Retry(Protocol):
    """Retries a database action until it succeeds."""

    def __call__(self, action: Callable[[], _T]) -> _T:
        """Return the action's result."""


class Simulator:
    """Turns candidates into results within `slots` and `budget`, the most simulations in any 24 hours (0: no limit)."""

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
        self._ahead = 0.0
        self._retry = retry
        self._clock = clock
        self._rng = rng
        self._events = events
        self._slots = Slots(slots, slots)
        self._budget = budget
        self._held: dict[str, Candidate] = {}
        self._done: list[tuple[Candidate, Result]] = []
        self._inquiry = Inquiry(api, self._note_answer)
        self._answered = 0
        self._answered_at_failure: dict[int, int] = {}
        self._answered_at_last_failure = 0
        self._failures = 0
        self._backoff_until = float("-inf")
        self._multi_allowed = True
        self._refusals = 0
        self._blocked_until = float("-inf")
        self._rows: Sequence[Simulation] = []
        self._refresh()
        events.resumed(sum(row.state != QUEUED for row in self._rows))

    @property
    def free(self) -> int:
        """Return the number of candidates that `submit` accepts now: those with rows of the last run, and new ones."""
        rows = self._refresh()
        unheld = sum(row.digest not in self._held for row in rows)
        monotonic = self._clock.monotonic()
        if monotonic < max(self._backoff_until, self._blocked_until):
            return unheld
        used, queued = self._usage(), sum(row.state == QUEUED for row in rows)
        capacity = (self._allowed() - used.in_flight) * self._batch_size - queued
        left = self._budget_left(used)
        return unheld + max(0, capacity if left is None else min(capacity, left - queued))

    def submit(self, candidates: Sequence[Candidate]) -> None:
        """Queue candidates; a candidate with a row of the last run continues that row."""
        self._held.update((one.digest, one) for one in candidates)
        self._retry(lambda: self._table.submit(candidates, self._now()))
        self._refresh()

    def step(self) -> Sequence[tuple[Candidate, Result]]:
        """Make the requests that are due and return finished results. A failure of BRAIN is reported and backed off."""
        if self._clock.monotonic() >= self._backoff_until:
            try:
                if self._api.sign_in():
                    self._note_answer()
                self._ask_due()
                self._send_queued()
            except BrainError as error:
                self._failures += 1
                wait = wait_after(error, self._failures, self._rng.random())
                self._backoff_until = self._clock.monotonic() + wait
                self._events.failed(error, wait, self._failures)
        done, self._done = self._done, []
        return done

    def next_due(self) -> float:
        """Return the monotonic time of the next request."""
        ahead = self._clock.monotonic() - self._now()
        dues = (row.due + ahead for row in self._rows if self._is_asked(row))
        return max(self._backoff_until, min(dues, default=float("inf")))

    @property
    def healthy(self) -> bool:
        """Return True if BRAIN answered the last request."""
        return self._failures == 0

    def state(self) -> dict[str, Any]:
        """Return the state for the heartbeat file."""
        used = self._usage()
        return {
            "signed_in": self._api.signed_in,
            "in_flight": used.in_flight,
            "open": sum(row.state != QUEUED for row in self._rows),
            "slots": self._allowed(),
            "queued": sum(row.state == QUEUED for row in self._rows),
            "sent_today": used.sent,
            "trouble": self._events.trouble or None,
            "mend": self._events.mend or None,
        }

    # --- requests about rows

    def _refresh(self) -> Sequence[Simulation]:
        self._ahead = self._retry(lambda: self._table.ahead(self._clock.time()))
        self._rows = self._retry(self._table.open)
        return self._rows

    def _now(self) -> float:
        """Return the time by the clock that all fleets of the database share."""
        return self._clock.time() + self._ahead

    def _ask_due(self) -> None:
        """Make the due request of each row; raise BRAIN's failure if BRAIN answers nothing."""
        now = self._now()
        self._answered_at_last_failure = self._answered
        while due := [row for row in self._rows if self._is_asked(row) and is_due(row, now)]:
            self._inquiry.begin_round()
            try:
                for row in sorted(due, key=lambda row: row.due):
                    self._ask(row)
            finally:
                self._refresh()

    def _is_asked(self, row: Simulation) -> bool:
        return row.state != QUEUED and row.digest in self._held

    def _ask(self, row: Simulation) -> None:
        """Make a row's due request and apply the answer; raise the failure if it is not the row's alone."""
        try:
            fact = self._inquiry.fact(row, self._held[row.digest].expression)
        except (BrainAwayError, BrainDeniedError) as error:
            counts = self._answered > self._answered_at_failure.get(row.id, self._answered)
            self._answered_at_failure[row.id] = self._answered
            self._apply(Failing(counts), row)
            self._check_answering(error)
            self._events.skipped(error)
            return
        self._answered_at_failure.pop(row.id, None)
        if isinstance(fact, AlphaFigures | ExpressionFault):
            self._done.append((self._held.pop(row.digest), fact))
        else:
            self._apply(fact, row)

    def _check_answering(self, error: BrainError) -> None:
        """Raise the error if BRAIN is away: it has answered no request since the last failure, nor for its session."""
        if self._answered == self._answered_at_last_failure:
            if not self._api.answers():
                raise error
            self._note_answer()
        self._answered_at_last_failure = self._answered

    def _note_answer(self) -> None:
        self._answered += 1
        self._failures = 0
        self._events.recovered()

    def _apply(self, fact: Fact, *rows: Simulation) -> None:
        """Move rows on by a fact, and store and log their moves."""
        for row in rows:
            move = advance(row, fact, self._now())
            self._retry(partial(self._table.save, move.row, again=move.again))
            if isinstance(fact, Ended):
                self._events.ended(row.id, fact)
            elif move.row.state == LOST:
                self._events.lost(row.id, self._held[row.digest].expression)

    # --- sending

    def _send_queued(self) -> None:
        """Send queued rows while slots, budget and BRAIN allow it.

        Sending comes last: results free slots first, and a failing BRAIN gets no new simulation.
        """
        while self._clock.monotonic() >= self._blocked_until:
            queued = [row for row in self._rows if row.state == QUEUED and row.digest in self._held]
            if not queued or not self._send(self._together(queued)):
                return

    def _together(self, queued: Sequence[Simulation]) -> Sequence[Simulation]:
        """Return the rows of the next request."""
        several = list(takewhile(lambda row: not row.alone, queued))
        return several[: self._batch_size] or queued[:1]

    def _send(self, rows: Sequence[Simulation]) -> bool:
        """Send rows in one request; return False if slots or budget allow none."""
        account, now = self._api.account, self._now()
        sent = self._retry(
            lambda: self._table.send(
                rows, account=account, slots=self._allowed(), budget=self._budget, now=now
            )
        )
        if not sent:
            return False
        try:
            self._request(sent)
        finally:
            self._refresh()
        return True

    def _request(self, sent: Sequence[Simulation]) -> None:
        try:
            location = self._api.simulate([self._held[row.digest].expression for row in sent])
        except BrainAwayError as error:
            self._apply(Missing() if error.sent else Declined(), *sent)
            raise
        except BrainError as error:
            self._handle_refusal(sent, error)
            return
        self._apply(Accepted(location), *sent)
        self._note_answer()
        for row in sent:
            self._events.sent(row.id, location, self._held[row.digest].expression)
        self._refusals = 0
        if self._api.quota_used_up is not None:
            self._block(self._api.quota_used_up)

    def _handle_refusal(self, rows: Sequence[Simulation], error: BrainError) -> None:
        """Queue the rows of a refused request again, or fail them; raise an error that is no fault of theirs."""
        several = len(rows) > 1
        if isinstance(error, BrainRefusedError) and error.expression and not several:
            self._apply(Faulty(error.expression), *rows)
            return
        # Sent one by one, the row at fault is found. Without a faulty expression the batch itself is refused.
        self._apply(Declined(alone=several and isinstance(error, BrainRefusedError)), *rows)
        if several and isinstance(error, BrainRefusedError | BrainDeniedError):
            self._multi_allowed = self._multi_allowed and bool(
                isinstance(error, BrainRefusedError) and error.expression
            )
        elif isinstance(error, BrainLimitError):
            self._block(error)
        else:
            raise error

    def _block(self, error: BrainLimitError) -> None:
        """Send nothing for a while; with too many simulations at a time, use as many slots as are in use."""
        now, running = self._clock.monotonic(), self._usage().in_flight
        self._refusals += 1
        wait = wait_after(error, self._refusals, self._rng.random())
        self._blocked_until = now + wait
        if error.slots:
            self._slots = self._slots.refused(running, now)
        self._events.limited(error, wait, running=running)

    def _usage(self) -> Usage:
        account, now = self._api.account, self._now()
        return self._retry(lambda: self._table.usage(account, now))

    def _allowed(self) -> int:
        """Return how many simulations may be in flight now."""
        self._slots = self._slots.at(self._clock.monotonic())
        return self._slots.allowed

    def _budget_left(self, used: Usage) -> int | None:
        """Return the rest of the daily budget, None without a budget."""
        left = budget_left(self._budget, used.sent)
        self._events.budget(left)
        return left

    @property
    def _batch_size(self) -> int:
        return self._api.per_simulation if self._multi_allowed else 1
