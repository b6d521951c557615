"""When the next call may begin: pure arithmetic over what became of the last ones.

After a memory failure one call is in flight at a time, with pauses of 5, 10 and then 30 s, until one that
began after the failure is answered. After any other failure the wait grows from half a second to ten,
shortened by chance so that several fleets do not ask in step. A fresh start asks with one call: its model is
loading.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from fleet.memory_text import is_memory_error
from fleet.units import Seconds
from generator.records import CallRecord

MEMORY_PAUSES: tuple[Seconds, ...] = (5.0, 10.0, 30.0)
_FIRST_WAIT: Seconds = 0.5
_LONGEST_WAIT: Seconds = 10.0
_NOT_FOUND = 404


class Verdict(Enum):
    """What became of a call."""

    ANSWERED = auto()
    MEMORY = auto()
    MISSING = auto()
    FORMAT = auto()
    CONTEXT = auto()
    AWAY = auto()
    FAILED = auto()


def judge(call: CallRecord) -> Verdict:
    """Return what became of a call, by its status and its error's text."""
    if call.error is None:
        return Verdict.ANSWERED
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
    return Verdict.FAILED


@dataclass(frozen=True, slots=True)
class Pace:
    """How calls are paced now. Times are monotonic seconds.

    `failures` counts failures in a row; `failed_at` is when the last one was seen, `not_before` when the next
    call may begin. `proven`: a call was answered since the start or since the last failure.
    """

    failures: int = 0
    memory: bool = False
    failed_at: float = float("-inf")
    not_before: float = float("-inf")
    proven: bool = False

    def limit(self, most: int) -> int:
        """Return how many calls may be in flight."""
        return most if self.proven else 1

    def after(self, verdict: Verdict, *, started: float, now: float, chance: float) -> "Pace":
        """Return the pace after a call that began at `started` has ended; `chance` is from 0 to 1.

        A call that began before the last failure was seen neither proves the model well nor counts as a
        failure of its own: both were in flight when memory ran out.
        """
        late = started <= self.failed_at
        if verdict is Verdict.ANSWERED:
            return self if late else Pace(proven=True)
        if late and self.failures:
            return self
        memory = verdict is Verdict.MEMORY
        same = memory == self.memory
        failures = self.failures + 1 if same else 1
        wait = memory_pause(failures) if memory else other_wait(failures, chance)
        return replace(
            self, failures=failures, memory=memory, failed_at=now, not_before=now + wait, proven=False
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
