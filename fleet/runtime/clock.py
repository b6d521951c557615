"""Time as a dependency: wall time for what is stored, monotonic time for waits; neither trusts the other."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What loops ask for the time; pure code takes `now` as a value instead."""

    def time(self) -> float:
        """Return Unix seconds (UTC); may step in either direction."""

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean anything."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until the event is set or the seconds are over; return whether it is set."""


class SystemClock:
    """The machine's own clocks."""

    def time(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait on the event for at most `seconds`."""
        return event.wait(max(0.0, seconds))
