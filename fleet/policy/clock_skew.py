"""Clock skew: stored times later than the clock allows count as now (pure).

A clock that was set back would otherwise prolong a cool-down, a hold or a wait until it has caught up. Every failure
in that time would seem older than the last switch and would not count.
"""

from dataclasses import replace
from typing import TypeVar

from fleet.policy.facts import Fact, IncidentSeen
from fleet.policy.recovery import SPREAD
from fleet.policy.rules import Rules
from fleet.policy.state import (
    HOLD_STEPS,
    FleetState,
    Hold,
    HoursCap,
    OperatorPause,
    PastSwitch,
    Recovery,
    ReserveCap,
    Switch,
)
from fleet.runtime.backoff import backoff_step

_Cap = TypeVar("_Cap", HoursCap, ReserveCap)


def clamp_times(state: FleetState, fact: Fact, now: float, rules: Rules) -> FleetState:
    """Return the state with no time later than `now` and no wait longer than the rules allow.

    A last switch in the future moves back to the time of the incident in `fact`, if there is one: an incident seen
    now must not count as older than the switch because of its stamp.
    """
    switched = min(fact.time, now) if isinstance(fact, IncidentSeen) else now
    return replace(
        state,
        incidents=tuple(one if one.time <= now else replace(one, time=now) for one in state.incidents),
        last_finished=_earlier(state.last_finished, now),
        last_switch=_past(state.last_switch, now, switched),
        automatic=tuple(min(time, now) for time in state.automatic),
        switch=_switch(state.switch, now),
        hold=_hold(state.hold, now),
        recovery=_recovery(state.recovery, now, rules),
        pause=_pause(state.pause, now),
        hours=_begun(state.hours, now),
        reserve=_begun(state.reserve, now),
    )


def _earlier(time: float | None, bound: float) -> float | None:
    return None if time is None else min(time, bound)


def _past(last: PastSwitch | None, now: float, switched: float) -> PastSwitch | None:
    return last if last is None or last.time <= now else replace(last, time=switched)


def _switch(switch: Switch | None, now: float) -> Switch | None:
    if switch is None:
        return None
    return replace(
        switch,
        since=min(switch.since, now),
        failed_at=_earlier(switch.failed_at, now),
        restarted=_earlier(switch.restarted, now),
    )


def _hold(hold: Hold | None, now: float) -> Hold | None:
    if hold is None:
        return None
    return replace(hold, until=min(hold.until, now + backoff_step(HOLD_STEPS, hold.step + 1)))


def _pause(pause: OperatorPause | None, now: float) -> OperatorPause | None:
    """Return the pause, moved back as a whole if it began later than `now`: it keeps its length."""
    if pause is None or pause.since <= now:
        return pause
    until = None if pause.until is None else pause.until - (pause.since - now)
    return replace(pause, since=now, until=until)


def _begun(cap: _Cap | None, now: float) -> _Cap | None:
    return cap if cap is None or cap.since <= now else replace(cap, since=now)


def _recovery(recovery: Recovery, now: float, rules: Rules) -> Recovery:
    longest = (recovery.wait or rules.policy.recover_after) * (1 + SPREAD)
    return replace(
        recovery,
        next=_earlier(recovery.next, now + longest),
        probation=_earlier(recovery.probation, now + rules.policy.window),
    )
