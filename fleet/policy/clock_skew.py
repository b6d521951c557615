"""Clocks step: a stored time that is later than it can be counts as now (pure).

Without this, a clock that was set back would keep a cool-down, a hold or a wait going until it has caught up,
and drop every failure of that time as one from before the last switch.
"""

from dataclasses import replace

from fleet.policy.facts import Fact, IncidentSeen
from fleet.policy.recovery import SPREAD
from fleet.policy.rules import Rules
from fleet.policy.state import HOLD_STEPS, FleetState, Hold, PastSwitch, Recovery, Switch


def no_later(state: FleetState, fact: Fact, now: float, rules: Rules) -> FleetState:
    """Return the state with none of its times later than `now`, and no wait longer than it is by rule.

    A switch that lies in the future did not come after the incident that is told now, whatever that one's
    stamp: nothing live is dropped by its time.
    """
    told = min(fact.time, now) if isinstance(fact, IncidentSeen) else now
    return replace(
        state,
        incidents=tuple(one if one.time <= now else replace(one, time=now) for one in state.incidents),
        last_finished=_earlier(state.last_finished, now),
        last_switch=_past(state.last_switch, now, told),
        automatic=tuple(min(time, now) for time in state.automatic),
        switch=_switch(state.switch, now),
        hold=_hold(state.hold, now),
        recovery=_recovery(state.recovery, now, rules),
    )


def _earlier(time: float | None, bound: float) -> float | None:
    return None if time is None else min(time, bound)


def _past(last: PastSwitch | None, now: float, told: float) -> PastSwitch | None:
    return last if last is None or last.time <= now else replace(last, time=told)


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
    return replace(hold, until=min(hold.until, now + HOLD_STEPS[min(hold.step, len(HOLD_STEPS) - 1)]))


def _recovery(recovery: Recovery, now: float, rules: Rules) -> Recovery:
    longest = (recovery.wait or rules.policy.recover_after) * (1 + SPREAD)
    return replace(
        recovery,
        next=_earlier(recovery.next, now + longest),
        probation=_earlier(recovery.probation, now + rules.policy.window),
    )
