"""The phases of a switch, and the facts that lead from one to the next (pure).

    pull ─present─▶ trial ──passed──▶ (commit) restart ──up──▶ verify ──answered──▶ done
      │              │                    │                     │
      │ failed       │ failed             │ failed              ├─ out of memory ─▶ one retry, then downgrade
      ▼              ▼                    ▼                     └─ no answer ─────▶ done, unverified
    next rung that   the old model       retry with
    is present,      stays               back-off
    else give up

Only probes, `use` and `upgrade` have a trial before their commit. The latest request wins: a new switch supersedes the
one under way and starts from the rung committed by then.
"""

from dataclasses import replace

from fleet.config.ladder import Rung, same_model
from fleet.policy.events import EventKind
from fleet.policy.facts import PrefetchDone, PrefetchFailed, PrefetchStarted, PullFailed
from fleet.policy.incident_count import recount
from fleet.policy.rules import VERIFY_RETRY, Rules
from fleet.policy.state import FleetState, PastSwitch, Recovery, Switch, SwitchKind, SwitchPhase
from fleet.runtime.units import Seconds

HOUR: Seconds = 3600.0
WITH_TRIAL = frozenset({SwitchKind.UPGRADE, SwitchKind.USE, SwitchKind.PROBE})


def begin(
    state: FleetState,
    target: Rung,
    kind: SwitchKind,
    *,
    now: float,
    why: str,
    rules: Rules,
    by_hand: bool = False,
    pin: bool = False,
    on_cpu: bool = False,
) -> FleetState:
    """Return the state with a switch to `target` under way, an automatic one unless `by_hand`; it supersedes any other."""
    if state.switch is not None:
        state = supersede(state, now, rules, by=kind.value)
    state = replace(
        state,
        switch=Switch(
            number=state.last_event_number + 1,
            kind=kind,
            phase=SwitchPhase.PULL,
            source=state.current_model_index,
            target=target.index,
            since=now,
            why=why,
            by_hand=by_hand,
            pin=pin,
            on_cpu=on_cpu,
        ),
        hold=state.hold if kind is SwitchKind.PROBE else None,  # kept until a call is answered
    )
    return _emit(state, EventKind.SWITCH_PLANNED, now, rules)


def switches_left(state: FleetState, now: float, rules: Rules) -> int:
    """Return how many more automatic switches are allowed within this hour."""
    recent = sum(time > now - HOUR for time in state.automatic)
    return max(0, rules.policy.max_switches_per_hour - recent)


def supersede(state: FleetState, now: float, rules: Rules, *, by: str) -> FleetState:
    """Return the state without its switch; `by` names its replacement."""
    old = state.switch
    if old is None:
        return state
    to = rules.ladder[min(old.target, rules.ladder.last)].label
    kind = EventKind.SWITCH_SUPERSEDED
    return _without_switch(
        state.with_event(now, kind, switch=old.kind.value, to=to, by=by, planned=old.number)
    )


def _without_switch(state: FleetState) -> FleetState:
    """Return the state without its switch.

    If the move to a cap was never committed, the rung to return to is dropped too.
    """
    home = state.displaced
    stayed = home is not None and state.current_model_index <= home
    return replace(state, switch=None, displaced=None if stayed else home)


def _emit(state: FleetState, kind: EventKind, now: float, rules: Rules, **fields: object) -> FleetState:
    switch = state.switch
    if switch is None:
        return state
    ladder = rules.ladder
    return state.with_event(
        now,
        kind,
        switch=switch.kind.value,
        **{"from": ladder[min(switch.source, ladder.last)].label, "to": ladder[switch.target].label},
        why=switch.why,
        by="operator" if switch.by_hand else "monitor",
        **fields,
    )


def model_present(
    state: FleetState, switch: Switch, now: float, rules: Rules, *, was_stopped: bool
) -> FleetState:
    """Return the state after the pull: in the trial where one is due, else committed."""
    switch = replace(switch, was_stopped=was_stopped)
    other = switch.target != state.current_model_index or switch.on_cpu != state.on_cpu
    if switch.kind in WITH_TRIAL and rules.policy.canary and other:
        return replace(state, switch=replace(switch, phase=SwitchPhase.TRIAL))
    return commit(replace(state, switch=switch), switch, now, rules)


def commit(state: FleetState, switch: Switch, now: float, rules: Rules) -> FleetState:
    """Return the state on the target's rung, with count 0 and one more switch; the restart is next."""
    rung = rules.ladder[switch.target]
    past = PastSwitch(switch.kind, state.current_model, rung.model, now, switch.why, switch.by_hand)
    automatic = [time for time in state.automatic if time > now - HOUR]
    state = replace(
        state.on_rung(rung, on_cpu=switch.on_cpu),
        switches=state.switches + 1,
        incidents=(),
        vram_error_count=0,
        last_finished=None,
        finished=0,
        failed=0,
        model_size_bytes=rules.size(rung.index),
        last_switch=past,
        automatic=tuple(automatic if switch.by_hand else [*automatic, now]),
        pinned=switch.pin or (state.pinned and not switch.by_hand),
        ceiling=_ceiling(state, switch),
        displaced=_displaced(state, switch),
        switch=replace(switch, phase=SwitchPhase.RESTART),
        restarting=not switch.was_stopped,
        recovery=_recovery(state, switch, now, rules),
    )
    state = _emit(state, EventKind.SWITCH_COMMITTED, now, rules, number_of_switch=state.switches)
    return state.with_event(now, EventKind.PINNED, model=rung.label) if switch.pin else state


def _ceiling(state: FleetState, switch: Switch) -> int | None:
    """Return the ceiling: set by a downgrade or `use` by hand, removed by an upgrade or reset by hand."""
    if not switch.by_hand:
        return state.ceiling
    chosen = switch.kind in {SwitchKind.DOWNGRADE, SwitchKind.USE}
    return switch.target if chosen else None


def _displaced(state: FleetState, switch: Switch) -> int | None:
    """Return the rung from which a cap moved the fleet, None after the way back or a switch by hand."""
    back = state.displaced is not None and switch.target <= state.displaced
    return None if switch.by_hand or back else state.displaced


def _recovery(state: FleetState, switch: Switch, now: float, rules: Rules) -> Recovery:
    wait = state.recovery.wait or rules.policy.recover_after
    if switch.by_hand:
        return Recovery(rules.policy.recover_after, now + rules.policy.recover_after)
    if switch.kind is SwitchKind.PROBE:
        survived = now + rules.policy.window
        following = now + min(wait, rules.policy.cool_down)
        return Recovery(wait, following, state.recovery.failed, survived, switch.source, state.on_cpu)
    return Recovery(wait, max(state.recovery.next or 0.0, now + wait), state.recovery.failed)


def done(state: FleetState, now: float, rules: Rules, result: str) -> FleetState:
    """Return the state with the switch ended on the new rung; `result` says how far the rung is verified."""
    return replace(_emit(state, EventKind.SWITCH_DONE, now, rules, result=result), switch=None)


def give_up(state: FleetState, now: float, rules: Rules, reason: str) -> FleetState:
    """Return the state with the switch failed; before its commit the old model stays."""
    return _without_switch(_emit(state, EventKind.SWITCH_FAILED, now, rules, reason=reason))


def pull_failed(state: FleetState, switch: Switch, fact: PullFailed, now: float, rules: Rules) -> FleetState:
    """Return the state with a downgrade redirected to the next rung below with a present model, else given up.

    The model of a deferred pull is pulled in the background, after the switch.
    """
    model = rules.ladder[switch.target].model
    if fact.deferred:
        state = replace(state, behind=tuple(dict.fromkeys((*state.behind, model))))
    else:
        state = state.with_event(now, EventKind.PULL_FAILED, model=model, reason=fact.reason)
    below = [index for index in fact.present if index > switch.target]
    if switch.by_hand or switch.kind is not SwitchKind.DOWNGRADE or not below:
        return give_up(state, now, rules, fact.reason)
    return replace(state, switch=replace(switch, target=min(below)))


def second_chance_at(state: FleetState) -> float | None:
    """Return the time (Unix seconds) of the new model's second chance, None if none is due."""
    switch = state.switch
    if switch is None or switch.phase is not SwitchPhase.VERIFY or switch.failed_at is None:
        return None
    return switch.failed_at + VERIFY_RETRY


def verify_failed(state: FleetState, now: float, rules: Rules) -> tuple[FleetState, bool]:
    """Record a memory failure of the new model. Return the state, and True if the model has to be given up.

    The old model's memory may be freed late, and so the first failure gets a second chance. A rung pinned or chosen by
    hand stays; its failure is only reported. A fleet may verify its pinned rung when it returns from a cap.
    """
    switch = state.switch
    if switch is None or switch.phase is not SwitchPhase.VERIFY:
        return state, False
    label = rules.ladder[switch.target].label
    if switch.failed_at is None:
        state = state.with_event(now, EventKind.VERIFY_FAILED, model=label, next="one retry follows")
        return replace(state, switch=replace(switch, failures=1, failed_at=now)), False
    if now - switch.failed_at < VERIFY_RETRY:
        return state, False  # another report of the first failure
    chosen = switch.by_hand and switch.kind is not SwitchKind.RESET
    if chosen or state.pinned:
        why = "chosen by hand" if chosen else "pinned"
        state = state.with_event(now, EventKind.VERIFY_FAILED, model=label, next=f"it was {why} and stays")
        return done(state, now, rules, "unverified: it failed for lack of GPU memory"), False
    return recount(state, now, rules), True


def on_prefetch(
    state: FleetState, fact: PrefetchStarted | PrefetchDone | PrefetchFailed, now: float, rules: Rules
) -> FleetState:
    """Return the state after a background pull began, finished or failed."""
    match fact:
        case PrefetchStarted():
            return state.with_event(now, EventKind.PULL_STARTED, model=fact.model, why=fact.why)
        case PrefetchDone():
            behind = tuple(model for model in state.behind if not same_model(model, fact.model))
            awaited = len(behind) < len(state.behind)
            state = replace(state, behind=behind).with_event(now, EventKind.PULL_DONE, model=fact.model)
            # A switch wanted this model: try it now and not after the wait, which failures may have doubled.
            return replace(state, recovery=replace(state.recovery, next=now)) if awaited else state
        case PrefetchFailed():
            return _prefetch_failed(state, fact, now, rules)


def _prefetch_failed(state: FleetState, failed: PrefetchFailed, now: float, rules: Rules) -> FleetState:
    """Report a failed pull; if it was the current model's, begin a downgrade to the next present one."""
    state = state.with_event(now, EventKind.PULL_FAILED, model=failed.model, reason=failed.reason)
    below = [index for index in failed.present if index > state.current_model_index]
    idle = state.switch is None and not state.pinned and switches_left(state, now, rules) > 0
    idle = idle and state.paused(now) is None
    if not same_model(failed.model, state.current_model) or not below or not idle:
        return state
    return begin(
        state,
        rules.ladder[min(below)],
        SwitchKind.DOWNGRADE,
        now=now,
        why=f"{failed.model} cannot be pulled",
        rules=rules,
    )
