"""Wakeup: sleep until a descriptor is readable or another thread ends the sleep."""

import os
import select
import weakref


class Wakeup:
    """A flag that can be polled together with sockets and pipes; once set, it stays set."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        weakref.finalize(self, _close_both, self._read, self._write)
        self._set = False

    @property
    def is_set(self) -> bool:
        """Return True after `set`."""
        return self._set

    def set(self) -> None:
        """End the current sleep and every later one; safe from any thread, more than once."""
        if not self._set:
            self._set = True
            os.write(self._write, b"\0")

    def sleep(self, seconds: float) -> bool:
        """Sleep for this long; return True at once when the flag is set."""
        self.wait(None, seconds)
        return self._set

    def wait(self, readable: int | None, seconds: float | None) -> bool:
        """Sleep until the descriptor is readable or at its end, and return True.

        Return False after `seconds` (None: no limit), and when the flag is set.
        """
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if readable is not None:
            poll.register(readable, select.POLLIN | select.POLLPRI)
        ready = poll.poll(None if seconds is None else max(0, round(seconds * 1000)))
        return not self._set and bool(ready)


def _close_both(first: int, second: int) -> None:
    os.close(first)
    os.close(second)
