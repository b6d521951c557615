"""The sources that the monitor follows, as far as it has got with each, and what the state says of a log away."""

from dataclasses import dataclass, field, replace

from fleet.events import EventKind
from fleet.model import FleetState
from monitor.pump import Pump
from monitor.sources.base import Away, Batch, Cursor


@dataclass(slots=True)
class Stream:
    """One source that is followed: its pump, and the cursor that the state has of it."""

    pump: Pump
    committed: Cursor | None
    away: Away | None = None
    told: bool = True


@dataclass(slots=True)
class Pending:
    """Batches that wait to be written: lines in order, and the cursor after them."""

    batches: list[Batch] = field(default_factory=list)

    @property
    def cursor(self) -> Cursor:
        """Return where to go on once they are handled."""
        return self.batches[-1].cursor


def source_noted(state: FleetState, name: str, away: Away | None, now: float) -> FleetState:
    """Return a state that says whether the log is away, why, and since when, also over a restart of ours."""
    was = state.watch.get("source_away")
    watch = {key: value for key, value in state.watch.items() if key != "source_away"}
    if away is None:
        state = replace(state, watch=watch)
        return state.tell(now, EventKind.SOURCE_BACK, source=name) if was else state
    since = was.get("since", now) if isinstance(was, dict) else now
    watch["source_away"] = {"since": since, "reason": away.reason, "hint": away.hint}
    state = replace(state, watch=watch)
    return state if was else state.tell(now, EventKind.SOURCE_AWAY, source=name, reason=away.reason)
