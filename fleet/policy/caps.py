"""GPU time and memory left to others: pauses by hand, caps of `[[hours]]`, and `[policy] reserve` (pure).

A cap is the highest rung that may run; a cap without any rung pauses the fleet. While a pause is in force, no switch
begins by itself. A switch under way ends without loading a model. When a cap is raised, climbing begins at once.
"""

from dataclasses import replace

from fleet.policy import recovery, switch_phases
from fleet.policy.events import EventKind
from fleet.policy.facts import CardSeen, PauseAsked
from fleet.policy.hours import cap_in_force, forecast
from fleet.policy.rules import Rules
from fleet.policy.state import (
    FleetState,
    HoursCap,
    OperatorPause,
    PausedBy,
    ReserveCap,
    SwitchKind,
    SwitchPhase,
)
from fleet.runtime.errors import SwitchError

LOOKS = 3
"""Readings of the card in a row before the cap of the reserve follows: a short job causes no switch."""

_MARGIN = 1.1
"""Factor on the need of a rung above the cap, which keeps the fleet from moving to and fro."""

_PAUSED = "the fleet is paused"

_FREED = "freed"
"""Key in the state's `watch`: the beginnings of the pauses in force since the GPU was freed."""


# The clock


def follow_clock(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state at a time: a pause by hand may be over, and another cap of `[[hours]]` in force."""
    if state.pause is not None and not state.pause.active(now):
        state = _resumed(state, now, rules, "its time is over")
    state = _follow_hours(state, now, rules)
    # A pause that began during another one needs no unload of its own at the other's end.
    return state if must_free(state, now) else with_freed(state, now)


def _follow_hours(state: FleetState, now: float, rules: Rules) -> FleetState:
    before, after = state.hours, cap_in_force(rules.hours, state.hours, now)
    if after == before:
        return state
    state = replace(state, hours=after)
    if after is not None and before is not None and after.since == before.since:
        return state  # only its end has moved: the configuration or the clock was changed
    model, until = (None, None) if after is None else (after.model, after.until)
    state = state.with_event(now, EventKind.HOURS, model=model, until=until)
    return _cap_changed(state, _rank(after, rules) < _rank(before, rules), now, rules)


def _rank(cap: HoursCap | ReserveCap | None, rules: Rules) -> int:
    """Return the rung of a cap as a number, beyond the ladder for a cap without any rung."""
    if cap is None:
        return 0
    return len(rules.ladder) if cap.rung is None else cap.rung


def _cap_changed(state: FleetState, raised: bool, now: float, rules: Rules) -> FleetState:
    """Return the state after a change of a cap. A raised cap ends the back-off of climbing, a lower cap ends a hold."""
    if not raised:
        return replace(state, hold=None)  # a hold would delay the move down
    # A rung on probation stays on it, and keeps its way home.
    climbs = replace(state.recovery, wait=rules.policy.recover_after, next=now, failed=())
    return replace(state, recovery=climbs)


def next_change(state: FleetState, now: float, rules: Rules) -> float | None:
    """Return when a pause by hand ends or the cap of `[[hours]]` changes, whichever is first; None for neither."""
    ends = (None if state.pause is None else state.pause.until, forecast(rules.hours, now).until)
    return min((end for end in ends if end is not None), default=None)


# By hand


def on_pause(state: FleetState, asked: PauseAsked, now: float) -> FleetState:
    """Return the state with a pause by hand; it replaces an earlier one."""
    since = state.pause.since if state.pause is not None and state.pause.active(now) else now
    state = replace(state, pause=OperatorPause(since, asked.until, asked.why)).with_unload(now)
    return state.with_event(now, EventKind.PAUSED, until=asked.until, why=asked.why)


def on_resume(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state without the pause by hand; raise SwitchError if only another pause is in force."""
    if state.pause is not None:
        return _resumed(state, now, rules, "resumed by hand")
    other = state.paused(now)
    if other is None:
        return state
    hint = {
        PausedBy.HOURS: "Edit [[hours]] in fleet.toml and restart the monitor to end it earlier.",
        PausedBy.RESERVE: "It ends when others free GPU memory; reserve in [policy] of fleet.toml says how much.",
    }
    raise SwitchError(f"there is no pause by hand, but {other.why}", hint=hint.get(other.by, ""))


def _resumed(state: FleetState, now: float, rules: Rules, why: str) -> FleetState:
    state = replace(state, pause=None).with_event(now, EventKind.RESUMED, why=why)
    return recovery.postpone(state, now, rules)


# The card


def on_card(state: FleetState, seen: CardSeen, now: float, rules: Rules) -> FleetState:
    """Return the state after a reading of the card. The third reading in a row that asks for another rung sets the cap.

    Readings during a switch are ignored: memory moves between two models.
    """
    if not rules.policy.reserve:
        return without_reserve(state, now, rules)
    if state.switch is not None:
        return state
    before = state.reserve or ReserveCap()
    wanted = _highest_that_leaves(state, seen, rules)
    difference = _rank(ReserveCap(wanted), rules) - _rank(before, rules)
    if not difference:
        return _with_reserve(state, replace(before, looks=0))
    step = 1 if difference > 0 else -1
    looks = before.looks + step if before.looks * step > 0 else step
    if abs(looks) < LOOKS:
        return _with_reserve(state, replace(before, looks=looks))
    model = None if wanted is None or seen.available is None else rules.ladder[wanted].label
    state = _with_reserve(state, ReserveCap(wanted, now))
    state = state.with_event(now, EventKind.RESERVE, model=model, lower=difference > 0)
    return _cap_changed(state, raised=difference < 0, now=now, rules=rules)


def without_reserve(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state without the cap of the reserve, for a configuration without a reserve."""
    if state.reserve is None:
        return state
    capped = state.reserve.rung != 0
    state = replace(state, reserve=None)
    return _cap_changed(state, raised=True, now=now, rules=rules) if capped else state


def _with_reserve(state: FleetState, cap: ReserveCap) -> FleetState:
    """Return the state with a cap; one that caps and counts nothing is left out."""
    return replace(state, reserve=None if cap.rung == 0 and not cap.looks else cap)


def _highest_that_leaves(state: FleetState, seen: CardSeen, rules: Rules) -> int | None:
    """Return the highest rung that leaves the reserve free, None if there is none.

    Return the top if the card is not readable. If the current rung leaves the reserve free, it and the rungs above are
    candidates; else the rungs below. A rung above the cap needs a margin. A loaded current model counts with the memory
    that it has; another rung with its known need.
    """
    current, barred, available = state.current_model_index, _rank(state.reserve, rules), seen.available
    if available is None:
        return 0

    def leaves(index: int) -> bool:
        need = rules.size(index) if rules.need(index) is None else rules.need(index)
        if index == current:
            need = 0 if state.on_cpu else seen.loaded or need
        factor = _MARGIN if index < barred else 1.0
        return need is None or need * factor <= available

    order = range(current + 1) if leaves(current) else range(current + 1, len(rules.ladder))
    return next((index for index in order if leaves(index)), None)


# Consequences of the caps


def keep_below(state: FleetState, now: float, rules: Rules) -> FleetState | None:
    """Return the state with a move to the cap begun; None if the fleet is not above it. A pin does not prevent it.

    A move to a cap that ends before the commit is dropped: it has lost its reason.
    """
    cap, switch = state.cap, state.switch
    if state.current_model_index >= cap:
        if switch is None:
            return None
        to_ended = state.displaced is not None and state.current_model_index <= state.displaced
        drops = to_ended or switch.target < cap
        return switch_phases.supersede(state, now, rules, by="cap") if drops else None
    if switch is not None and switch.target >= cap:
        return None
    home = (
        state.current_model_index
        if state.displaced is None
        else min(state.displaced, state.current_model_index)
    )
    moving = switch_phases.begin(
        state,
        rules.ladder[cap],
        SwitchKind.DOWNGRADE,
        now=now,
        why=why_capped(state, cap, rules),
        rules=rules,
    )
    return replace(moving, displaced=home)


def why_capped(state: FleetState, rung: int, rules: Rules) -> str:
    """Return which cap allows nothing above a rung."""
    if state.hours is not None and state.hours.rung == rung:
        return f"[[hours]] allow no model above {rules.ladder[rung].label} now"
    return f"no model above {rules.ladder[rung].label} leaves the reserve of GPU memory free"


def stand_still(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state with its switch ended or committed, if a pause is in force: a pause loads no model.

    A switch by hand changes the rung without its trial. One that began by itself is dropped before its commit.
    """
    switch = state.switch
    if switch is None or state.paused(now) is None:
        return state
    match switch.phase:
        case SwitchPhase.VERIFY:
            return switch_phases.done(state, now, rules, f"unverified: {_PAUSED}")
        case SwitchPhase.PULL | SwitchPhase.TRIAL if not switch.by_hand:
            return switch_phases.supersede(state, now, rules, by="pause")
        case SwitchPhase.TRIAL:
            return switch_phases.commit(state, switch, now, rules)
        case _:
            return state


def must_free(state: FleetState, now: float) -> bool:
    """Return True if a pause is in force and the GPU has not been freed yet: pauses that overlap are one."""
    paused, freed = state.pauses(now), state.watch.get(_FREED)
    return bool(paused) and not (isinstance(freed, list) and any(one.since in freed for one in paused))


def with_freed(state: FleetState, now: float) -> FleetState:
    """Return the state with a note that the GPU was freed for the pauses in force."""
    begun = [pause.since for pause in state.pauses(now)]
    return replace(state, watch={**state.watch, _FREED: begun}) if begun else state
