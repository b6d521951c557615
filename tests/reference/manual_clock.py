"""Time that stands until a test moves it."""

import threading


class StillClock:
    """A clock for units: waiting moves it, and nobody sleeps."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now += seconds
        return event.is_set()
