"""What a switch has to know before it is committed, asked for as soon as one may be near.

With it the write that plans a downgrade commits it too, and nothing is left between the last failure and the
restart but that write. Nothing is asked under the state's lock, and an answer holds for a second: without one
the switch finds out by itself, a phase later.
"""

from dataclasses import dataclass

from fleet.clients.ollama import Ollama
from fleet.clients.supervisor import ProgramState, Supervisor
from fleet.config.ladder import Ladder
from fleet.policy.decide import decide
from fleet.policy.facts import ModelHere
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Phase, SwitchKind
from fleet.runtime.clock import Clock
from fleet.runtime.errors import FleetError
from fleet.runtime.units import Seconds
from monitor.models.inventory import rungs_here
from monitor.switching.generator_process import GENERATOR

_PATIENCE: Seconds = 0.2
_HOLDS: Seconds = 1.0


@dataclass(frozen=True, slots=True)
class Ahead:
    """The rungs whose models are in Ollama, and whether a person has stopped the generator."""

    here: tuple[int, ...]
    stopped: bool


class Scout:
    """Asks Ollama and supervisord, at most once a second; neither can hold its caller up for long."""

    def __init__(self, ladder: Ladder, ollama: Ollama, supervisor: Supervisor, clock: Clock) -> None:
        self._ladder = ladder
        self._ollama = ollama
        self._supervisor = Supervisor(supervisor.socket, timeout=_PATIENCE)
        self._clock = clock
        self._asked: Seconds | None = None
        self._found: Ahead | None = None

    def __call__(self) -> Ahead | None:
        """Return what is so now, None where it cannot be had at once."""
        now = self._clock.monotonic()
        if self._asked is None or now - self._asked > _HOLDS:
            self._found = self._ask()
            self._asked = now
        return self._found

    def _ask(self) -> Ahead | None:
        try:
            stopped = self._supervisor.program(GENERATOR).state is ProgramState.STOPPED
            return Ahead(rungs_here(self._ladder, self._ollama.tags(timeout=_PATIENCE)), stopped)
        except FleetError:
            return None


def is_near(state: FleetState, rules: Rules) -> bool:
    """Tell whether one more incident would move the fleet down (pure)."""
    last = state.vram_error_count + 1 >= rules.threshold(rules.ladder[state.current_model_index])
    return state.switch is None and not state.pinned and (last or state.recovery.probation is not None)


def committed(state: FleetState, now: float, rules: Rules, ahead: Ahead | None) -> FleetState:
    """Return the state with a downgrade that is planned committed, where its model is known to be here (pure)."""
    switch = state.switch
    if ahead is None or switch is None or switch.phase is not Phase.PULL or switch.by_hand:
        return state
    if switch.kind is not SwitchKind.DOWNGRADE or switch.target not in ahead.here:
        return state
    return decide(state, ModelHere(switch.number, ahead.stopped), now, rules).state
