"""The policy: a fact goes in, the new state and what is to be done come out. Pure; it never logs.

What is to be done follows from the state: `state.switch` is carried out by whoever holds the switch lock, and
`state.hold` pauses the generator. `Decision.acts` says that one of them changed, so that the shell looks now.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

from fleet.config.ladder import Rung
from fleet.policy import operator_commands, recovery, switch_phases
from fleet.policy.clock_skew import no_later
from fleet.policy.events import EventKind
from fleet.policy.facts import (
    CallEnded,
    Command,
    Fact,
    Fetched,
    FetchFailed,
    Fetching,
    IncidentSeen,
    ModelHere,
    PullFailed,
    Restarted,
    RestartFailed,
    SpillFound,
    Tick,
    TrialEnded,
    Unpin,
    VerifyEnded,
)
from fleet.policy.incident_count import enough, recount, why_not, with_call, with_incident
from fleet.policy.rules import Rules
from fleet.policy.state import HOLD_STEPS, FleetState, Hold, Phase, Switch, SwitchKind
from fleet.runtime.units import show_duration

_ANSWERED = "its first call was answered"

_StepFact = ModelHere | PullFailed | TrialEnded | Restarted | RestartFailed | VerifyEnded


@dataclass(frozen=True, slots=True)
class Decision:
    """The new state, and whether a switch or a hold in it asks to be carried out."""

    state: FleetState
    acts: bool = False


def decide(state: FleetState, fact: Fact, now: float, rules: Rules) -> Decision:
    """Return what follows from a fact; raise SwitchError for a command that cannot be done."""
    after = _apply(no_later(state, fact, now, rules), fact, now, rules)
    return Decision(after, acts=after.switch != state.switch or after.hold != state.hold)


def _apply(state: FleetState, fact: Fact, now: float, rules: Rules) -> FleetState:
    match fact:
        case IncidentSeen():
            return _incident(state, fact, now, rules)
        case CallEnded():
            return _call_ended(state, fact, now, rules)
        case SpillFound():
            return _spill(state, fact, now, rules)
        case Tick():
            return _tick(state, now, rules)
        case Command():
            return operator_commands.asked(state, fact, now, rules)
        case Unpin():
            return operator_commands.unpin(state, now)
        case ModelHere() | PullFailed() | TrialEnded() | Restarted() | RestartFailed() | VerifyEnded():
            return _step(state, fact, now, rules)
        case Fetching() | Fetched() | FetchFailed():
            return switch_phases.told(state, fact, now, rules)
        case _:
            assert_never(fact)


def _incident(state: FleetState, incident: IncidentSeen, now: float, rules: Rules) -> FleetState:
    reason = why_not(state, incident, now, rules)
    if not reason:
        state = recovery.postpone(with_incident(state, incident, now, rules), now, rules)
    rung = rules.ladder[state.current_model_index]
    state = state.tell(
        now,
        EventKind.INCIDENT,
        id=incident.id,
        at=incident.time,
        cause=incident.cause,
        severity=incident.kind,
        model=incident.model or (rung.model if not reason else None),
        counted=not reason,
        reason=reason,
        errors=state.vram_error_count,
        threshold=rules.threshold(rung),
    )
    return state if reason else _react(state, incident, now, rules)


def _react(state: FleetState, incident: IncidentSeen, now: float, rules: Rules) -> FleetState:
    switch = state.switch
    if switch is not None and switch.phase is Phase.VERIFY and incident.kind == "hard":
        return _memory_failure(state, now, rules)
    if switch is not None or state.pinned or _held(state, now):
        return state
    reached = enough(state, rules)
    if _on_probation(state, now) and (reached or incident.kind == "hard"):
        return _back_from_probe(state, now, rules)
    if not reached:
        return state
    return _down(state, now, rules, f"{_incidents(state.vram_error_count)}, last of them {incident.cause}")


def _on_probation(state: FleetState, now: float) -> bool:
    return state.recovery.probation is not None and now < state.recovery.probation


def _incidents(number: int) -> str:
    return "1 incident" if number == 1 else f"{number} incidents"


def _memory_failure(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Act on a new model that fails for lack of memory: a second chance, then on at once."""
    switch = state.switch
    state, given_up = switch_phases.verify_failed(state, now, rules)
    if not given_up or switch is None:
        return state
    reason = f"{rules.ladder[switch.target].label} has no GPU memory to work in"
    state = switch_phases.give_up(state, now, rules, reason)
    if switch.kind is SwitchKind.PROBE:
        return _back_from_probe(state, now, rules)
    return _down(state, now, rules, reason)


def _back_from_probe(state: FleetState, now: float, rules: Rules) -> FleetState:
    if not switch_phases.left(state, now, rules):
        return _hold_at_limit(state, now, rules)
    failed, home = state.current_model_index, state.recovery.home_rung
    target = rules.ladder[min(home if home is not None else failed + 1, rules.ladder.last)]
    state = switch_phases.begin(
        state,
        target,
        SwitchKind.DOWNGRADE,
        now=now,
        why="the larger model failed",
        by_hand=False,
        rules=rules,
        on_cpu=state.recovery.home_on_cpu,
    )
    return recovery.off_probation(recovery.probe_failed(state, failed, now, rules))


def _down(state: FleetState, now: float, rules: Rules, why: str) -> FleetState:
    """Move down by itself, or do what is set for the bottom of the ladder."""
    if not switch_phases.left(state, now, rules):
        return _hold_at_limit(state, now, rules)
    target = _lower(state.current_model_index, rules)
    if target is not None:
        return switch_phases.begin(
            state, target, SwitchKind.DOWNGRADE, now=now, why=why, by_hand=False, rules=rules
        )
    return _exhausted(state, now, rules)


def _lower(index: int, rules: Rules) -> Rung | None:
    """Return the rung to move down to: the next, or under `fits` the first not known not to fit."""
    if rules.policy.selection != "fits":
        return rules.ladder.below(index)
    failing = rules.need(index)
    for rung in list(rules.ladder)[index + 1 :]:
        need = rules.need(rung.index)
        if rules.can_fit(rung.index) and (need is None or failing is None or need < failing):
            return rung
    return rules.ladder.below(index)


def _exhausted(state: FleetState, now: float, rules: Rules) -> FleetState:
    bottom = rules.ladder[rules.ladder.last]
    choice = rules.policy.on_exhausted
    if choice == "cpu" and not state.on_cpu:
        return switch_phases.begin(
            state,
            bottom,
            SwitchKind.DOWNGRADE,
            now=now,
            why="the smallest model goes on without the GPU",
            on_cpu=True,
            by_hand=False,
            rules=rules,
        )
    top = state.ceiling or 0
    if choice == "reset" and top < rules.ladder.last:
        return switch_phases.begin(
            state,
            rules.ladder[top],
            SwitchKind.RESET,
            now=now,
            why="the smallest model fails too",
            by_hand=False,
            rules=rules,
        )
    return _hold(state, now, f"{bottom.label} fails too and there is no smaller model")


def _hold_at_limit(state: FleetState, now: float, rules: Rules) -> FleetState:
    most = rules.policy.max_switches_per_hour
    return _hold(state, now, f"{most} automatic switches in an hour are the most allowed")


def _hold(state: FleetState, now: float, why: str) -> FleetState:
    step = 0 if state.hold is None else state.hold.step + 1
    seconds = HOLD_STEPS[min(step, len(HOLD_STEPS) - 1)]
    state = replace(state, hold=Hold(now + seconds, step, why), incidents=(), vram_error_count=0)
    return state.tell(now, EventKind.HELD, seconds=seconds, why=why)


def _held(state: FleetState, now: float) -> bool:
    return state.hold is not None and state.hold.active(now)


def _call_ended(state: FleetState, call: CallEnded, now: float, rules: Rules) -> FleetState:
    if call.switches != state.switches:
        return state
    if call.answered:
        return _answered(state, call, now, rules)
    state = with_call(state, answered=False)
    switch = state.switch
    if switch is None or switch.phase is not Phase.VERIFY:
        return state
    if call.memory:
        both = switch.failed_at is not None and call.started is not None and call.started < switch.failed_at
        return state if both else _memory_failure(state, now, rules)
    return switch_phases.done(state, now, rules, f"unverified: {call.reason}")


def _answered(state: FleetState, call: CallEnded, now: float, rules: Rules) -> FleetState:
    finished = max(min(call.time, now), state.last_finished or 0.0)
    state = replace(with_call(state, answered=True), last_finished=finished, hold=None)
    state = recount(state, now, rules)
    if state.switch is not None and state.switch.phase is Phase.VERIFY:
        return switch_phases.done(state, now, rules, _ANSWERED)
    return state


def _spill(state: FleetState, spill: SpillFound, now: float, rules: Rules) -> FleetState:
    movable = state.switch is None and not state.pinned and not _held(state, now)
    acts = rules.policy.on_spill == "downgrade" and movable
    at_bottom = rules.ladder.below(state.current_model_index) is None
    outcome = "moving down" if acts and not at_bottom else "reported"
    label = rules.ladder[state.current_model_index].label
    state = state.tell(now, EventKind.SPILL, model=label, share=spill.share, outcome=outcome)
    if not acts or at_bottom:
        return state
    if _on_probation(state, now):
        return _back_from_probe(state, now, rules)
    return _down(state, now, rules, f"only {spill.share:.0%} of it is in GPU memory")


def _tick(state: FleetState, now: float, rules: Rules) -> FleetState:
    state = recovery.settle(recount(state, now, rules), now, rules)
    if _held(state, now):
        return state
    if state.recovery.next is None and (state.current_model_index > 0 or state.on_cpu):
        return recovery.postpone(state, now, rules)
    if not recovery.due(state, now, rules):
        return state
    index = recovery.candidate(state, rules)
    # A probe needs room for the way back as well, where the limit leaves room for two at all.
    if index is None or switch_phases.left(state, now, rules) < min(2, rules.policy.max_switches_per_hour):
        return recovery.postpone(state, now, rules)
    why = f"{show_duration(rules.policy.recover_after)} without an incident"
    return switch_phases.begin(
        recovery.begun(state, index),
        rules.ladder[index],
        SwitchKind.PROBE,
        now=now,
        why=why,
        by_hand=False,
        rules=rules,
    )


def _step(state: FleetState, fact: _StepFact, now: float, rules: Rules) -> FleetState:
    """Take a switch on; word of another switch than the one under way changes nothing."""
    switch = state.switch
    if switch is None or switch.number != fact.switch:
        return state
    match fact, switch.phase:
        case ModelHere(), Phase.PULL:
            return switch_phases.model_here(state, switch, now, rules, was_stopped=fact.was_stopped)
        case PullFailed(), Phase.PULL:
            return _pull_failed(state, switch, fact, now, rules)
        case TrialEnded(), Phase.TRIAL:
            return _trial_ended(state, switch, fact, now, rules)
        case Restarted(), Phase.RESTART if fact.stopped:
            return switch_phases.done(state, now, rules, "unverified: the generator is stopped")
        case Restarted(), Phase.RESTART:
            state = replace(state, switch=replace(switch, phase=Phase.VERIFY, restarted=now))
            # A quick model may have answered before the start was told of; the next call may be long in coming.
            return switch_phases.done(state, now, rules, _ANSWERED) if state.finished else state
        case RestartFailed(), Phase.RESTART:
            attempts = switch.attempts + 1
            state = replace(state, switch=replace(switch, attempts=attempts))
            # It goes on for as long as it fails: said at the first, second, fourth … try, not at each.
            often = attempts & (attempts - 1)
            return state if often else state.tell(now, EventKind.GENERATOR_DOWN, reason=fact.reason)
        case VerifyEnded(), Phase.VERIFY:
            return switch_phases.done(state, now, rules, f"unverified: {fact.reason}")
        case _:
            return state


def _pull_failed(state: FleetState, switch: Switch, fact: PullFailed, now: float, rules: Rules) -> FleetState:
    state = switch_phases.pull_failed(state, switch, fact, now, rules)
    if state.switch is not None:
        return state
    if switch.kind is SwitchKind.PROBE:
        # One whose model is only on its way has not failed: it has its turn when it is here.
        after = recovery.postpone if fact.behind else partial(recovery.probe_failed, failed=switch.target)
        return after(state, now=now, rules=rules)
    if switch.by_hand:
        return state
    if enough(state, rules):
        return _hold(state, now, f"there is no smaller model to go to: {fact.reason}")
    return replace(state, incidents=(), vram_error_count=0)


def _trial_ended(state: FleetState, switch: Switch, fact: TrialEnded, now: float, rules: Rules) -> FleetState:
    if fact.passed:
        switch = replace(switch, was_stopped=fact.was_stopped)
        return switch_phases.commit(replace(state, switch=switch), switch, now, rules)
    state = switch_phases.give_up(state, now, rules, fact.reason)
    return (
        recovery.probe_failed(state, switch.target, now, rules) if switch.kind is SwitchKind.PROBE else state
    )
