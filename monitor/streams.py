"""The sources that the monitor follows, the batches that wait to be written, and the state's word on an absent log."""

from dataclasses import dataclass, field, replace

from fleet.policy.events import EventKind
from fleet.policy.state import FleetState
from fleet.runtime.errors import FleetError
from fleet.runtime.units import Seconds
from monitor.sources.base import MOST_LINES, Away, Batch, Cursor
from monitor.sources.thread import SourceThread


class StaleCursorError(FleetError):
    """The state has another cursor than the one that a batch began at."""


@dataclass(slots=True)
class Pending:
    """Batches that wait to be written, in order; while it is full its source waits."""

    batches: list[Batch] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Return True if the batches fill one write."""
        return sum(len(batch.lines) for batch in self.batches) >= MOST_LINES

    def add(self, batch: Batch) -> None:
        """Append a batch; one without lines only moves the last one's cursor, or they would pile up uncounted."""
        if self.batches and not batch.lines:
            last = self.batches.pop()
            batch = Batch(last.lines, last.read + batch.read, batch.cursor)
        self.batches.append(batch)

    def portion(self) -> list[Batch]:
        """Return the first batches, as many as one write takes; at least one."""
        first, lines = self.batches[:1], len(self.batches[0].lines)
        for batch in self.batches[1:]:
            lines += len(batch.lines)
            if lines > MOST_LINES:
                break
            first.append(batch)
        return first


@dataclass(slots=True)
class Stream:
    """One source that is followed.

    `committed` is the state's cursor of it. `reported` is False until the state says whether it is `away`.
    `reopen_at` (monotonic) is set while it is broken.
    """

    thread: SourceThread
    committed: Cursor | None
    away: Away | None = None
    reported: bool = True
    reopen_at: Seconds | None = None
    pending: Pending = field(default_factory=Pending)

    @property
    def name(self) -> str:
        """Return the source's spec."""
        return self.thread.source.name


def with_source_status(state: FleetState, name: str, away: Away | None, now: float) -> FleetState:
    """Return a state that says whether the log is away, why, and since when, also across a restart of the monitor."""
    was = state.watch.get("source_away")
    watch = {key: value for key, value in state.watch.items() if key != "source_away"}
    if away is None:
        state = replace(state, watch=watch)
        return state.with_event(now, EventKind.SOURCE_BACK, source=name) if was else state
    since = was.get("since", now) if isinstance(was, dict) else now
    watch["source_away"] = {"since": since, "reason": away.reason, "hint": away.hint}
    state = replace(state, watch=watch)
    return state if was else state.with_event(now, EventKind.SOURCE_AWAY, source=name, reason=away.reason)
