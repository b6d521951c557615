"""A source that the monitor follows: the thread that reads it, and the batches that wait to be written."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.runtime.errors import FleetError
from fleet.runtime.units import Seconds
from monitor.sources.base import MOST_LINES, Batch, Cursor, Item, LogSource

_SLOTS = 32
"""Items of one source that may wait for their write; with all of them taken, the source waits."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An item from a source; `thread` shows whether the source was closed meanwhile."""

    thread: "SourceThread"
    item: Item | Exception


class SourceThread:
    """Reads one source in its own thread, which waits while all slots are taken by unwritten items."""

    def __init__(
        self, origin: str, source: LogSource, cursor: Cursor | None, deliver: Callable[[Delivery], None]
    ) -> None:
        self.origin = origin
        self.source = source
        self._cursor = cursor
        self._deliver = deliver
        self._closed = threading.Event()
        self._slots = threading.Semaphore(_SLOTS)
        self._thread = threading.Thread(target=self._run, name=f"source-{origin}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading; items that were queued before may still be in the queue."""
        self._closed.set()
        self.source.close()
        self._slots.release()

    def release(self, items: int = 1) -> None:
        """Free the slots of items that the loop has written."""
        if items:
            self._slots.release(items)

    def _run(self) -> None:
        try:
            for item in self.source.items(self._cursor):
                if not self._put(item):
                    return
        except Exception as error:  # noqa: BLE001  # the loop decides what a broken source means
            self._put(error)

    def _put(self, item: Item | Exception) -> bool:
        self._slots.acquire()
        if self._closed.is_set():
            return False
        self._deliver(Delivery(self, item))
        return True


class StaleCursorError(FleetError):
    """The state's cursor is not the one at which a batch began."""


@dataclass(slots=True)
class Stream:
    """One source, and its batches in order.

    `committed` is the state's cursor of it. `reopen_at` (monotonic) is set while it is broken. Each waiting batch
    takes one of the thread's slots: while nothing can be written, the source waits.
    """

    thread: SourceThread
    committed: Cursor | None
    reopen_at: Seconds = math.inf
    pending: list[Batch] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the source's spec."""
        return self.thread.source.name

    @property
    def urgent(self) -> bool:
        """Return True if its batches must be written now and not at the next check.

        The place at which a log was first joined is urgent: after an earlier crash the monitor would join later.
        """
        return bool(self.pending) and (self.committed is None or bool(self.pending[-1].lines))

    def add(self, batch: Batch) -> None:
        """Append a batch; a batch without lines only moves the last one's cursor and gives its slot back.

        Only the first batch can therefore be without lines.
        """
        if self.pending and not batch.lines:
            last = self.pending.pop()
            batch = Batch(last.lines, batch.cursor)
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
        """Drop the first batches, which are now in the state."""
        self.committed = batches[-1].cursor
        del self.pending[: len(batches)]
        self.thread.release(len(batches))
