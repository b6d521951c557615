"""The thread that reads a source and queues its items for the monitor's loop, a bounded number at a time."""

import queue
import threading
from dataclasses import dataclass
from typing import TypeAlias

from monitor.sources.base import Cursor, Item, LogSource

Inbox: TypeAlias = queue.SimpleQueue["Delivery | None"]
"""The loop's queue; None only wakes it. A SimpleQueue, because signal handlers put into it as well."""

_QUEUED = 32
"""Items of one source in the queue at most."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An item from a source; `thread` shows whether the source was closed meanwhile."""

    thread: "SourceThread"
    item: Item | Exception


class SourceThread:
    """Reads one source in a thread of its own; while the queue is full, the source waits."""

    def __init__(self, origin: str, source: LogSource, cursor: Cursor | None, inbox: Inbox) -> None:
        self.origin = origin
        self.source = source
        self._cursor = cursor
        self._inbox = inbox
        self._closed = threading.Event()
        self._slots = threading.Semaphore(_QUEUED)
        self._thread = threading.Thread(target=self._run, name=f"source-{origin}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading; items that were queued before may still be in the queue."""
        self._closed.set()
        self.source.close()
        self._slots.release()

    def release(self) -> None:
        """Free the slot of an item that the loop has received."""
        self._slots.release()

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
        self._inbox.put(Delivery(self, item))
        return True
