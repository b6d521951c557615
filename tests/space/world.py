"""The world of the search: the policy's state and the generator, in one form for all that have the same future.

Time is abstracted to what the policy can tell apart. Every timer may run out at any moment, in any order, and a clock
may be set back: so a world need not store that a timer has run out. A fact that reads a timer is tried with each
reading (`readings`). What holds here holds for every setting of the durations.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from fleet.policy.rules import VERIFY_RETRY, Rules
from fleet.policy.state import (
    FROM_ORIGINAL,
    CountedIncident,
    FleetState,
    Hold,
    OperatorPause,
    PastSwitch,
    Recovery,
    ReserveCap,
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
ANSWERED = 20.0
"""Seconds since the last answer."""
SETTLED = PastSwitch(SwitchKind.USE, "", "", NOW - 100_000.0, "")
"""The last commit of every world, whose cool-down is over; only incidents read it."""


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
    "unloads", "events", "last_event_number",
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

    During a restart of its own the fleet starts the generator, whether it finds it on another model or stopped. Once it
    runs, the restart is over.
    """
    runs = Runs.DOWN if world.state.restarting and world.runs is Runs.STALE else world.runs
    state = canonical(world.state, now, rules)
    over = runs is Runs.CURRENT and not _restarts(state)
    return World(replace(state, restarting=False) if state.restarting and over else state, runs)


def generators(world: World) -> tuple[World, ...]:
    """Return the worlds that a stored one stands for, by the generator.

    Outside a restart it runs, or a person has stopped it, or a restart that was superseded left it stopped.
    """
    if world.runs is not Runs.CURRENT or _restarts(world.state):
        return (world,)
    left = replace(world.state, restarting=True)
    return world, replace(world, runs=Runs.STOPPED), World(left, Runs.DOWN)


def folded(world: World) -> World:
    """Return the world that the search stores for this one."""
    if world.runs is Runs.STALE or _restarts(world.state):
        return world
    state = world.state
    return World(replace(state, restarting=False) if state.restarting else state, Runs.CURRENT)


def _restarts(state: FleetState) -> bool:
    return state.switch is not None and state.switch.phase is SwitchPhase.RESTART


def canonical(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the one state that stands for all that the policy cannot tell from this one."""
    switch, hold = state.switch, state.hold
    incidents, finished = _incidents(state, now, rules)
    return replace(
        state,
        timestamp=0.0,
        vram_error_count=len(incidents),
        switches=SWITCHES,
        incidents=incidents,
        counted_ids=(KNOWN,),
        last_finished=finished,
        finished=min(state.finished, 1) if _restarts(state) else 0,
        failed=0,
        switch=None if switch is None else _switch(switch, state),
        last_switch=SETTLED,
        automatic=(NOW - HOUR / 2,) * _automatic(state, now, rules),
        hold=None if hold is None or not hold.active(now) else Hold(NOW + SOON, 0, ""),
        recovery=_recovery(state.recovery, rules),
        pause=None
        if state.pause is None or not state.pause.active(now)
        else OperatorPause(NOW - 1, NOW + SOON, ""),
        hours=None if state.hours is None else replace(state.hours, since=NOW - 1),
        reserve=None
        if state.reserve is None or state.reserve.rung == 0
        else ReserveCap(state.reserve.rung, NOW - 1),
        ceiling=state.ceiling or None,
        behind=(),
        totals={},  # counted from the events, and read by no rule
        events=(),
        last_event_number=EVENTS,
    )


def _automatic(state: FleetState, now: float, rules: Rules) -> int:
    """Return the number of automatic switches within the hour; more than the limit, by caps, make no difference."""
    return min(rules.policy.max_switches_per_hour, sum(time > now - HOUR for time in state.automatic))


def _incidents(
    state: FleetState, now: float, rules: Rules
) -> tuple[tuple[CountedIncident, ...], float | None]:
    """Return the incidents and the time of the last answer.

    More incidents than the threshold make no difference. An incident after the last answer counts in the row, whether
    or not it has left the window. One before it, or from an original's file, counts within the window.
    """
    edge, last = now - rules.policy.window, state.last_finished
    most = rules.threshold(rules.ladder[state.current_model_index])
    row = within = 0
    for one in sorted(state.incidents, key=lambda one: one.time)[-most:]:
        if one.cause != FROM_ORIGINAL and (last is None or one.time > last):
            row += 1
        elif one.time >= edge:
            within += 1
    found = (CountedIncident(NOW - ANSWERED * 5 / 4, ""),) * within + (
        CountedIncident(NOW - ANSWERED / 2, ""),
    ) * row
    return found, NOW - ANSWERED if within else None


def _switch(switch: Switch, state: FleetState) -> Switch:
    """Return the switch without what its phase does not read any more, or will still overwrite."""
    committed = switch.phase in {SwitchPhase.RESTART, SwitchPhase.VERIFY}
    failed = switch.failed_at is not None
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
        failures=int(failed),
        failed_at=NOW - 1 if failed else None,
        restarted=None if switch.phase is not SwitchPhase.VERIFY else NOW - VERIFY_RETRY - 1,
    )


def _kind(switch: Switch, *, committed: bool) -> SwitchKind:
    """Return the kind as far as it is read: `upgrade` to the top is `use`, and a verify reads less of it."""
    if not committed:
        return SwitchKind.USE if switch.kind is SwitchKind.UPGRADE and not switch.target else switch.kind
    if switch.kind is SwitchKind.PROBE or (switch.by_hand and switch.kind is SwitchKind.RESET):
        return switch.kind
    return SwitchKind.USE if switch.by_hand else SwitchKind.DOWNGRADE


def _recovery(recovery: Recovery, rules: Rules) -> Recovery:
    """Return the recovery with its timers running and its first wait."""
    wait = rules.policy.recover_after
    probation = None if recovery.probation is None else NOW + SOON
    return replace(
        recovery, wait=wait, next=NOW + wait, failed=tuple(sorted(recovery.failed)), probation=probation
    )


def later(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Yield the worlds in which one more timer has run out that a world stores."""
    state = world.state
    if state.last_finished is not None:
        yield "an incident leaves the window", _changed(world, rules, incidents=state.incidents[1:])
    if state.automatic:
        yield "an automatic switch is an hour old", _changed(world, rules, automatic=state.automatic[1:])
    if state.hold is not None:
        yield "the hold ends", _changed(world, rules, hold=None)
    if state.pause is not None:
        yield "the pause ends", _changed(world, rules, pause=None)


def all_later(world: World, rules: Rules) -> World:
    """Return the world in which every timer has run out."""
    while (step := next(later(world, rules), None)) is not None:
        world = step[1]
    state = world.state
    recovery = replace(state.recovery, next=NOW - LATE, probation=_over(state.recovery.probation))
    return replace(world, state=replace(state, recovery=recovery))


def _over(timer: float | None) -> float | None:
    return None if timer is None else NOW - LATE


def _changed(world: World, rules: Rules, **changes: Any) -> World:
    return settled(World(replace(world.state, **changes), world.runs), NOW, rules)
