"""The totals of events: counters in the state that only grow, updated in the write that stores the event (pure)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleet.policy.events import EventKind
from fleet.runtime.totals import increased, observed

if TYPE_CHECKING:
    from fleet.policy.events import Event

_RESULTS = {
    EventKind.SWITCH_DONE: "done",
    EventKind.SWITCH_FAILED: "failed",
    EventKind.SWITCH_SUPERSEDED: "superseded",
}


def with_event_counted(totals: Mapping[str, Any], event: "Event", began: float | None) -> Mapping[str, Any]:
    """Return the totals after an event; `began` is the time of the plan of the switch under way.

    `incidents` has the labels cause and model, which is empty where the incident names none. `switches` has kind and
    result. `switch_seconds` holds the durations of switches that were done.
    """
    fields = event.fields
    if event.kind is EventKind.INCIDENT:
        path = ("incidents", str(fields.get("cause", "")), str(fields.get("model") or ""))
        return increased(totals, path)
    result = _RESULTS.get(event.kind)
    if result is None:
        return totals
    totals = increased(totals, ("switches", str(fields.get("switch", "")), result))
    if event.kind is EventKind.SWITCH_DONE and began is not None:
        totals = observed(totals, "switch_seconds", event.time - began)
    return totals
