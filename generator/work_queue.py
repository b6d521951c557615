"""A queue that knows what is still being worked on: an item is outstanding until it is done."""

import threading
from collections import deque
from typing import Generic, TypeVar

from fleet.runtime.units import Seconds

T = TypeVar("T")


class Handover(Generic[T]):
    """Unbounded, first in first out, for any thread; `put` never waits."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._outstanding = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Hand an item over."""
        with self._changed:
            self._items.append(item)
            self._outstanding += 1
            self._changed.notify_all()

    def get(self, patience: Seconds) -> T | None:
        """Return the next item; None if none comes in time, or there will be none."""
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(patience)
            return self._items.popleft() if self._items else None

    def done(self) -> None:
        """Say that an item which was taken needs nothing more."""
        with self._changed:
            self._outstanding -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wake whoever waits for an item; what is queued can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Tell whether it is closed and empty."""
        with self._changed:
            return self._closed and not self._items

    @property
    def outstanding(self) -> int:
        """Return how many items are queued or being worked on."""
        with self._changed:
            return self._outstanding

    def settle(self, patience: Seconds) -> bool:
        """Wait until nothing is outstanding; return whether that came about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._outstanding == 0, patience)
