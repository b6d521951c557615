"""The world of the search: the policy's state and the generator, in one form for all that the policy cannot tell apart.

Time is abstracted to what the policy can tell apart: a timer runs or has run out, an incident lies within the window or
not, before the last answer or after it. Every timer may run out at any moment, in any order. What holds here holds for
every setting of the durations.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from fleet.config.ladder import same_model
from fleet.policy.rules import VERIFY_RETRY, Rules
from fleet.policy.state import (
    FROM_ORIGINAL,
    CountedIncident,
    FleetState,
    Hold,
    OperatorPause,
    PastSwitch,
    Recovery,
    Switch,
    SwitchKind,
    SwitchPhase,
)
from fleet.policy.switch_phases import HOUR

NOW = 1_800_000_000.0
"""The present of every world."""
SWITCHES, SWITCH, STALE_SWITCH, EVENTS = 5, 40, 39, 50
"""Number of the last commit, of the switch under way, of an earlier switch, and of the last event."""
OTHER = "other:1b"
"""A model that is not the current one."""
KNOWN, NEW = "known", "new"
"""Ids of an incident that is counted already and of another one."""
SOON, LATE = 30.0, 30.0
SWITCHED = 29.0
"""Seconds since a commit whose cool-down runs; less than every cool-down but 0."""
ANSWERED = 20.0
"""Seconds since the last answer."""
LONG_AGO = 100_000.0


class Runs(StrEnum):
    """The generator: on the current model, on another, stopped by a restart that was cut, or stopped by a person."""

    CURRENT = "current"
    STALE = "stale"
    DOWN = "down"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class World:
    """The state file and the generator."""

    state: FleetState
    runs: Runs = Runs.CURRENT

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what distinguishes this world from others; worlds of one key have one future."""
        state = self.state
        return (self.runs, *[getattr(state, name) for name in _KEY])


_NOT_IN_KEY = {
    "timestamp", "cursors", "open", "watch", "extra", "current_options", "model_size_bytes", "ladder_hash", "totals",
    "events", "last_event_number",
}  # fmt: skip
"""What the policy does not read, or what follows from the rung."""
_KEY = tuple(part.name for part in fields(FleetState) if part.name not in _NOT_IN_KEY)


def start(rules: Rules, index: int = 0) -> World:
    """Return the world of a new fleet."""
    state = FleetState(index, 0, "", 0.0).on_rung(rules.ladder[index])
    return settled(World(state), NOW, rules)


def starts(rules: Rules) -> tuple[World, ...]:
    """Return the worlds that a fleet begins with: a new state, and a file of the original with one incident."""
    state = start(rules).state
    old = replace(state, incidents=(CountedIncident(NOW, FROM_ORIGINAL),), vram_error_count=1)
    return start(rules), settled(World(old), NOW, rules)


def settled(world: World, now: float, rules: Rules) -> World:
    """Return the one world that stands for all that have the same future as this one.

    During a restart of its own the fleet starts the generator, whether it finds it on another model or stopped.
    """
    runs = Runs.DOWN if world.state.restarting and world.runs is Runs.STALE else world.runs
    return World(canonical(world.state, now, rules), runs)


def canonical(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the one state that stands for all that the policy cannot tell from this one."""
    switch, hold = state.switch, state.hold
    incidents, finished = _incidents(state, now, rules)
    answered, failed = _calls(state, rules)
    return replace(
        state,
        timestamp=0.0,
        vram_error_count=len(incidents),
        switches=SWITCHES,
        incidents=incidents,
        counted_ids=(KNOWN,),
        last_finished=finished,
        finished=answered,
        failed=failed,
        switch=None if switch is None else _switch(switch, state, now),
        last_switch=_last_switch(state, now, rules),
        automatic=(NOW - HOUR / 2,) * sum(time > now - HOUR for time in state.automatic),
        hold=None if hold is None or not hold.active(now) else Hold(NOW + SOON, 0, ""),
        recovery=_recovery(state, now, rules),
        pause=_pause(state.pause, now),
        ceiling=state.ceiling or None,
        behind=(),
        totals={},  # counted from the events, and read by no rule
        events=(),
        last_event_number=EVENTS,
    )


def _incidents(
    state: FleetState, now: float, rules: Rules
) -> tuple[tuple[CountedIncident, ...], float | None]:
    """Return the incidents and the time of the last answer.

    More incidents than the threshold make no difference. Of an incident the policy sees whether it lies within the
    window and whether it is later than the last answer. That answer matters only if an incident is earlier.
    """
    edge, last = now - rules.policy.window, state.last_finished
    most = rules.threshold(rules.ladder[state.current_model_index])
    found, answered = [], False
    for one in sorted(state.incidents, key=lambda one: one.time)[-most:]:
        original = FROM_ORIGINAL if one.cause == FROM_ORIGINAL else ""
        row = not original and (last is None or one.time > last)
        if one.time >= edge:
            ago = ANSWERED / 2 if row or original else ANSWERED * 5 / 4
            found.append(CountedIncident(NOW - ago, original))
            answered |= not row and not original
        elif row:
            found.append(CountedIncident(NOW - rules.policy.window - LATE, original))
    found.sort(key=lambda one: one.time)
    return tuple(found), NOW - ANSWERED if answered else None


def _calls(state: FleetState, rules: Rules) -> tuple[int, int]:
    """Return the counts of calls: their share matters with `min_fail_share`, else an answer before the restart's fact."""
    if rules.policy.min_fail_share:
        return min(state.finished, 2), min(state.failed, 2)
    restarts = state.switch is not None and state.switch.phase is SwitchPhase.RESTART
    return min(state.finished, 1) if restarts else 0, 0


def _switch(switch: Switch, state: FleetState, now: float) -> Switch:
    """Return the switch without what its phase does not read any more, or will still overwrite."""
    committed = switch.phase in {SwitchPhase.RESTART, SwitchPhase.VERIFY}
    failed = switch.failed_at
    ago = 1.0 if failed is not None and now - failed < VERIFY_RETRY else VERIFY_RETRY
    return Switch(
        number=SWITCH,
        kind=_kind(switch, committed=committed),
        phase=switch.phase,
        source=switch.target if committed else switch.source,
        target=switch.target,
        since=NOW - 1,
        why="",
        by_hand=switch.by_hand,
        pin=switch.pin and not committed,
        on_cpu=switch.on_cpu,
        was_stopped=switch.was_stopped and switch.phase is SwitchPhase.RESTART,
        failures=int(failed is not None),
        failed_at=None if failed is None else NOW - ago,
        restarted=None if switch.phase is not SwitchPhase.VERIFY else NOW - VERIFY_RETRY - 1,
    )


def _kind(switch: Switch, *, committed: bool) -> SwitchKind:
    """Return the kind as far as it is read: `upgrade` to the top is `use`, and a verify reads less of it."""
    if not committed:
        return SwitchKind.USE if switch.kind is SwitchKind.UPGRADE and not switch.target else switch.kind
    if switch.kind is SwitchKind.PROBE or (switch.by_hand and switch.kind is SwitchKind.RESET):
        return switch.kind
    return SwitchKind.USE if switch.by_hand else SwitchKind.DOWNGRADE


def _last_switch(state: FleetState, now: float, rules: Rules) -> PastSwitch:
    """Return the last commit: its time as far as the cool-down needs it, and whether it came from the same model."""
    last = state.last_switch
    if last is None or max(now - last.time, 0.0) >= rules.policy.cool_down:
        return PastSwitch(SwitchKind.USE, "", "", NOW - LONG_AGO, "")
    source = last.source if same_model(last.source, state.current_model) else OTHER
    return PastSwitch(SwitchKind.USE, source, "", NOW - SWITCHED, "")


def _pause(pause: OperatorPause | None, now: float) -> OperatorPause | None:
    if pause is None or not pause.active(now):
        return None
    return OperatorPause(NOW - 1, None if pause.until is None else NOW + SOON, "")


def _recovery(state: FleetState, now: float, rules: Rules) -> Recovery:
    """Return the recovery; the next probe's time is read only where there is something to climb to.

    No time at all is one that a tick will set.
    """
    policy, recovery = rules.policy, state.recovery
    climbs = state.current_model_index > 0 or state.on_cpu
    base = not recovery.wait or recovery.wait <= policy.recover_after
    wait = policy.recover_after if base else max(policy.recover_cap, policy.recover_after)
    due = climbs and recovery.next is not None and recovery.next <= now
    following = NOW - LATE if due else NOW + wait
    probation = recovery.probation
    if probation is not None:
        probation = NOW + SOON if now < probation else NOW - LATE
    return replace(
        recovery, wait=wait, next=following, failed=tuple(sorted(recovery.failed)), probation=probation
    )


def later(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Yield the worlds in which one more timer has run out."""
    state = world.state
    recovery, switch, last = state.recovery, state.switch, state.last_switch
    window = rules.policy.window
    within = [one for one in state.incidents if one.time >= NOW - window]
    if within:
        yield (
            "an incident leaves the window",
            _changed(world, rules, incidents=_aged(state, within[0], window)),
        )
    if state.automatic:
        yield "an automatic switch is an hour old", _changed(world, rules, automatic=state.automatic[1:])
    if last is not None and NOW - last.time < rules.policy.cool_down:
        past = replace(last, time=NOW - LONG_AGO)
        yield "the cool-down ends", _changed(world, rules, last_switch=past)
    if state.hold is not None and state.hold.active(NOW):
        yield "the hold ends", _changed(world, rules, hold=replace(state.hold, until=NOW))
    climbs = state.current_model_index > 0 or state.on_cpu
    if climbs and recovery.next is not None and recovery.next > NOW:
        yield "the wait ends", _changed(world, rules, recovery=replace(recovery, next=NOW))
    if state.pause is not None and state.pause.until is not None:
        yield "the pause ends", _changed(world, rules, pause=None)
    if recovery.probation is not None and recovery.probation > NOW:
        yield "the probation ends", _changed(world, rules, recovery=replace(recovery, probation=NOW))
    if switch is not None and switch.failed_at is not None and NOW - switch.failed_at < VERIFY_RETRY:
        older = replace(switch, failed_at=NOW - VERIFY_RETRY)
        yield "the second chance is due", _changed(world, rules, switch=older)


def all_later(world: World, rules: Rules) -> World:
    """Return the world in which every timer has run out."""
    while (step := next(later(world, rules), None)) is not None:
        world = step[1]
    return world


def _aged(state: FleetState, oldest: CountedIncident, window: float) -> tuple[CountedIncident, ...]:
    """Return the incidents after the oldest one within the window has left it; only one of a row counts on."""
    row = oldest.cause != FROM_ORIGINAL and (state.last_finished is None or oldest.time > state.last_finished)
    older = [replace(oldest, time=NOW - window - LATE)] if row else []
    return tuple(older + [one for one in state.incidents if one is not oldest])


def _changed(world: World, rules: Rules, **changes: Any) -> World:
    return settled(World(replace(world.state, **changes), world.runs), NOW, rules)
