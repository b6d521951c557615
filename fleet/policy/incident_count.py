"""The incident count of the current rung: incidents since the last switch, within the window or in a row (pure)."""

from dataclasses import replace
from typing import TYPE_CHECKING

from fleet.config.ladder import same_model
from fleet.policy.rules import Rules
from fleet.policy.state import FROM_ORIGINAL, CountedIncident, FleetState, PastSwitch, SwitchPhase
from fleet.runtime.units import Seconds

if TYPE_CHECKING:
    from fleet.policy.facts import IncidentSeen

_MAX_INCIDENTS = 200
"""Limit of stored incidents, unless the threshold is higher; the oldest are dropped first."""

_MAX_IDS = 100
"""Limit of stored incident ids. They outlive a switch or a hold, so that no incident counts twice."""

_STAMP_ERROR: Seconds = 1.0
"""Largest error of an incident's time towards the past. Some stamps are whole seconds, and a line without a stamp takes
the previous one's. An incident counts as older than a switch only beyond this error."""

_CALLS = 100
"""Calls after which the counts of answered and failed calls are halved, so that recent calls weigh more."""


def count(state: FleetState, now: float, rules: Rules) -> int:
    """Return the number of incidents within the window, its edge included, or in a row if that is more.

    A row is every incident since the last finished generation, however old. Incidents from an original's file belong to
    no row and count until their window ends. Times later than now count as now.
    """
    edge = now - rules.policy.window
    in_window = sum(min(incident.time, now) >= edge for incident in state.incidents)
    in_row = sum(_in_row(incident, state) for incident in state.incidents)
    return max(in_window, in_row)


def _in_row(incident: CountedIncident, state: FleetState) -> bool:
    if incident.cause == FROM_ORIGINAL:
        return False
    return state.last_finished is None or incident.time > state.last_finished


def recount(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state without incidents that no longer count, and with `vram_error_count` up to date."""
    edge = now - rules.policy.window
    counting = [one for one in state.incidents if min(one.time, now) >= edge or _in_row(one, state)]
    limit = max(_MAX_INCIDENTS, rules.threshold(rules.ladder[state.current_model_index]))
    if len(counting[-limit:]) < len(state.incidents):
        state = replace(state, incidents=tuple(counting[-limit:]))
    number = count(state, now, rules)
    return state if number == state.vram_error_count else replace(state, vram_error_count=number)


def with_incident(state: FleetState, incident: "IncidentSeen", now: float, rules: Rules) -> FleetState:
    """Return the state with one more counted incident."""
    counted = CountedIncident(min(incident.time, now), incident.cause, incident.id)
    ids = (*state.counted_ids, incident.id)[-_MAX_IDS:]
    return recount(replace(state, incidents=(*state.incidents, counted), counted_ids=ids), now, rules)


def with_call(state: FleetState, *, answered: bool) -> FleetState:
    """Return the state with one more answered or failed call of the generator."""
    finished, failed = state.finished + answered, state.failed + (not answered)
    if finished + failed > _CALLS:
        finished, failed = finished // 2, failed // 2
    return replace(state, finished=finished, failed=failed)


def reason_not_counted(state: FleetState, incident: "IncidentSeen", now: float, rules: Rules) -> str:
    """Return why an incident does not count against the current rung, empty if it does."""
    if not incident.counts:
        return incident.reason or "does not count"
    if incident.id and incident.id in state.counted_ids:
        return "counted already"
    # During a trial a failure without a model may be the canary's, which TrialEnded reports.
    if incident.model is None and state.switch is not None and state.switch.phase is SwitchPhase.TRIAL:
        return "names no model, while another one is on trial"
    last = state.last_switch
    if last is None:
        return ""
    if incident.time < last.time - _STAMP_ERROR:
        return "from before the switch"
    if max(min(incident.time, now) - last.time, 0.0) >= rules.policy.cool_down:
        return ""
    return _in_cool_down(state, incident, last)


def _in_cool_down(state: FleetState, incident: "IncidentSeen", last: PastSwitch) -> str:
    """Return why an incident of the cool-down does not count, empty if it does.

    Failures of the model before the switch are recognised by its name. A load that began after the switch is the new
    model's. Where both rungs have the same model, only the start of the load distinguishes them.
    """
    fresh = incident.load_began is not None and incident.load_began >= last.time
    if incident.model is None:
        return "" if incident.kind == "hard" and fresh else "names no model, in the cool-down"
    if not same_model(incident.model, last.source):
        return ""
    both_rungs = same_model(incident.model, state.current_model)
    if both_rungs and (fresh or incident.load_began is None):
        return ""
    return "a late failure of the model before the switch"


def threshold_reached(state: FleetState, rules: Rules) -> bool:
    """Return True if the count reaches the rung's threshold and more than `min_fail_share` of the calls failed."""
    rung = rules.ladder[state.current_model_index]
    if state.vram_error_count < rules.threshold(rung):
        return False
    share = rules.policy.min_fail_share
    calls = state.finished + state.failed
    return not share or not calls or state.failed / calls > share
