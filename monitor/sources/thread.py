"""The thread that reads a source and delivers its items to the monitor's loop, a bounded number at a time."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from monitor.sources.base import Cursor, Item, LogSource

_SLOTS = 32
"""Items of one source that may wait for their write; with all of them taken, the source waits."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An item from a source; `thread` shows whether the source was closed meanwhile."""

    thread: "SourceThread"
    item: Item | Exception


class SourceThread:
    """Reads one source in a thread of its own, which waits while as many items as there are slots are unwritten."""

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
