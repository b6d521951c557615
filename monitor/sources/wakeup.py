"""Sleeping until there is something to read, such that another thread can end the sleep at once."""

import os
import select
import weakref


class Wakeup:
    """A flag that can be polled beside sockets and pipes; once set, it stays set."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        weakref.finalize(self, _close_both, self._read, self._write)
        self._set = False

    @property
    def is_set(self) -> bool:
        """Tell whether `set` was called."""
        return self._set

    def set(self) -> None:
        """Wake whoever sleeps, now and from now on; safe from any thread, also twice."""
        if not self._set:
            self._set = True
            os.write(self._write, b"\0")

    def sleep(self, seconds: float) -> bool:
        """Sleep for this long; return True at once if it is set meanwhile."""
        self.wait(None, seconds)
        return self._set

    def wait(self, readable: int | None, seconds: float | None) -> bool:
        """Sleep until the descriptor can be read (or has ended); return whether it can.

        False after `seconds` (None: no limit), and when the waker is set.
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
