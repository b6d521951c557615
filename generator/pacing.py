"""When the next call may begin: pure arithmetic over what became of the last ones.

After a memory failure one call is in flight at a time, with pauses of 5, 10 and then 30 s, until one that
began after the failure is answered. After any other failure the wait grows from half a second to ten,
shortened by chance so that several fleets do not ask in step. A fresh start asks with one call: its model is
loading. From the fifth call in a row that gave nothing usable the pauses grow from one second to two minutes.
"""

import re
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from fleet.memory_text import is_memory_error
from fleet.units import Seconds
from generator.records import CallRecord
from generator.thoughts import answer_of

MEMORY_PAUSES: tuple[Seconds, ...] = (5.0, 10.0, 30.0)
_FIRST_WAIT: Seconds = 0.5
_LONGEST_WAIT: Seconds = 10.0
_SEVERAL = 5
_LONGEST_PAUSE: Seconds = 120.0
_NOT_FOUND = 404
_THINK = re.compile(r"\bthink")


class Verdict(Enum):
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


def judge(call: CallRecord, *, usable: bool = True) -> Verdict:
    """Return what became of a call, by its status, its error's text, and whether its reply is usable."""
    if call.error is None:
        if usable:
            return Verdict.ANSWERED
        return Verdict.UNUSABLE if answer_of(call.reply).strip() else Verdict.EMPTY
    text = call.error.lower()
    if is_memory_error(text):
        return Verdict.MEMORY
    if call.status == 0:
        return Verdict.AWAY
    if call.status == _NOT_FOUND and "model" in text:
        return Verdict.MISSING
    if "exceed_context_size" in text or "exceeds the available context" in text:
        return Verdict.CONTEXT
    if "invalid format" in text or "json schema" in text or "json_schema" in text or ".format of" in text:
        return Verdict.FORMAT
    if 400 <= call.status < 500:  # noqa: PLR2004  # HTTP's own bounds of what a client did wrong
        return Verdict.THINK if _THINK.search(text) else Verdict.REFUSED
    return Verdict.FAILED


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
        self, verdict: Verdict, *, started: float, now: float, chance: float, streak: Streak | None = None
    ) -> "Pace":
        """Return the pace after a call that began at `started` has ended; `chance` is from 0 to 1.

        `streak` is the streak with this call counted, None where it says nothing of the replies. A call that
        began before the last failure was seen neither proves the model well nor counts as a failure of its own:
        both were in flight when memory ran out.
        """
        late = started <= self.failed_at
        if verdict is Verdict.ANSWERED:
            streak = Streak()
        streak = self.streak if streak is None else streak
        pause_ends = now + streak.pause if streak.several else float("-inf")
        if verdict in {Verdict.ANSWERED, Verdict.UNUSABLE, Verdict.EMPTY}:
            pace = self if late else Pace(proven=True)
            return replace(pace, streak=streak, not_before=max(pace.not_before, pause_ends))
        if late and self.failures:
            return replace(self, streak=streak, not_before=max(self.not_before, pause_ends))
        memory = verdict is Verdict.MEMORY
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
