"""Throttle of the calls to Ollama: knows the calls in flight and decides when the next one may begin."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from fleet.clients.http import Cancel
from fleet.memory_errors.judge import is_memory_error
from fleet.runtime.backoff import backoff_step, doubling_backoff
from fleet.runtime.clock import Clock
from fleet.runtime.pause_request import read_pause
from fleet.runtime.units import Seconds
from generator.domain import CallRecord, CallVerdict, Reason, Streak, ThrottleState
from generator.llm.thinking import answer_of

MEMORY_PAUSES: tuple[Seconds, ...] = (5.0, 10.0, 30.0)
_FIRST_WAIT: Seconds = 0.5
_LONGEST_WAIT: Seconds = 10.0
_NOT_FOUND = 404
_THINK = re.compile(r"\bthink")


def call_verdict(call: CallRecord, *, usable: bool = True) -> CallVerdict:
    """Return a call's verdict, by its status, its error's text and whether its reply is `usable`."""
    if call.error is None:
        if usable:
            return CallVerdict.ANSWERED
        return CallVerdict.UNUSABLE if answer_of(call.reply).strip() else CallVerdict.EMPTY
    text = call.error.lower()
    if is_memory_error(call.error):
        return CallVerdict.MEMORY
    if call.status == 0:
        return CallVerdict.AWAY
    if call.status == _NOT_FOUND and "model" in text:
        return CallVerdict.MISSING
    if "exceed_context_size" in text or re.search(r"exceeds the (?:available context|context length)", text):
        return CallVerdict.CONTEXT
    if "invalid format" in text or "json schema" in text or "json_schema" in text or ".format of" in text:
        return CallVerdict.FORMAT
    if 400 <= call.status < 500:  # noqa: PLR2004  # HTTP's client errors
        return CallVerdict.THINK if _THINK.search(text) else CallVerdict.REFUSED
    return CallVerdict.FAILED


@dataclass(frozen=True, slots=True)
class Pace:
    """Back-off state of the calls. Times are monotonic seconds.

    `failures` counts failures in a row, `memory` says that they are memory errors, `failed_at` is the time of
    the last. The next call begins at `not_before` or later. `proven` means that a call was answered since the
    start or since the last failure. `streak` counts calls without a usable reply.
    """

    failures: int = 0
    memory: bool = False
    failed_at: float = float("-inf")
    not_before: float = float("-inf")
    proven: bool = False
    streak: Streak = field(default_factory=Streak)

    def limit(self, most: int) -> int:
        """Return how many calls may be in flight."""
        return most if self.proven and not self.streak.several else 1

    def after(
        self, verdict: CallVerdict, *, started: float, now: float, jitter: float, streak: Streak | None = None
    ) -> "Pace":
        """Return the pace after the end of a call that began at `started`; `jitter` lies in [0, 1].

        `streak` includes this call; None leaves the streak unchanged.
        """
        # A late call was in flight with one that failed: memory ran out once for both. Its answer proves
        # nothing about the present model, and its failure is no second one.
        late = started <= self.failed_at
        if verdict is CallVerdict.ANSWERED:
            streak = Streak()
        streak = self.streak if streak is None else streak
        pause_ends = now + streak.pause if streak.several else float("-inf")
        if verdict in {CallVerdict.ANSWERED, CallVerdict.UNUSABLE, CallVerdict.EMPTY}:
            pace = self if late else Pace(proven=True)
            return replace(pace, streak=streak, not_before=max(pace.not_before, pause_ends))
        if late and self.failures:
            return replace(self, streak=streak, not_before=max(self.not_before, pause_ends))
        memory = verdict is CallVerdict.MEMORY
        same = memory == self.memory
        failures = self.failures + 1 if same else 1
        wait = memory_pause(failures) if memory else other_wait(failures, jitter)
        return replace(
            self,
            failures=failures,
            memory=memory,
            failed_at=now,
            not_before=max(now + wait, pause_ends),
            proven=False,
            streak=streak,
        )


def memory_pause(failures: int) -> Seconds:
    """Return the wait after this many memory errors in a row."""
    return backoff_step(MEMORY_PAUSES, failures)


def other_wait(failures: int, jitter: float) -> Seconds:
    """Return the wait after this many other failures in a row. `jitter` in [0, 1] shortens it by up to half."""
    return doubling_backoff(_FIRST_WAIT, failures, most=_LONGEST_WAIT) * (1.0 - 0.5 * jitter)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Rate limit of calls: `burst` at once, then one every `every` seconds; always `gap` seconds apart."""

    burst: float
    every: Seconds
    gap: Seconds


# A stand-in answers at once: without a limit a forgotten first try would fill the disk. A first try sees
# about two minutes at full speed; a day has under 30 000 calls.
STANDIN_RATE = RateLimit(burst=120, every=3.0, gap=0.25)


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Token bucket of a rate limit: `left` calls at the time `at` (monotonic seconds)."""

    rate: RateLimit
    left: float
    at: float

    def wait(self, now: float) -> Seconds:
        """Return the seconds until a call may begin, 0 for now."""
        gap = self.at + self.rate.gap - now
        filled = self._filled(now)
        lack = 0.0 if filled >= 1.0 else (1.0 - filled) * self.rate.every
        return max(0.0, gap, lack)

    def spent(self, now: float) -> "TokenBucket":
        """Return the bucket after a call began now."""
        return replace(self, left=max(0.0, self._filled(now) - 1.0), at=now)

    def _filled(self, now: float) -> float:
        return min(self.rate.burst, self.left + (now - self.at) / self.rate.every)


# Poll interval of the pause file.
_POLL: Seconds = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class CallInFlight:
    """A call in flight: its start in Unix and monotonic seconds, and its cancellation."""

    started: float
    started_monotonic: float
    cancel: Cancel = field(default_factory=Cancel)


class Throttle:
    """Admits calls by the pace, the pause file, the token bucket and the capacity of the queues. Thread-safe.

    `has_capacity` returns True if the queues of finished calls and candidates accept another call.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        most: int,
        pause_file: Path,
        rng: Random,
        bucket: TokenBucket | None = None,
        has_capacity: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock
        self._most = most
        self._pause_file = pause_file
        self._rng = rng
        self._bucket = bucket
        self._has_capacity = has_capacity
        self._pace = Pace()
        self._flights: list[CallInFlight] = []
        self._closed = False
        self._changed = threading.Condition()

    @property
    def pace(self) -> Pace:
        """Return the current pace."""
        return self._pace

    def enter(self) -> CallInFlight | None:
        """Wait until a call may begin and return it; return None once the throttle is closed."""
        with self._changed:
            while not self._closed:
                wait = self.wait_needed()
                if wait <= 0.0:
                    return self._begin()
                self._changed.wait(min(wait, _POLL))
        return None

    def wait_needed(self) -> Seconds:
        """Return the seconds until the next check whether a call may begin, 0 if it may begin now."""
        now = self._clock.monotonic()
        if len(self._flights) >= self._pace.limit(self._most) or not self._has_capacity():
            return _POLL
        if read_pause(self._pause_file, self._clock.time()) is not None:
            return _POLL
        limited = 0.0 if self._bucket is None else self._bucket.wait(now)
        return max(self._pace.not_before - now, limited, 0.0)

    def _begin(self) -> CallInFlight:
        flight = CallInFlight(self._clock.time(), self._clock.monotonic())
        self._flights.append(flight)
        if self._bucket is not None:
            self._bucket = self._bucket.spent(flight.started_monotonic)
        return flight

    def leave(self, flight: CallInFlight, verdict: CallVerdict | None, reason: Reason | None = None) -> Pace:
        """End a call and return the new pace; a call that has ended already changes nothing.

        `verdict` is None for a cancelled call. `reason` says why the call gave no usable expression.
        """
        with self._changed:
            if flight not in self._flights:
                return self._pace
            self._flights.remove(flight)
            if verdict is not None:
                self._pace = self._pace.after(
                    verdict,
                    started=flight.started_monotonic,
                    now=self._clock.monotonic(),
                    jitter=self._rng.random(),
                    streak=None if reason is None else self._pace.streak.extended(reason, flight.started),
                )
            self._changed.notify_all()
            return self._pace

    @property
    def closed(self) -> bool:
        """Return True after `close`."""
        return self._closed

    def close(self) -> None:
        """Admit no more calls, and cancel those in flight."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.cancel_calls()

    def wait_idle(self, timeout: Seconds) -> bool:
        """Wait until no call is in flight; return False if that takes longer than `timeout`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._flights, timeout)

    def cancel_calls(self) -> None:
        """Cancel the calls in flight."""
        with self._changed:
            flights = list(self._flights)
        for flight in flights:
            flight.cancel()

    def state(self) -> ThrottleState:
        """Return a snapshot for the heartbeat."""
        with self._changed:
            since = min((flight.started for flight in self._flights), default=None)
            pause = read_pause(self._pause_file, self._clock.time())
            return ThrottleState(len(self._flights), since, pause, self._pace.streak)
