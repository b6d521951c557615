"""One step of the search, and what the invariants ask of it, without the policy's own functions."""

from dataclasses import dataclass, replace

from fleet.policy.decide import _held
from fleet.policy.recovery import may_come_back
from fleet.policy.rules import Rules
from fleet.policy.state import FROM_ORIGINAL, FleetState, Switch, SwitchKind
from tests.space.moves import Move
from tests.space.world import World


@dataclass(frozen=True, slots=True)
class Step:
    """One move, and the world after it as the policy returned it."""

    before: World
    move: Move
    after: World
    rules: Rules
    refused: bool = False

    @property
    def old(self) -> FleetState:
        return self.before.state

    @property
    def new(self) -> FleetState:
        return self.after.state

    @property
    def committed(self) -> bool:
        """Return True if this step committed a switch."""
        return self.new.switches != self.old.switches

    @property
    def begun(self) -> Switch | None:
        """Return the switch that began in this step."""
        old, new = self.old.switch, self.new.switch
        return new if new is not None and (old is None or old.number != new.number) else None

    @property
    def clocked(self) -> FleetState:
        """Return the state before the step under the hours after it; a change of them ends a hold."""
        if self.old.hours == self.new.hours:
            return self.old
        return replace(self.old, hours=self.new.hours, hold=None)

    @property
    def follows_a_cap(self) -> bool:
        """Return True if a switch began that a cap asks for: down to it, or back to the rung that the fleet left for it."""
        switch = self.begun
        if switch is None or switch.by_hand:
            return False
        back = switch.kind is SwitchKind.PROBE and may_come_back(self.clocked)
        return back or self.old.current_model_index < self.new.cap == switch.target


def models_of(state: FleetState) -> tuple[str, str] | None:
    """Return the models of the last commit; a clock that was set back moves its time."""
    last = state.last_switch
    return None if last is None else (last.source, last.target)


def count_of(state: FleetState, step: Step) -> int:
    """Return the number of incidents within the window, or since the last answer, whichever is more."""
    edge, last = step.move.now - step.rules.policy.window, state.last_finished
    within = sum(one.time >= edge for one in state.incidents)
    row = sum(one.cause != FROM_ORIGINAL and (last is None or one.time > last) for one in state.incidents)
    return max(within, row)


def is_enough(state: FleetState, step: Step) -> bool:
    """Return True if the incidents of a state reach the threshold."""
    rung = step.rules.ladder[state.current_model_index]
    calls, share = state.finished + state.failed, step.rules.policy.min_fail_share
    enough_failed = not share or not calls or state.failed / calls > share
    return count_of(state, step) >= step.rules.threshold(rung) and enough_failed


def is_held(state: FleetState, now: float) -> bool:
    """Return True if a hold is in force."""
    return state.hold is not None and state.hold.active(now)


def is_idle(state: FleetState, now: float) -> bool:
    """Return True if nothing keeps the fleet from an automatic switch."""
    return state.switch is None and not state.pinned and not _held(state, now)
