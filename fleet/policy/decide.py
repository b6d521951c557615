"""The policy's entry point: `decide` takes a state and a fact and returns the next state. Pure; it never logs.

The state is also the request to act. The holder of the switch lock carries out `state.switch`; `state.hold` and
`state.paused` stop the generator's calls. `Decision.acts` is set if one of them changed; the program that acts on them
is then woken.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

from fleet.config.ladder import Rung
from fleet.policy import caps, operator_commands, recovery, switch_phases
from fleet.policy.clock_skew import clamp_times
from fleet.policy.events import EventKind
from fleet.policy.facts import (
    CallEnded,
    CardSeen,
    Command,
    Fact,
    IncidentSeen,
    ModelPresent,
    PauseAsked,
    PrefetchDone,
    PrefetchFailed,
    PrefetchStarted,
    PullFailed,
    Restarted,
    RestartFailed,
    ResumeAsked,
    SpillFound,
    Tick,
    TrialEnded,
    UnloadBegins,
    Unpin,
    VerifyEnded,
)
from fleet.policy.incident_count import (
    reason_not_counted,
    recount,
    threshold_reached,
    with_call,
    with_incident,
)
from fleet.policy.rules import Rules
from fleet.policy.state import FROM_ORIGINAL, HOLD_STEPS, FleetState, Hold, Switch, SwitchKind, SwitchPhase
from fleet.runtime.backoff import backoff_step
from fleet.runtime.units import show_duration

ANSWERED = "its first call was answered"
"""Result of a switch whose model answered."""

_StepFact = ModelPresent | PullFailed | TrialEnded | Restarted | RestartFailed | VerifyEnded


@dataclass(frozen=True, slots=True)
class Decision:
    """The new state; `acts` is True if its switch, its hold or its pause changed."""

    state: FleetState
    acts: bool = False


def decide(state: FleetState, fact: Fact, now: float, rules: Rules) -> Decision:
    """Return the state after a fact; raise SwitchError for a command that cannot be carried out."""
    after = _apply(clamp_times(state, fact, now, rules), fact, now, rules)
    after = caps.stand_still(after, now, rules)
    ended = state.switch is not None and after.switch is None
    if ended or isinstance(fact, (IncidentSeen, Tick)):
        after = _act_on_count(recount(after, now, rules), now, rules)
    acts = after.switch != state.switch or after.hold != state.hold or after.paused(now) != state.paused(now)
    return Decision(after, acts)


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
        case CardSeen():
            return caps.on_card(state, fact, now, rules)
        case Command() | Unpin() | PauseAsked() | ResumeAsked():
            return operator_commands.on_operator(state, fact, now, rules)
        case ModelPresent() | PullFailed() | TrialEnded() | Restarted() | RestartFailed() | VerifyEnded():
            return _switch_step(state, fact, now, rules)
        case UnloadBegins():
            return state.with_unload(now)
        case PrefetchStarted() | PrefetchDone() | PrefetchFailed():
            return switch_phases.on_prefetch(state, fact, now, rules)
        case _:
            assert_never(fact)


def _incident(state: FleetState, incident: IncidentSeen, now: float, rules: Rules) -> FleetState:
    reason = reason_not_counted(state, incident, now, rules)
    if not reason:
        state = recovery.postpone(with_incident(state, incident, now, rules), now, rules)
    rung = rules.ladder[state.current_model_index]
    state = state.with_event(
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
        **({"lines": list(incident.lines)} if incident.lines else {}),
    )
    return state if reason or incident.kind != "hard" else _hard_failure(state, now, rules)


def _hard_failure(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Act on a hard failure to which no threshold applies."""
    # While a switch verifies, the failure is the new model's.
    if state.switch is not None and state.switch.phase is SwitchPhase.VERIFY:
        return _verify_failed(state, now, rules)
    # On probation one failure is enough: the smaller model is known to work.
    if _on_probation(state, now) and _may_move(state, now):
        return _undo_probe(state, now, rules)
    return state


def _act_on_count(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Move down if the threshold is reached and nothing forbids it.

    A threshold that is reached during a switch, a hold or a pin takes effect at its end.
    """
    if not _may_move(state, now) or not threshold_reached(state, rules):
        return state
    number, last = state.vram_error_count, state.incidents[-1].cause if state.incidents else FROM_ORIGINAL
    found = "1 incident" if number == 1 else f"{number} incidents"
    return _downgrade(state, now, rules, f"{found}, last of them {last}")


def _may_move(state: FleetState, now: float) -> bool:
    """Return True if an automatic switch may begin: no switch, pin, hold or pause forbids it."""
    return state.switch is None and not state.pinned and not _held(state, now)


def _on_probation(state: FleetState, now: float) -> bool:
    return state.recovery.probation is not None and now < state.recovery.probation


def _verify_failed(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Act on a new model that failed for lack of memory: a second chance first, then the next switch."""
    switch = state.switch
    state, given_up = switch_phases.verify_failed(state, now, rules)
    if not given_up or switch is None:
        return state
    reason = f"{rules.ladder[switch.target].label} failed for lack of GPU memory"
    state = switch_phases.give_up(state, now, rules, reason)
    if switch.kind is SwitchKind.PROBE:
        return _undo_probe(state, now, rules)
    return _downgrade(state, now, rules, reason)


def _undo_probe(state: FleetState, now: float, rules: Rules) -> FleetState:
    if not switch_phases.switches_left(state, now, rules):
        return _hold_at_limit(state, now, rules)
    failed, home = state.current_model_index, state.recovery.home_rung
    target = rules.ladder[min(home if home is not None else failed + 1, rules.ladder.last)]
    state = switch_phases.begin(
        state,
        target,
        SwitchKind.DOWNGRADE,
        now=now,
        why="the larger model failed",
        rules=rules,
        on_cpu=state.recovery.home_on_cpu,
    )
    return recovery.end_probation(recovery.probe_failed(state, failed, now, rules))


def _downgrade(state: FleetState, now: float, rules: Rules, why: str) -> FleetState:
    """Begin an automatic downgrade, on probation to the rung before the probe; on the last rung apply `on_exhausted`."""
    if _on_probation(state, now):
        return _undo_probe(state, now, rules)
    if not switch_phases.switches_left(state, now, rules):
        return _hold_at_limit(state, now, rules)
    target = _downgrade_target(state.current_model_index, rules)
    if target is not None:
        return switch_phases.begin(state, target, SwitchKind.DOWNGRADE, now=now, why=why, rules=rules)
    return _exhausted(state, now, rules)


def _downgrade_target(index: int, rules: Rules) -> Rung | None:
    """Return the target of a downgrade; None on the last rung.

    The target is the next rung. With `selection = "fits"`, the first rung below that may fit and may need less comes
    before the next one.
    """
    if rules.policy.selection != "fits":
        return rules.ladder.below(index)
    failing = rules.need(index)
    for rung in rules.ladder[index + 1 :]:
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
            why="the smallest model runs on without the GPU",
            on_cpu=True,
            rules=rules,
        )
    top = state.top
    if choice == "reset" and top < rules.ladder.last:
        return switch_phases.begin(
            state,
            rules.ladder[top],
            SwitchKind.RESET,
            now=now,
            why="the smallest model fails too",
            rules=rules,
        )
    return _hold(state, now, f"{bottom.label} fails too and there is no smaller model")


def _hold_at_limit(state: FleetState, now: float, rules: Rules) -> FleetState:
    most = rules.policy.max_switches_per_hour
    return _hold(state, now, f"the limit of {most} automatic switches an hour is reached")


def _hold(state: FleetState, now: float, why: str) -> FleetState:
    step = 0 if state.hold is None else state.hold.step + 1
    seconds = backoff_step(HOLD_STEPS, step + 1)
    # The count restarts: the incidents so far must not end the next attempt at once.
    state = replace(state, hold=Hold(now + seconds, step, why), incidents=(), vram_error_count=0)
    return state.with_event(now, EventKind.HELD, seconds=seconds, why=why)


def _held(state: FleetState, now: float) -> bool:
    """Return True if the generator is held or the fleet paused: no switch begins by itself."""
    return (state.hold is not None and state.hold.active(now)) or state.paused(now) is not None


def _call_ended(state: FleetState, call: CallEnded, now: float, rules: Rules) -> FleetState:
    if call.switches != state.switches:
        return state  # a call to an earlier model
    if call.answered:
        return _answered(state, call, now, rules)
    state = with_call(state, answered=False)
    switch = state.switch
    if switch is None or switch.phase is not SwitchPhase.VERIFY:
        return state
    if call.memory:
        # A call that began before the first failure is part of it and uses up no second chance.
        same = switch.failed_at is not None and call.started is not None and call.started < switch.failed_at
        return state if same else _verify_failed(state, now, rules)
    return _unverified(state, call.reason, now, rules)


def _answered(state: FleetState, call: CallEnded, now: float, rules: Rules) -> FleetState:
    # Calls may be reported out of order; the last finish never moves back.
    finished = max(min(call.time, now), state.last_finished or 0.0)
    state = replace(with_call(state, answered=True), last_finished=finished, hold=None)
    state = recount(state, now, rules)
    if state.switch is not None and state.switch.phase is SwitchPhase.VERIFY:
        return switch_phases.done(state, now, rules, ANSWERED)
    return state


def _spill(state: FleetState, spill: SpillFound, now: float, rules: Rules) -> FleetState:
    acts = rules.policy.on_spill == "downgrade" and _may_move(state, now)
    at_bottom = rules.ladder.below(state.current_model_index) is None
    outcome = "moving down" if acts and not at_bottom else "reported"
    label = rules.ladder[state.current_model_index].label
    state = state.with_event(now, EventKind.SPILL, model=label, share=spill.share, outcome=outcome)
    if not acts or at_bottom:
        return state
    return _downgrade(state, now, rules, f"only {spill.share:.0%} of it is in GPU memory")


def _tick(state: FleetState, now: float, rules: Rules) -> FleetState:
    state = caps.follow_clock(state, now, rules)
    state = recovery.reset_wait(recount(state, now, rules), now, rules)
    if _held(state, now):
        return state
    moving = caps.keep_below(state, now, rules)
    if moving is not None:
        return moving
    if state.recovery.next is None and (state.current_model_index > 0 or state.on_cpu):
        return recovery.postpone(state, now, rules)
    if not recovery.probe_due(state, now, rules):
        return state
    index = recovery.probe_target(state, rules)
    # Keep one switch in reserve for the way back from a failed probe, unless the limit is one an hour.
    if index is None or switch_phases.switches_left(state, now, rules) < min(
        2, rules.policy.max_switches_per_hour
    ):
        return recovery.postpone(state, now, rules)
    calm = f"{show_duration(rules.policy.recover_after)} without an incident"
    why = "the cap has ended" if recovery.may_come_back(state) else calm
    return switch_phases.begin(
        recovery.probe_begun(state, index),
        rules.ladder[index],
        SwitchKind.PROBE,
        now=now,
        why=why,
        rules=rules,
    )


def _switch_step(state: FleetState, fact: _StepFact, now: float, rules: Rules) -> FleetState:
    """Advance the switch under way; a fact that names another switch changes nothing."""
    switch = state.switch
    if switch is None or switch.number != fact.switch:
        return state
    match fact, switch.phase:
        case ModelPresent(), SwitchPhase.PULL:
            return switch_phases.model_present(state, switch, now, rules, was_stopped=fact.was_stopped)
        case PullFailed(), SwitchPhase.PULL:
            return _pull_failed(state, switch, fact, now, rules)
        case TrialEnded(), SwitchPhase.TRIAL:
            return _trial_ended(state, switch, fact, now, rules)
        case Restarted(), SwitchPhase.RESTART:
            return _restarted(state, switch, fact, now, rules)
        case RestartFailed(), SwitchPhase.RESTART:
            attempts = switch.attempts + 1
            state = replace(state, switch=replace(switch, attempts=attempts))
            # Restarts are retried without end: report the 1st, 2nd, 4th, 8th … attempt only.
            repeated = attempts & (attempts - 1)
            return state if repeated else state.with_event(now, EventKind.GENERATOR_DOWN, reason=fact.reason)
        case VerifyEnded(), SwitchPhase.VERIFY:
            return _unverified(state, fact.reason, now, rules)
        case _:
            return state


def _restarted(state: FleetState, switch: Switch, fact: Restarted, now: float, rules: Rules) -> FleetState:
    state = replace(state, restarting=False)
    if fact.stopped:
        return _unverified(state, "the generator is stopped", now, rules)
    state = replace(state, switch=replace(switch, phase=SwitchPhase.VERIFY, restarted=now))
    # A quick model may answer before its restart is reported, and its next call may take minutes.
    return switch_phases.done(state, now, rules, ANSWERED) if state.finished else state


def _pull_failed(state: FleetState, switch: Switch, fact: PullFailed, now: float, rules: Rules) -> FleetState:
    state = switch_phases.pull_failed(state, switch, fact, now, rules)
    if state.switch is not None:
        return state
    if switch.kind is SwitchKind.PROBE:
        # A deferred pull is no failed probe: the rung is tried again once its model is present.
        after = recovery.postpone if fact.deferred else partial(recovery.probe_failed, failed=switch.target)
        return after(state, now=now, rules=rules)
    if switch.by_hand:
        return state
    if state.current_model_index < state.cap:
        return _hold(
            state, now, f"{caps.why_capped(state, state.cap, rules)}, and none is here: {fact.reason}"
        )
    if threshold_reached(recount(state, now, rules), rules):
        return _hold(state, now, f"no smaller model is available: {fact.reason}")
    return replace(state, incidents=(), vram_error_count=0)


def _trial_ended(state: FleetState, switch: Switch, fact: TrialEnded, now: float, rules: Rules) -> FleetState:
    if fact.passed:
        switch = replace(switch, was_stopped=fact.was_stopped)
        return switch_phases.commit(replace(state, switch=switch), switch, now, rules)
    state = switch_phases.give_up(state.with_unload(now), now, rules, fact.reason)  # of the model that failed
    if switch.kind is SwitchKind.PROBE:
        return recovery.probe_failed(state, switch.target, now, rules)
    return state


def _unverified(state: FleetState, reason: str, now: float, rules: Rules) -> FleetState:
    """End a switch whose model has not answered yet; after a probe the next one has its full wait.

    Climbing on at once is for a model that has shown to work.
    """
    probe = state.switch is not None and state.switch.kind is SwitchKind.PROBE
    state = switch_phases.done(state, now, rules, f"unverified: {reason}")
    return recovery.postpone(state, now, rules) if probe else state
