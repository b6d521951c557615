"""The gate that every call passes: it knows what is in flight, and says when the next one may begin."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fleet.clock import Clock
from fleet.httpwire import Cancel
from fleet.units import Seconds
from generator.pacing import Budget, Pace, Reason, Streak, Verdict
from generator.pause import Pause, read_pause

# How long a closed gate is believed closed: the pause file has no bell.
_LOOK_AGAIN: Seconds = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Flight:
    """A call on its way: since when by both clocks, and how to cut it."""

    started: float
    started_monotonic: float
    cancel: Cancel = field(default_factory=Cancel)


@dataclass(frozen=True, slots=True)
class GateView:
    """What the gate looks like from outside; `request_since` is the oldest call's start in Unix seconds."""

    in_flight: int
    request_since: float | None
    pause: Pause | None
    streak: Streak = field(default_factory=Streak)


class Gate:
    """Lets calls begin by the pace, the pause file, the budget and the room behind it; for any thread."""

    def __init__(
        self,
        *,
        clock: Clock,
        most: int,
        pause_file: Path,
        chance: Random,
        budget: Budget | None = None,
        room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock
        self._most = most
        self._pause_file = pause_file
        self._chance = chance
        self._budget = budget
        self._room = room
        self._pace = Pace()
        self._flights: list[Flight] = []
        self._closed = False
        self._changed = threading.Condition()

    @property
    def pace(self) -> Pace:
        """Return the pace as it is now."""
        return self._pace

    def enter(self) -> Flight | None:
        """Wait until a call may begin and return it; None once the gate is closed."""
        with self._changed:
            while not self._closed:
                wait = self.wait_needed()
                if wait <= 0.0:
                    return self._begin()
                self._changed.wait(min(wait, _LOOK_AGAIN))
        return None

    def wait_needed(self) -> Seconds:
        """Return how long to wait before asking again whether a call may begin; 0 if it may now."""
        now = self._clock.monotonic()
        if len(self._flights) >= self._pace.limit(self._most) or not self._room():
            return _LOOK_AGAIN
        if read_pause(self._pause_file, self._clock.time()) is not None:
            return _LOOK_AGAIN
        budget = 0.0 if self._budget is None else self._budget.wait(now)
        return max(self._pace.not_before - now, budget, 0.0)

    def _begin(self) -> Flight:
        flight = Flight(self._clock.time(), self._clock.monotonic())
        self._flights.append(flight)
        if self._budget is not None:
            self._budget = self._budget.spent(flight.started_monotonic)
        return flight

    def leave(self, flight: Flight, verdict: Verdict | None, reason: Reason | None = None) -> Pace:
        """End a call, with what became of it (None: it was cut, and says nothing); return the new pace.

        `reason` says why it gave nothing usable. A call that has ended already is left alone.
        """
        with self._changed:
            if flight not in self._flights:
                return self._pace
            self._flights.remove(flight)
            if verdict is not None:
                self._pace = self._pace.after(
                    verdict,
                    started=flight.started_monotonic,
                    now=self._clock.monotonic(),
                    chance=self._chance.random(),
                    streak=None if reason is None else self._pace.streak.longer(reason, flight.started),
                )
            self._changed.notify_all()
            return self._pace

    def close(self) -> None:
        """Let no call begin any more, and cut those in flight."""
        with self._changed:
            self._closed = True
            flights = list(self._flights)
            self._changed.notify_all()
        for flight in flights:
            flight.cancel()

    def view(self) -> GateView:
        """Return what the gate looks like now."""
        with self._changed:
            since = min((flight.started for flight in self._flights), default=None)
            pause = read_pause(self._pause_file, self._clock.time())
            return GateView(len(self._flights), since, pause, self._pace.streak)
