"""Waking the main thread: by other threads, and by signals, whose handlers may do next to nothing."""

import os
import select
import signal
from types import FrameType

from fleet.runtime.units import Seconds


class Waker:
    """A pipe that the main thread sleeps on. SIGTERM and SIGINT set `asked_to_end` and wake.

    A handler runs between two instructions of the main thread, which may just hold any lock; so it sets a
    flag and takes none, and the interpreter itself writes to the pipe.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.asked_to_end = False

    def catch_signals(self) -> None:
        """Take over SIGTERM and SIGINT; only from the main thread."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked)

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        self.asked_to_end = True

    def wake(self) -> None:
        """Wake the main thread, or keep it from falling asleep."""
        try:
            os.write(self._write, b"w")
        except BlockingIOError:  # full: it is awake already
            return

    def sleep(self, seconds: Seconds) -> None:
        """Sleep until something wakes us, at most so long."""
        ready, _, _ = select.select([self._read], [], [], max(0.0, seconds))
        if ready:
            os.read(self._read, 4096)
