"""Clock as a dependency: wall time for stored times, monotonic time for waits; neither is derived from the other."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """The clock of a loop; pure code takes `now` as a value instead."""

    def time(self) -> float:
        """Return Unix seconds (UTC); may step in either direction."""

    def monotonic(self) -> float:
        """Return seconds that never decrease; only differences have a meaning."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until the event is set or the seconds are over; return True if it is set."""


class SystemClock:
    """The system's clocks."""

    def time(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait on the event for at most `seconds`."""
        return event.wait(max(0.0, seconds))
