"""Queue that counts items in work; an item is outstanding from `put` to `done`."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from fleet.runtime.units import Seconds

T = TypeVar("T")


class WorkQueue(Generic[T]):
    """Unbounded FIFO queue; thread-safe, and `put` never blocks."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._outstanding = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Append an item."""
        with self._changed:
            self._items.append(item)
            self._outstanding += 1
            self._changed.notify_all()

    def put_first(self, items: Sequence[T]) -> None:
        """Queue items before all others, in their order."""
        with self._changed:
            self._items.extendleft(reversed(items))
            self._outstanding += len(items)
            self._changed.notify_all()

    def get(self, timeout: Seconds) -> T | None:
        """Return the next item; None after `timeout`, or if the queue is closed and empty."""
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(timeout)
            return self._items.popleft() if self._items else None

    def done(self) -> None:
        """Count an item returned by `get` as finished."""
        with self._changed:
            self._outstanding -= 1
            self._changed.notify_all()

    def reload(self, items: Iterable[T]) -> None:
        """Replace the queued items; those in work stay outstanding."""
        with self._changed:
            self._outstanding -= len(self._items)
            self._items = deque(items)
            self._outstanding += len(self._items)
            self._changed.notify_all()

    def close(self) -> None:
        """Wake all waiting `get` calls; queued items can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def queued(self) -> list[T]:
        """Return the items that are not taken."""
        with self._changed:
            return list(self._items)

    @property
    def ended(self) -> bool:
        """Return True if the queue is closed and empty."""
        with self._changed:
            return self._closed and not self._items

    @property
    def outstanding(self) -> int:
        """Return the number of items queued or in work."""
        with self._changed:
            return self._outstanding

    def wait_idle(self, timeout: Seconds) -> bool:
        """Wait until no item is outstanding; return False if that takes longer than `timeout`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._outstanding == 0, timeout)
