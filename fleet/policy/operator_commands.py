"""Operator commands: a switch by hand, removing a pin, pause and resume (pure, a part of the policy).

A command overrides automatic switches. It also sets or removes the pin and the ceiling that limit later ones.
"""

from dataclasses import replace

from fleet.config.ladder import Rung
from fleet.policy import caps, recovery, switch_phases
from fleet.policy.events import EventKind
from fleet.policy.facts import Command, PauseAsked, ResumeAsked, Unpin
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchKind
from fleet.runtime.errors import SwitchError

OperatorFact = Command | Unpin | PauseAsked | ResumeAsked


def on_operator(state: FleetState, fact: OperatorFact, now: float, rules: Rules) -> FleetState:
    """Return the state after an operator's command; raise SwitchError for one that cannot be carried out."""
    match fact:
        case Command():
            return on_command(state, fact, now, rules)
        case Unpin():
            return unpin(state, now)
        case PauseAsked():
            return caps.on_pause(state, fact, now)
        case ResumeAsked():
            return caps.on_resume(state, now, rules)


def on_command(state: FleetState, command: Command, now: float, rules: Rules) -> FleetState:
    """Return the state after a command; raise SwitchError if the ladder has no such rung, or a cap forbids it.

    `reset` goes to the highest rung that the caps allow.
    """
    target = _allowed(state, command, _target(state, command, rules), rules)
    if command.kind is SwitchKind.RESET:
        state = replace(state, pinned=False, ceiling=None)
    if _is_current(state, target):
        return _apply_to_current_rung(state, command, target, now, rules)
    return switch_phases.begin(
        state,
        target,
        command.kind,
        now=now,
        why="asked for by hand",
        by_hand=True,
        rules=rules,
        pin=command.pin,
    )


def _target(state: FleetState, command: Command, rules: Rules) -> Rung:
    ladder, index = rules.ladder, state.current_model_index
    match command.kind:
        case SwitchKind.RESET:
            return ladder[0]
        case SwitchKind.USE if command.target is not None and 0 <= command.target <= ladder.last:
            return ladder[command.target]
        case SwitchKind.DOWNGRADE if (below := ladder.below(index)) is not None:
            return below
        case SwitchKind.UPGRADE if (above := ladder.above(index)) is not None:
            return above
        case SwitchKind.DOWNGRADE:
            raise SwitchError(
                f"{ladder[index].label} is the last rung of the ladder; there is no smaller model",
                hint="Add one to [[ladder]] in fleet.toml, or `reset` to go back to the top.",
            )
        case SwitchKind.UPGRADE:
            raise SwitchError(
                f"{ladder[index].label} is the first rung of the ladder; there is no larger model",
                hint="Add one to [[ladder]] in fleet.toml.",
            )
        case _:
            raise SwitchError(f"there is no rung {command.target}", hint="`status` lists the ladder.")


def _allowed(state: FleetState, command: Command, target: Rung, rules: Rules) -> Rung:
    """Return the target, for `reset` at most the cap; raise SwitchError for one above the cap."""
    cap = state.cap
    if target.index >= cap or command.kind is SwitchKind.DOWNGRADE:
        return target
    if command.kind is SwitchKind.RESET:
        return rules.ladder[cap]
    raise SwitchError(
        f"{target.label} is above the cap: {caps.why_capped(state, cap, rules)}",
        hint="`status` says until when; [[hours]] and reserve stand in fleet.toml.",
    )


def _is_current(state: FleetState, target: Rung) -> bool:
    return state.current_model_index == target.index and state.switch is None and not state.on_cpu


def _apply_to_current_rung(
    state: FleetState, command: Command, target: Rung, now: float, rules: Rules
) -> FleetState:
    """Apply a command for the current rung: count, hold, ceiling and pin change; nothing is restarted."""
    ceiling = target.index if command.kind is SwitchKind.USE else None
    state = replace(state, incidents=(), vram_error_count=0, ceiling=ceiling, hold=None, displaced=None)
    state = recovery.postpone(state, now, rules)
    if command.kind is SwitchKind.USE and command.pin != state.pinned:
        state = replace(state, pinned=command.pin)
        state = state.with_event(
            now, EventKind.PINNED if command.pin else EventKind.UNPINNED, model=target.label
        )
    return state


def unpin(state: FleetState, now: float) -> FleetState:
    """Return the state without pin and ceiling."""
    switch = None if state.switch is None else replace(state.switch, pin=False)
    state = replace(state, pinned=False, ceiling=None, switch=switch)
    return state.with_event(now, EventKind.UNPINNED)
