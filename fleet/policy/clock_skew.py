"""Clock skew: stored times later than the clock allows count as now (pure).

A clock that was set back would otherwise prolong a cool-down, a hold or a wait. Until the clock has caught up, every
failure would seem older than the last switch and would not count.
"""

from dataclasses import replace
from typing import TypeVar

from fleet.policy.facts import Fact, IncidentSeen
from fleet.policy.recovery import SPREAD, longest_wait, wait_of
from fleet.policy.rules import Rules
from fleet.policy.state import HOLD_STEPS, FleetState, OperatorPause
from fleet.runtime.backoff import backoff_step

_Part = TypeVar("_Part")


def clamp_times(state: FleetState, fact: Fact, now: float, rules: Rules) -> FleetState:
    """Return the state with no time later than `now` and no wait longer than the rules allow.

    A last switch in the future moves back to the time of the incident in `fact`, if there is one. Otherwise the
    incident, seen now, would count as older than the switch.
    """
    last, hold, recovery = state.last_switch, state.hold, state.recovery
    if last is not None and last.time > now:
        last = replace(last, time=min(fact.time, now) if isinstance(fact, IncidentSeen) else now)
    if hold is not None:
        hold = _clamped(hold, until=now + backoff_step(HOLD_STEPS, hold.step + 1))
    probe = now + wait_of(state, rules) * (1 + SPREAD)
    return replace(
        state,
        incidents=tuple(_clamped(one, time=now) for one in state.incidents),
        last_finished=None if state.last_finished is None else min(state.last_finished, now),
        last_switch=last,
        automatic=tuple(min(time, now) for time in state.automatic),
        switch=_clamped(state.switch, since=now, failed_at=now, restarted=now),
        hold=hold,
        recovery=_clamped(
            recovery, wait=longest_wait(rules), next=probe, probation=now + rules.policy.window
        ),
        pause=_pause(state.pause, now),
        hours=_clamped(state.hours, since=now),
        reserve=_clamped(state.reserve, since=now),
        unanswered=_clamped(state.unanswered, since=now, last=now),
    )


def _clamped(part: _Part, **latest: float) -> _Part:
    """Return a part of the state with each later time replaced by its bound; None stays None."""
    late = {name: bound for name, bound in latest.items() if (getattr(part, name, None) or 0.0) > bound}
    return replace(part, **late) if late else part  # type: ignore[type-var]  # the parts with times are dataclasses


def _pause(pause: OperatorPause | None, now: float) -> OperatorPause | None:
    """Return the pause, moved back as a whole if it began later than `now`: it keeps its length."""
    if pause is None or pause.since <= now:
        return pause
    until = None if pause.until is None else max(now, pause.until - (pause.since - now))
    return replace(pause, since=now, until=until)
