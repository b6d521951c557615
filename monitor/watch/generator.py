"""Compares the running generator with the state and returns the remedy. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.policy.state import FleetState, SwitchPhase
from fleet.runtime.pause_request import HUNG_AFTER
from fleet.runtime.units import Seconds, show_duration

_REQUEST_SLACK: Seconds = 600.0
"""Longest time for a slow model's answer, beyond the wait for its first token."""

WORKS_FROM: Seconds = 300.0
"""Age of a generator that works: its next hang counts as the first."""

_MOST_DOUBLINGS = 4

LOOPS_FROM = 4
"""Starts in quick succession that show a generator that cannot work."""

REVIVE_STEPS: tuple[Seconds, ...] = (10.0, 30.0, 60.0, 120.0, 300.0)
"""Waits before a FATAL generator is started again; the last one repeats."""


class Remedy(StrEnum):
    """The action that brings the generator to the wanted state."""

    NOTHING = "nothing"
    RESTART = "restart"
    START = "start"


@dataclass(frozen=True, slots=True)
class Seen:
    """An observation of the generator: supervisord's information, its environment, and its heartbeat file.

    `silent`: seconds for which its process has been seen with the present heartbeat, or without one. `waits`: seconds
    for which its oldest running call has been seen, 0 without one. `lived`: seconds from the first sight of the process
    to its last heartbeat, 0 without one.
    """

    program: ProgramInfo
    switches: int | None
    silent: Seconds = 0.0
    waits: Seconds = 0.0
    lived: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class GeneratorVerdict:
    """The remedy and its reason; `hangs` is False for a generator that runs on the wrong model."""

    remedy: Remedy
    reason: str = ""
    hangs: bool = False


def generator_verdict(state: FleetState, seen: Seen, *, longest: Seconds, hangs: int = 0) -> GeneratorVerdict:
    """Return the remedy for a generator; a generator that a person stopped stays stopped.

    While a switch restarts the generator, only that switch acts. A call longer than `longest` hangs: the generator's
    own time-outs would have ended any other. `hangs` is the number of restarts of hanging generators in a row.
    """
    program = seen.program
    if state.switch is not None and state.switch.phase is SwitchPhase.RESTART:
        return GeneratorVerdict(Remedy.NOTHING)
    if program.state is ProgramState.FATAL:
        return GeneratorVerdict(Remedy.START, "it died at each start; see log/generator.log")
    if program.state is ProgramState.EXITED:
        return GeneratorVerdict(Remedy.START, "it has ended by itself")
    if program.state is ProgramState.STOPPED and state.restarting:
        return GeneratorVerdict(Remedy.START, "its restart was cut short")
    if program.state is not ProgramState.RUNNING:
        return GeneratorVerdict(Remedy.NOTHING)
    if seen.switches is not None and seen.switches != state.switches:
        return GeneratorVerdict(Remedy.RESTART, f"it runs on another model than {state.current_model}")
    return _alive(seen, longest, hangs)


def _alive(seen: Seen, longest: Seconds, hangs: int) -> GeneratorVerdict:
    """Judge by the heartbeat and the running call.

    Each restart doubles the wait for a heartbeat. On a busy machine a start takes long, and a restart repeats it.
    """
    if seen.silent > HUNG_AFTER * 2 ** min(hangs, _MOST_DOUBLINGS):
        return GeneratorVerdict(Remedy.RESTART, f"no heartbeat for {seen.silent:.0f}s", hangs=True)
    if seen.waits > longest:
        waits = show_duration(seen.waits)
        return GeneratorVerdict(Remedy.RESTART, f"a call to Ollama has not ended for {waits}", hangs=True)
    return GeneratorVerdict(Remedy.NOTHING)


def request_limit(first_token: Seconds) -> Seconds:
    """Return the longest permitted call, given the time-out of its first token."""
    return 2 * first_token + _REQUEST_SLACK
