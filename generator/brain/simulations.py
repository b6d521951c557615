"""Simulations in flight: fills free slots from the outbox, asks how it goes, reads what came of it.

Everything is a row before it is a request (`generator.storage.simulations`), so that a restart goes on where
this run ended. A request whose answer nobody saw is looked for among the account's alphas before it is sent
again. One request at a time, in the thread that calls `step`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Protocol, TypeVar

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
from generator.brain.jobs import MOST_TRIES, Job, Keeper, Next, SimulationInFlight, next_step, take_up
from generator.brain.limits import wait_after
from generator.brain.outbox import Outbox
from generator.brain.responses import Ended, Running, Status, read_alpha
from generator.domain import Candidate, ExpressionFault, Result
from generator.reporting.events import BrainEvents
from generator.storage.simulations import Simulation, SimulationTable

_LEAST_WAIT: Seconds = 0.1
_MOST_WAIT: Seconds = 60.0
_BEHIND: Seconds = 5.0
_MOST_BEHIND: Seconds = 300.0
_MISSES = 3
# Longer than any simulation that was seen: what has not ended by then, or left no trace, never will.
_TOO_LONG: Seconds = 7200.0
_NO_TRACE: Seconds = 1200.0
_MOST_LOOKS = 60

Outcome = tuple[Candidate, Result]


class _Dated(Protocol):
    due: float
    strikes: int


_Part = TypeVar("_Part", bound=_Dated)


def _due(part: _Dated) -> float:
    return part.due


class Simulator:
    """Candidates in, results out; `slots` and `budget` are the outbox's."""

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
        self._teller = teller
        self._outbox = Outbox(
            api,
            ledger,
            keep=keep,
            clock=clock,
            chance=chance,
            slots=slots,
            budget=budget,
            teller=teller,
        )
        self._flights: list[SimulationInFlight] = []
        self._unseen: list[Job] = []
        self._reading: list[Job] = []
        self._done: list[Outcome] = []
        self._unclaimed: set[str] = set()
        self._held: dict[str, Outcome] = {}
        self._failures = 0
        self._answered = False
        self._stuck: BrainError | None = None
        self._quiet_until = float("-inf")
        self._resume(keep(ledger.open))

    # --- candidates in, results out

    @property
    def free(self) -> int:
        """Return how many candidates it takes now: what fits into free slots and the budget."""
        quiet = self._clock.monotonic() < self._quiet_until
        return len(self._unclaimed) + (0 if quiet else self._outbox.room(len(self._flights)))

    def submit(self, candidates: Sequence[Candidate]) -> None:
        """Take candidates in; one that the last run left on its way is recognised."""
        for candidate in candidates:
            if candidate.digest in self._unclaimed:
                self._unclaimed.discard(candidate.digest)
                if candidate.digest in self._held:
                    self._done.append(self._held.pop(candidate.digest))
            else:
                self._outbox.put(Job(candidate))

    def step(self) -> Sequence[Outcome]:
        """Do what is due, and return what is done; trouble with BRAIN is told and waited out."""
        if self._clock.monotonic() >= self._quiet_until:
            try:
                if self._api.sign_in():
                    self._well()
                self._work()
            except BrainError as error:
                self._failures += 1
                wait = wait_after(error, self._failures, self._chance.random())
                self._quiet_until = self._clock.monotonic() + wait
                self._teller.troubled(error, wait, self._failures)
        done, self._done = self._done, []
        return done

    def next_due(self) -> float:
        """Return the monotonic time at which there is something to do again."""
        if self._done:
            return self._clock.monotonic()
        dues = [*map(_due, self._flights), *map(_due, self._reading), *map(_due, self._unseen)]
        return max(self._quiet_until, min(dues, default=float("inf")))

    @property
    def well(self) -> bool:
        """Tell whether BRAIN answered the last time that it was asked."""
        return self._failures == 0

    def view(self) -> dict[str, Any]:
        """Return how it stands, for the heartbeat."""
        return {
            "signed_in": self._api.signed_in,
            "in_flight": len(self._flights),
            "slots": self._outbox.slots,
            "queued": self._outbox.queued,
            "sent_today": self._outbox.sent_today,
            "trouble": self._teller.trouble or None,
        }

    def _well(self) -> None:
        self._answered, self._stuck = True, None
        self._failures = 0
        self._teller.well()

    # --- what is due

    def _work(self) -> None:
        self._answered, self._stuck = False, None
        self._each(self._flights, self._poll)
        self._each(self._reading, self._read)
        self._each(self._unseen, self._search)
        self._check_answered()
        self._send_queued()

    def _check_answered(self) -> None:
        """Raise a failure that no answer followed: BRAIN may be away, and a request sent now would be lost sight of."""
        if self._stuck is not None and not self._answered:
            raise self._stuck

    def _due(self, parts: Sequence[_Part]) -> list[_Part]:
        now = self._clock.monotonic()
        return sorted((part for part in parts if part.due <= now), key=_due)

    def _each(self, parts: Sequence[_Part], action: Callable[[_Part], None]) -> None:
        """Ask about what is due. A part that BRAIN fails at waits behind the others, ever longer.

        The first failure may be the part's own; the second in a row is BRAIN's, and is raised.
        """
        for part in self._due(parts):
            try:
                action(part)
            except BrainError as error:
                wait = min(_BEHIND * 2.0**part.strikes, _MOST_BEHIND)
                part.strikes = min(part.strikes + 1, 10)
                part.due = self._clock.monotonic() + wait
                if self._stuck is not None or not isinstance(error, BrainAwayError | BrainDeniedError):
                    raise
                self._stuck = error
                self._teller.passed_over(error, wait)
            else:
                part.strikes = 0
                self._well()

    def _poll(self, flight: SimulationInFlight) -> None:
        now = self._clock.monotonic()
        if now - flight.since > _TOO_LONG:
            self._lose_sight(flight)
            return
        try:
            progress = self._api.simulation(flight.location)
        except (BrainGoneError, BrainRefusedError):
            flight.misses += 1
            flight.due = now + 2.0**flight.misses
            if flight.misses > _MISSES:
                self._lose_sight(flight)
            return
        flight.misses = 0
        if isinstance(progress, Running):
            flight.due = now + min(max(progress.wait, _LEAST_WAIT), _MOST_WAIT)
        elif flight.several:
            self._children(flight, progress)
        else:
            self._flights.remove(flight)
            self._conclude(flight.jobs[0], progress, several=False)

    def _lose_sight(self, flight: SimulationInFlight) -> None:
        """Look elsewhere for the jobs of a flight whose end is not known."""
        self._flights.remove(flight)
        for job, ended in flight.pairs():
            if ended is not None:
                self._conclude(job, ended, several=True)
                continue
            job.due, job.looks = self._clock.monotonic(), 0
            self._unseen.append(job)

    def _children(self, flight: SimulationInFlight, parent: Ended) -> None:
        flight.children = parent.children
        waits = [wait for child in parent.children if (wait := self._ask_child(flight, child)) is not None]
        if waits:
            flight.due = self._clock.monotonic() + min(waits)
        elif len(flight.ends) < len(set(parent.children)):
            self._lose_sight(flight)
        else:
            self._flights.remove(flight)
            missing = Ended(Status.CANCELLED, message=parent.message)
            for job, ended in flight.pairs():
                self._conclude(job, ended or missing, several=True)

    def _ask_child(self, flight: SimulationInFlight, child: str) -> Seconds | None:
        """Ask how a child ended, and return when to ask again: None where it ended, or was missed too often."""
        misses = flight.child_misses.get(child, 0)
        if child in flight.ends or misses > _MISSES:
            return None
        try:
            progress = self._api.simulation(child)
        except (BrainGoneError, BrainRefusedError):
            flight.child_misses[child] = misses + 1
            return None if misses == _MISSES else 2.0 ** (misses + 1)
        flight.child_misses[child] = 0
        if isinstance(progress, Running):
            return min(max(progress.wait, _LEAST_WAIT), _MOST_WAIT)
        flight.ends[child] = progress
        return None

    def _conclude(self, job: Job, ended: Ended, *, several: bool) -> None:
        now = self._clock.time()
        self._keep(
            lambda: self._ledger.end(
                job.row, status=ended.status.value, alpha=ended.alpha, message=ended.message, now=now
            )
        )
        job.alpha = ended.alpha
        self._teller.ended(job, ended.status.value, ended.message)
        self._go_on(job, next_step(ended, tries=job.tries, several=several))

    def _go_on(self, job: Job, step: Next | ExpressionFault) -> None:
        if isinstance(step, ExpressionFault):
            self._finish(job, step)
        elif step is Next.AGAIN:
            job.alone = True
            self._outbox.put(job)
        else:
            job.due, job.looks = self._clock.monotonic(), 0
            self._reading.append(job)

    def _read(self, job: Job) -> None:
        try:
            performance = read_alpha(self._api.alpha(job.alpha))
        except (BrainGoneError, BrainRefusedError):
            performance = None
        if performance is not None:
            self._reading.remove(job)
            self._finish(job, replace(performance, alpha_id=job.alpha))
        elif job.looks >= _MOST_LOOKS:
            self._reading.remove(job)
            self._finish(job, ExpressionFault(f"BRAIN shows no figures of its alpha {job.alpha}"))
        else:
            job.look_again(self._clock.monotonic())

    def _search(self, job: Job) -> None:
        """Look for the trace of a request whose answer nobody saw."""
        try:
            alpha = self._api.recent_alpha(job.candidate.expression)
        except (BrainGoneError, BrainRefusedError, BrainDeniedError):
            alpha = None  # this account's list cannot be had: there is no other trace
        if alpha is not None:
            self._unseen.remove(job)
            self._conclude(job, Ended(Status.COMPLETE, alpha), several=False)
        elif self._clock.time() - job.sent > _NO_TRACE:
            self._unseen.remove(job)
            self._lost(job)
        else:
            job.look_again(self._clock.monotonic())

    def _lost(self, job: Job) -> None:
        self._keep(lambda: self._ledger.lose([job.row]))
        self._teller.lost(job)
        if job.tries > MOST_TRIES:
            self._finish(job, ExpressionFault("BRAIN loses its simulation each time"))
        else:
            self._outbox.put(job)

    def _finish(self, job: Job, result: Result) -> None:
        outcome = (job.candidate, result)
        if job.candidate.digest in self._unclaimed:
            self._held[job.candidate.digest] = outcome
        else:
            self._done.append(outcome)

    def _send_queued(self) -> None:
        try:
            while (flight := self._outbox.send_next(len(self._flights))) is not None:
                self._flights.append(flight)
                self._well()
        finally:
            self._unseen += self._outbox.unseen
            self._outbox.unseen.clear()
            for job, fault in self._outbox.refused:
                self._finish(job, fault)
            self._outbox.refused.clear()

    # --- after a restart

    def _resume(self, rows: Sequence[Simulation]) -> None:
        left = take_up(rows, self._clock.monotonic())
        self._unclaimed |= left.digests
        self._flights += left.flights
        self._unseen += left.unseen
        for job, ended in left.ended:
            self._go_on(job, next_step(ended, tries=job.tries, several=job.several))
        self._teller.resumed(len(left.digests))
