"""The phases of a switch, and what leads from one to the next.

    pull ──here──▶ trial ──passed──▶ (commit) restart ──up──▶ verify ──answered──▶ done
      │              │                    │                     │
      │ failed       │ failed             │ failed              ├─ out of memory ─▶ once more, then down
      ▼              ▼                    ▼                     └─ no answer ─────▶ done, unverified
    next rung here,  the old model       again, with
    else given up    goes on             back-off

Only probes, `use` and `upgrade` are tried before they are committed. What is asked for last wins: a new
switch supersedes the one under way, from whatever rung that had committed.
"""

from dataclasses import replace

from fleet.config.ladder import Rung, same_model
from fleet.policy.events import EventKind
from fleet.policy.facts import Fetched, FetchFailed, Fetching, PullFailed
from fleet.policy.incident_count import recount
from fleet.policy.rules import VERIFY_RETRY, Rules
from fleet.policy.state import FleetState, PastSwitch, Phase, Recovery, Switch, SwitchKind
from fleet.runtime.units import Seconds

HOUR: Seconds = 3600.0
TRIED_FIRST = frozenset({SwitchKind.UPGRADE, SwitchKind.USE, SwitchKind.PROBE})


def begin(
    state: FleetState,
    target: Rung,
    kind: SwitchKind,
    *,
    now: float,
    why: str,
    by_hand: bool,
    rules: Rules,
    pin: bool = False,
    on_cpu: bool = False,
) -> FleetState:
    """Return the state with a switch to `target` under way, in place of any other."""
    if state.switch is not None:
        state = _superseded(state, now, rules, kind)
    state = replace(
        state,
        switch=Switch(
            number=state.events_told + 1,
            kind=kind,
            phase=Phase.PULL,
            source=state.current_model_index,
            target=target.index,
            since=now,
            why=why,
            by_hand=by_hand,
            pin=pin,
            on_cpu=on_cpu,
        ),
        hold=None,
    )
    return _tell(state, EventKind.SWITCH_PLANNED, now, rules)


def left(state: FleetState, now: float, rules: Rules) -> int:
    """Return how many automatic switches are left of those that an hour allows."""
    recent = sum(time > now - HOUR for time in state.automatic)
    return max(0, rules.policy.max_switches_per_hour - recent)


def _superseded(state: FleetState, now: float, rules: Rules, by: SwitchKind) -> FleetState:
    old = state.switch
    if old is None:
        return state
    to = rules.ladder[min(old.target, rules.ladder.last)].label
    kind = EventKind.SWITCH_SUPERSEDED
    state = state.tell(now, kind, switch=old.kind.value, to=to, by=by.value, planned=old.number)
    return replace(state, switch=None)


def _tell(state: FleetState, kind: EventKind, now: float, rules: Rules, **fields: object) -> FleetState:
    switch = state.switch
    if switch is None:
        return state
    ladder = rules.ladder
    return state.tell(
        now,
        kind,
        switch=switch.kind.value,
        **{"from": ladder[min(switch.source, ladder.last)].label, "to": ladder[switch.target].label},
        why=switch.why,
        by="operator" if switch.by_hand else "monitor",
        **fields,
    )


def model_here(
    state: FleetState, switch: Switch, now: float, rules: Rules, *, was_stopped: bool
) -> FleetState:
    """Go on from pull: to the trial where one is due, else commit."""
    switch = replace(switch, was_stopped=was_stopped)
    other = switch.target != state.current_model_index or switch.on_cpu != state.on_cpu
    if switch.kind in TRIED_FIRST and rules.policy.canary and other:
        return replace(state, switch=replace(switch, phase=Phase.TRIAL))
    return commit(replace(state, switch=switch), switch, now, rules)


def commit(state: FleetState, switch: Switch, now: float, rules: Rules) -> FleetState:
    """Stand on the target: new index, count 0, one switch more; the restart comes next."""
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
        switch=replace(switch, phase=Phase.RESTART, was_stopped=switch.was_stopped),
        recovery=_recovery(state, switch, now, rules),
    )
    state = _tell(state, EventKind.SWITCH_COMMITTED, now, rules, number_of_switch=state.switches)
    return state.tell(now, EventKind.PINNED, model=rung.label) if switch.pin else state


def _ceiling(state: FleetState, switch: Switch) -> int | None:
    """Return the ceiling: a downgrade or use by hand is a choice, upgrade and reset lift it."""
    if not switch.by_hand:
        return state.ceiling
    chosen = switch.kind in {SwitchKind.DOWNGRADE, SwitchKind.USE}
    return switch.target if chosen else None


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
    """End the switch: the new rung works, or as much of it as can be known."""
    return replace(_tell(state, EventKind.SWITCH_DONE, now, rules, result=result), switch=None)


def give_up(state: FleetState, now: float, rules: Rules, reason: str) -> FleetState:
    """End the switch without its aim: before its commit the old model goes on."""
    return replace(_tell(state, EventKind.SWITCH_FAILED, now, rules, reason=reason), switch=None)


def pull_failed(state: FleetState, switch: Switch, fact: PullFailed, now: float, rules: Rules) -> FleetState:
    """Take the next rung below whose model is here, for a downgrade; else give the switch up.

    A model that is passed over because it can wait is pulled behind the switch.
    """
    model = rules.ladder[switch.target].model
    if fact.behind:
        state = replace(state, behind=tuple(dict.fromkeys((*state.behind, model))))
    else:
        state = state.tell(now, EventKind.PULL_FAILED, model=model, reason=fact.reason)
    below = [index for index in fact.here if index > switch.target]
    if switch.by_hand or switch.kind is not SwitchKind.DOWNGRADE or not below:
        return give_up(state, now, rules, fact.reason)
    return replace(state, switch=replace(switch, target=min(below)))


def second_chance_at(state: FleetState) -> float | None:
    """Return when a new model that failed for lack of memory is to be asked once more, None if none is."""
    switch = state.switch
    if switch is None or switch.phase is not Phase.VERIFY or switch.failed_at is None:
        return None
    return switch.failed_at + VERIFY_RETRY


def verify_failed(state: FleetState, now: float, rules: Rules) -> tuple[FleetState, bool]:
    """Note that the new model failed for lack of memory; return whether it is to be given up.

    Memory of the old model may come back late, so that the first failure gets a second chance; a rung pinned
    or chosen by hand is only reported.
    """
    switch = state.switch
    if switch is None or switch.phase is not Phase.VERIFY:
        return state, False
    label = rules.ladder[switch.target].label
    if switch.failed_at is None:
        state = state.tell(now, EventKind.VERIFY_FAILED, model=label, next="it gets a second chance")
        return replace(state, switch=replace(switch, failures=1, failed_at=now)), False
    if now - switch.failed_at < VERIFY_RETRY:
        return state, False
    if switch.by_hand and switch.kind is not SwitchKind.RESET:
        state = state.tell(now, EventKind.VERIFY_FAILED, model=label, next="it was chosen by hand and stays")
        return done(state, now, rules, "it fails for lack of GPU memory"), False
    return recount(state, now, rules), True


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
    idle = state.switch is None and not state.pinned and left(state, now, rules) > 0
    if not same_model(failed.model, state.current_model) or not below or not idle:
        return state
    return begin(
        state,
        rules.ladder[min(below)],
        SwitchKind.DOWNGRADE,
        now=now,
        why=f"{failed.model} cannot be had",
        by_hand=False,
        rules=rules,
    )
