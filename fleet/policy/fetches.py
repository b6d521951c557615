"""What word of a pull in the background means for the fleet. Pure, a part of the policy."""

from dataclasses import replace

from fleet.config.ladder import same_model
from fleet.policy import switch_phases
from fleet.policy.events import EventKind
from fleet.policy.facts import Fetched, FetchFailed, Fetching
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchKind


def told(state: FleetState, fact: Fetching | Fetched | FetchFailed, now: float, rules: Rules) -> FleetState:
    """Return the state after word of a pull in the background: begun, brought, or failed."""
    match fact:
        case Fetching():
            return state.tell(now, EventKind.PULL_STARTED, model=fact.model, why=fact.why)
        case Fetched():
            behind = tuple(model for model in state.behind if not same_model(model, fact.model))
            return replace(state, behind=behind).tell(now, EventKind.PULL_DONE, model=fact.model)
        case FetchFailed():
            return _failed(state, fact, now, rules)


def _failed(state: FleetState, failed: FetchFailed, now: float, rules: Rules) -> FleetState:
    """Tell it; and where it is the fleet's own model that cannot be had, go to the next that is here."""
    state = state.tell(now, EventKind.PULL_FAILED, model=failed.model, reason=failed.reason)
    below = [index for index in failed.here if index > state.current_model_index]
    idle = state.switch is None and not state.pinned and switch_phases.left(state, now, rules) > 0
    if not same_model(failed.model, state.current_model) or not below or not idle:
        return state
    return switch_phases.begin(
        state,
        rules.ladder[min(below)],
        SwitchKind.DOWNGRADE,
        now=now,
        why=f"{failed.model} cannot be had",
        by_hand=False,
        rules=rules,
    )
