"""The gate that every call passes: it knows what is in flight, and says when the next one may begin."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path
from random import Random
from typing import Any

from fleet.clients.http import Cancel
from fleet.memory_errors.judge import is_memory_error
from fleet.runtime.clock import Clock
from fleet.runtime.pause_request import Pause, read_pause
from fleet.runtime.units import Seconds
from generator.domain import CallRecord
from generator.llm.thinking import answer_of

MEMORY_PAUSES: tuple[Seconds, ...] = (5.0, 10.0, 30.0)
_FIRST_WAIT: Seconds = 0.5
_LONGEST_WAIT: Seconds = 10.0
_SEVERAL = 5
_LONGEST_PAUSE: Seconds = 120.0
_NOT_FOUND = 404
_THINK = re.compile(r"\bthink")


class CallVerdict(Enum):
    """What became of a call. ANSWERED holds a valid expression, UNUSABLE has text without one, EMPTY no text."""

    ANSWERED = auto()
    UNUSABLE = auto()
    EMPTY = auto()
    MEMORY = auto()
    MISSING = auto()
    FORMAT = auto()
    THINK = auto()
    CONTEXT = auto()
    REFUSED = auto()
    AWAY = auto()
    FAILED = auto()


def call_verdict(call: CallRecord, *, usable: bool = True) -> CallVerdict:
    """Return what became of a call, by its status, its error's text, and whether its reply is usable."""
    if call.error is None:
        if usable:
            return CallVerdict.ANSWERED
        return CallVerdict.UNUSABLE if answer_of(call.reply).strip() else CallVerdict.EMPTY
    text = call.error.lower()
    if is_memory_error(text):
        return CallVerdict.MEMORY
    if call.status == 0:
        return CallVerdict.AWAY
    if call.status == _NOT_FOUND and "model" in text:
        return CallVerdict.MISSING
    if "exceed_context_size" in text or "exceeds the available context" in text:
        return CallVerdict.CONTEXT
    if "invalid format" in text or "json schema" in text or "json_schema" in text or ".format of" in text:
        return CallVerdict.FORMAT
    if 400 <= call.status < 500:  # noqa: PLR2004  # HTTP's own bounds of what a client did wrong
        return CallVerdict.THINK if _THINK.search(text) else CallVerdict.REFUSED
    return CallVerdict.FAILED


@dataclass(frozen=True, slots=True)
class Reason:
    """The reason why a call gave nothing usable, and its mend. `kind` is the same for the same cause."""

    kind: str
    text: str
    mend: str


@dataclass(frozen=True, slots=True)
class Streak:
    """Calls in a row that gave nothing usable; `since` is the first one's start in Unix seconds."""

    calls: int = 0
    since: float = 0.0
    reason: Reason | None = None

    @property
    def several(self) -> bool:
        """Return True if the streak is long enough to be reported and slowed down."""
        return self.calls >= _SEVERAL

    @property
    def pause(self) -> Seconds:
        """Return the pause before the next call: doubling, bounded."""
        return min(2.0 ** min(self.calls - _SEVERAL, 10), _LONGEST_PAUSE) if self.several else 0.0

    def longer(self, reason: Reason, started: float) -> "Streak":
        """Return the streak after one more call, which began at `started`."""
        return Streak(self.calls + 1, self.since if self.calls else started, reason)

    def row(self) -> dict[str, Any] | None:
        """Return the streak as `generator.json` has it, None where it is too short to be reported."""
        if not self.several or self.reason is None:
            return None
        return {
            "since": self.since,
            "calls": self.calls,
            "kind": self.reason.kind,
            "reason": self.reason.text,
            "mend": self.reason.mend,
        }


@dataclass(frozen=True, slots=True)
class Pace:
    """How calls are paced now. Times are monotonic seconds.

    `failures` counts failures in a row; `failed_at` is when the last one was seen, `not_before` when the next
    call may begin. `proven`: a call was answered since the start or since the last failure. `streak` counts what
    gave nothing usable.
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
        self, verdict: CallVerdict, *, started: float, now: float, chance: float, streak: Streak | None = None
    ) -> "Pace":
        """Return the pace after a call that began at `started` has ended; `chance` is from 0 to 1.

        `streak` is the streak with this call counted, None where it says nothing of the replies. A call that
        began before the last failure was seen neither proves the model well nor counts as a failure of its own:
        both were in flight when memory ran out.
        """
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
        wait = memory_pause(failures) if memory else other_wait(failures, chance)
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
    """Return the pause after this many memory failures in a row."""
    return MEMORY_PAUSES[min(failures, len(MEMORY_PAUSES)) - 1]


def other_wait(failures: int, chance: float) -> Seconds:
    """Return the wait after this many other failures in a row: doubling, bounded, shortened by up to half."""
    full = min(_FIRST_WAIT * 2.0 ** min(failures - 1, 10), _LONGEST_WAIT)
    return full * (1.0 - 0.5 * chance)


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often calls may begin: `burst` at once, then one every `every` seconds; always `gap` apart."""

    burst: float
    every: Seconds
    gap: Seconds


# A stand-in answers at once, for ever: without a bound a forgotten first try would fill the disk. A newcomer
# sees the first two minutes at full speed; a day makes under 30 000 calls.
STANDIN_ALLOWANCE = Allowance(burst=120, every=3.0, gap=0.25)


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left of an allowance: a bucket of `left` calls as of `at` (monotonic seconds)."""

    allowance: Allowance
    left: float
    at: float

    def wait(self, now: float) -> Seconds:
        """Return how long until a call may begin; 0 if it may now."""
        gap = self.at + self.allowance.gap - now
        filled = self._filled(now)
        lack = 0.0 if filled >= 1.0 else (1.0 - filled) * self.allowance.every
        return max(0.0, gap, lack)

    def spent(self, now: float) -> "Budget":
        """Return the budget after a call began now."""
        return replace(self, left=max(0.0, self._filled(now) - 1.0), at=now)

    def _filled(self, now: float) -> float:
        return min(self.allowance.burst, self.left + (now - self.at) / self.allowance.every)


# How long a closed gate is believed closed: the pause file has no bell.
_LOOK_AGAIN: Seconds = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class CallInFlight:
    """A call on its way: since when by both clocks, and how to cut it."""

    started: float
    started_monotonic: float
    cancel: Cancel = field(default_factory=Cancel)


@dataclass(frozen=True, slots=True)
class GateView:
    """What the gate looks like from outside; `request_since` is the oldest call's start in Unix seconds."""

    in_flight: int
    request_since: float | None
    pause: Pause | None
    streak: Streak = field(default_factory=Streak)


class Gate:
    """Lets calls begin by the pace, the pause file, the budget and the room behind it; for any thread."""

    def __init__(
        self,
        *,
        clock: Clock,
        most: int,
        pause_file: Path,
        chance: Random,
        budget: Budget | None = None,
        room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock
        self._most = most
        self._pause_file = pause_file
        self._chance = chance
        self._budget = budget
        self._room = room
        self._pace = Pace()
        self._flights: list[CallInFlight] = []
        self._closed = False
        self._changed = threading.Condition()

    @property
    def pace(self) -> Pace:
        """Return the pace as it is now."""
        return self._pace

    def enter(self) -> CallInFlight | None:
        """Wait until a call may begin and return it; None once the gate is closed."""
        with self._changed:
            while not self._closed:
                wait = self.wait_needed()
                if wait <= 0.0:
                    return self._begin()
                self._changed.wait(min(wait, _LOOK_AGAIN))
        return None

    def wait_needed(self) -> Seconds:
        """Return how long to wait before asking again whether a call may begin; 0 if it may now."""
        now = self._clock.monotonic()
        if len(self._flights) >= self._pace.limit(self._most) or not self._room():
            return _LOOK_AGAIN
        if read_pause(self._pause_file, self._clock.time()) is not None:
            return _LOOK_AGAIN
        budget = 0.0 if self._budget is None else self._budget.wait(now)
        return max(self._pace.not_before - now, budget, 0.0)

    def _begin(self) -> CallInFlight:
        flight = CallInFlight(self._clock.time(), self._clock.monotonic())
        self._flights.append(flight)
        if self._budget is not None:
            self._budget = self._budget.spent(flight.started_monotonic)
        return flight

    def leave(self, flight: CallInFlight, verdict: CallVerdict | None, reason: Reason | None = None) -> Pace:
        """End a call, with what became of it (None: it was cut, and says nothing); return the new pace.

        `reason` says why it gave nothing usable. A call that has ended already is left alone.
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
                    chance=self._chance.random(),
                    streak=None if reason is None else self._pace.streak.longer(reason, flight.started),
                )
            self._changed.notify_all()
            return self._pace

    def close(self) -> None:
        """Let no call begin any more, and cut those in flight."""
        with self._changed:
            self._closed = True
            flights = list(self._flights)
            self._changed.notify_all()
        for flight in flights:
            flight.cancel()

    def view(self) -> GateView:
        """Return what the gate looks like now."""
        with self._changed:
            since = min((flight.started for flight in self._flights), default=None)
            pause = read_pause(self._pause_file, self._clock.time())
            return GateView(len(self._flights), since, pause, self._pace.streak)
