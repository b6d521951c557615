"""The thread that reads a source and hands its items to the monitor's loop, a bounded number ahead of it."""

import queue
import threading
from dataclasses import dataclass
from typing import TypeAlias

from monitor.sources.base import Cursor, Item, LogSource

Inbox: TypeAlias = queue.SimpleQueue["Delivery | None"]
"""What the loop waits on; None only wakes it. A simple queue, since signal handlers put into it as well."""

_AHEAD = 32


@dataclass(frozen=True, slots=True)
class Delivery:
    """An item from a source; `pump` tells it from one of a source that was closed meanwhile."""

    pump: "Pump"
    item: Item | Exception


class Pump:
    """Reads one source in a thread of its own; a flood is held back at its source until the loop has room."""

    def __init__(self, origin: str, source: LogSource, cursor: Cursor | None, inbox: Inbox) -> None:
        self.origin = origin
        self.source = source
        self._cursor = cursor
        self._inbox = inbox
        self._closed = threading.Event()
        self._room = threading.Semaphore(_AHEAD)
        self._thread = threading.Thread(target=self._run, name=f"source-{origin}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading; what was handed over already may still be in the queue."""
        self._closed.set()
        self.source.close()
        self._room.release()

    def taken(self) -> None:
        """Say that the loop has taken an item."""
        self._room.release()

    def _run(self) -> None:
        try:
            for item in self.source.items(self._cursor):
                if not self._put(item):
                    return
        except Exception as error:  # noqa: BLE001  # the loop decides what a broken source means
            self._put(error)

    def _put(self, item: Item | Exception) -> bool:
        self._room.acquire()
        if self._closed.is_set():
            return False
        self._inbox.put(Delivery(self, item))
        return True
