"""The sources that the monitor follows, as far as it has got with each, and what the state says of a log away."""

from dataclasses import dataclass, field, replace

from fleet.policy.events import EventKind
from fleet.policy.state import FleetState
from fleet.runtime.errors import FleetError
from monitor.sources.base import MOST_LINES, Away, Batch, Cursor
from monitor.sources.thread import Pump


@dataclass(slots=True)
class Stream:
    """One source that is followed: its pump, and the cursor that the state has of it."""

    pump: Pump
    committed: Cursor | None
    away: Away | None = None
    told: bool = True


class StaleCursorError(FleetError):
    """The state has another cursor than the one that a batch began at."""


@dataclass(slots=True)
class Pending:
    """Batches that wait to be written, in order; a full one takes no more, so that its source waits."""

    batches: list[Batch] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Return True if the batches fill one write."""
        return sum(len(batch.lines) for batch in self.batches) >= MOST_LINES

    def portion(self) -> list[Batch]:
        """Return the first batches, as many as one write takes; at least one."""
        taken, lines = self.batches[:1], len(self.batches[0].lines)
        for batch in self.batches[1:]:
            lines += len(batch.lines)
            if lines > MOST_LINES:
                break
            taken.append(batch)
        return taken


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
