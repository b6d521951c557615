"""What counts against a rung: incidents since the last switch, within the window or in a row."""

from dataclasses import replace
from typing import TYPE_CHECKING

from fleet.config.ladder import same_model
from fleet.policy.rules import Rules
from fleet.policy.state import FROM_ORIGINAL, Counted, FleetState, PastSwitch, Phase
from fleet.runtime.units import Seconds

if TYPE_CHECKING:
    from fleet.policy.facts import IncidentSeen

_KEPT = 200
"""More incidents than these are kept only where the threshold is higher still; the oldest go first."""

_KNOWN = 100
"""So many of the incidents that counted are known by their ids, also after a switch or a hold."""

_STAMP_ERROR: Seconds = 1.0
"""Lines without a stamp go by the last stamped one's, and some stamps are of whole seconds: a time may be too
early by as much, and an incident is from before a switch only where that does not explain it."""

_CALLS = 100
"""The share of failures is reckoned over about so many calls: older ones lose half their weight."""


def count(state: FleetState, now: float, rules: Rules) -> int:
    """Return the incidents that count now: within the window, edge included, or in a row.

    A row is what came since the last finished generation, however long ago. A count taken over from an
    original's file knows no row and stands until its window ends. Times later than now count as now.
    """
    edge = now - rules.policy.window
    in_window = sum(min(incident.time, now) >= edge for incident in state.incidents)
    in_row = sum(_in_row(incident, state) for incident in state.incidents)
    return max(in_window, in_row)


def _in_row(incident: Counted, state: FleetState) -> bool:
    if incident.cause == FROM_ORIGINAL:
        return False
    return state.last_finished is None or incident.time > state.last_finished


def recount(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state with the incidents that still matter, and the count that its readers see."""
    edge = now - rules.policy.window
    kept = [one for one in state.incidents if min(one.time, now) >= edge or _in_row(one, state)]
    most = max(_KEPT, rules.threshold(rules.ladder[state.current_model_index]))
    if len(kept[-most:]) < len(state.incidents):
        state = replace(state, incidents=tuple(kept[-most:]))
    number = count(state, now, rules)
    return state if number == state.vram_error_count else replace(state, vram_error_count=number)


def with_incident(state: FleetState, incident: "IncidentSeen", now: float, rules: Rules) -> FleetState:
    """Return the state in which an incident counts."""
    counted = Counted(min(incident.time, now), incident.cause, incident.id)
    ids = (*state.counted_ids, incident.id)[-_KNOWN:]
    return recount(replace(state, incidents=(*state.incidents, counted), counted_ids=ids), now, rules)


def with_call(state: FleetState, *, answered: bool) -> FleetState:
    """Return the state with one more call of the generator that was answered or failed."""
    finished, failed = state.finished + answered, state.failed + (not answered)
    if finished + failed > _CALLS:
        finished, failed = finished // 2, failed // 2
    return replace(state, finished=finished, failed=failed)


def why_not(state: FleetState, incident: "IncidentSeen", now: float, rules: Rules) -> str:
    """Return why an incident does not count against the current rung, empty if it does."""
    if not incident.counts:
        return incident.reason or "does not count"
    if incident.id and incident.id in state.counted_ids:
        return "counted already"
    if incident.model is None and state.switch is not None and state.switch.phase is Phase.TRIAL:
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
    """Tell the old model's last words by its name; a load that began since the switch is nobody's but ours.

    The same model may stand on both rungs, with other options: then only its load tells them apart.
    """
    fresh = incident.load_began is not None and incident.load_began >= last.time
    if incident.model is None:
        return "" if incident.kind == "hard" and fresh else "names no model, in the cool-down"
    if not same_model(incident.model, last.source):
        return ""
    new_too = same_model(incident.model, state.current_model)
    return "" if new_too and (fresh or incident.load_began is None) else "the old model's last words"


def enough(state: FleetState, rules: Rules) -> bool:
    """Tell whether the count reaches the rung's threshold, and enough of the generations failed."""
    rung = rules.ladder[state.current_model_index]
    if state.vram_error_count < rules.threshold(rung):
        return False
    share = rules.policy.min_fail_share
    calls = state.finished + state.failed
    return not share or not calls or state.failed / calls > share
