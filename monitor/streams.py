"""A source that the monitor follows, with the batches that wait to be written."""

from dataclasses import dataclass, field

from fleet.runtime.errors import FleetError
from fleet.runtime.units import Seconds
from monitor.sources.base import MOST_LINES, Batch, Cursor
from monitor.sources.thread import SourceThread


class StaleCursorError(FleetError):
    """The state has another cursor than the one that a batch began at."""


@dataclass(slots=True)
class Stream:
    """One source, and its batches in order.

    `committed` is the state's cursor of it. `reopen_at` (monotonic) is set while it is broken. Each waiting batch
    takes one of the thread's slots: while nothing can be written, the source waits.
    """

    thread: SourceThread
    committed: Cursor | None
    reopen_at: Seconds | None = None
    pending: list[Batch] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the source's spec."""
        return self.thread.source.name

    @property
    def urgent(self) -> bool:
        """Return True if its batches must be written now and not at the next check.

        The place at which a log was first joined is urgent: a monitor that died before its write would join later.
        """
        return any(batch.lines or self.committed is None for batch in self.pending)

    def add(self, batch: Batch) -> None:
        """Append a batch; one without lines only moves the last one's cursor and gives its slot back."""
        if self.pending and not batch.lines:
            last = self.pending.pop()
            batch = Batch(last.lines, last.read + batch.read, batch.cursor)
            self.thread.release()
        self.pending.append(batch)

    def portion(self) -> list[Batch]:
        """Return the first batches, as many as one write takes; at least one."""
        first, lines = self.pending[:1], len(self.pending[0].lines)
        for batch in self.pending[1:]:
            lines += len(batch.lines)
            if lines > MOST_LINES:
                break
            first.append(batch)
        return first

    def written(self, batches: list[Batch]) -> None:
        """Drop the first batches, which the state has now."""
        self.committed = batches[-1].cursor
        del self.pending[: len(batches)]
        self.thread.release(len(batches))
