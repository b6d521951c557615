"""Holding what runs against what is wanted (pure): which of the generator's ways to be wrong is there."""

from dataclasses import dataclass
from enum import StrEnum

from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.policy.state import FleetState, Phase
from fleet.runtime.units import Seconds, show_duration

HUNG_AFTER: Seconds = 30.0
"""The generator tells every five seconds that it lives; six of them missed are no delay."""

_REQUEST_SLACK: Seconds = 600.0
"""What a slow model may take for its answer, beyond the wait for its first token."""

LOOPS_FROM = 4
"""So many starts in a row, each soon after the one before, are a generator that cannot work."""

REVIVE_STEPS: tuple[Seconds, ...] = (10.0, 30.0, 60.0, 120.0, 300.0)
"""Waits before a generator that supervisord has given up is started again; the last one repeats."""


class Remedy(StrEnum):
    """What brings the generator to what is wanted."""

    NOTHING = "nothing"
    RESTART = "restart"
    START = "start"


@dataclass(frozen=True, slots=True)
class Seen:
    """The generator as it was seen: by supervisord, in its environment, and by its own heartbeat.

    `request_since` is when the oldest of its calls began that is still running.
    """

    program: ProgramInfo
    switches: int | None
    heartbeat: float | None
    started: float | None
    request_since: float | None = None


@dataclass(frozen=True, slots=True)
class GeneratorVerdict:
    """What to do, and why; `hangs` tells a generator that hangs from one that runs on the wrong model."""

    remedy: Remedy
    reason: str = ""
    hangs: bool = False


def generator_verdict(state: FleetState, seen: Seen, now: float, *, longest: Seconds) -> GeneratorVerdict:
    """Return what to do with a generator; one that a person stopped stays stopped.

    While a switch restarts it, that switch alone acts. A call that runs for more than `longest` never ends:
    the generator's own time-outs would have ended any other.
    """
    program = seen.program
    if state.switch is not None and state.switch.phase is Phase.RESTART:
        return GeneratorVerdict(Remedy.NOTHING)
    if program.state is ProgramState.FATAL:
        return GeneratorVerdict(Remedy.START, "it died again and again; see log/generator.log")
    if program.state is ProgramState.EXITED:
        return GeneratorVerdict(Remedy.START, "it has ended by itself")
    if program.state is not ProgramState.RUNNING:
        return GeneratorVerdict(Remedy.NOTHING)
    if seen.switches is not None and seen.switches != state.switches:
        return GeneratorVerdict(Remedy.RESTART, f"it runs on another model than {state.current_model}")
    return _alive(seen, now, longest)


def _alive(seen: Seen, now: float, longest: Seconds) -> GeneratorVerdict:
    """Judge by the heartbeat, from the process's start at the earliest: an older one is its predecessor's."""
    if seen.started is None:
        return GeneratorVerdict(Remedy.NOTHING)
    last = max(seen.heartbeat or 0.0, seen.started)
    if now - last > HUNG_AFTER:
        return GeneratorVerdict(Remedy.RESTART, f"no sign of life for {now - last:.0f}s", hangs=True)
    if seen.request_since is not None and now - seen.request_since > longest:
        waits = show_duration(now - seen.request_since)
        return GeneratorVerdict(Remedy.RESTART, f"a call to Ollama has not ended for {waits}", hangs=True)
    return GeneratorVerdict(Remedy.NOTHING)


def request_limit(first_token: Seconds) -> Seconds:
    """Return how long a call may run, by how long its first token may take."""
    return 2 * first_token + _REQUEST_SLACK


def revive_after(attempts: int) -> Seconds:
    """Return the wait before the next start of a generator that was given up `attempts` times."""
    return REVIVE_STEPS[min(attempts, len(REVIVE_STEPS) - 1)]
