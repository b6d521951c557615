"""The feed: one view of the fleet for all open pages, renewed while a visible page requests it."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.status import collect_status
from fleet.policy.events import Event
from fleet.runtime.totals import counters
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite
from state.history import read_history
from web.readings import STALE_AFTER, MemorySample, Readings

_FRESH: Seconds = 0.4
_RATE_OVER: Seconds = 60.0
_BEAT_INTERVAL: Seconds = 5.0
EVENTS = 200
"""Events in a view, the newest ones."""


@dataclass(frozen=True, slots=True)
class View:
    """The page's content at a time: a status row, the last events, memory samples and the generation's speed.

    `stale` are the parts whose last value is older than three of its intervals, with that value's time.
    """

    time: float
    status: dict[str, Any]
    events: Sequence[Event]
    samples: Sequence[MemorySample]
    tokens_per_second: float | None = None
    stale: dict[str, float] = field(default_factory=dict)
    check_interval: Seconds = 30.0


class Feed:
    """Reads the fleet at most every `_FRESH` seconds, for any number of pages."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._view: View | None = None
        self._lock = asyncio.Lock()
        self._tokens: deque[tuple[float, float]] = deque(maxlen=300)

    async def latest(self) -> View:
        """Return a view that is young enough."""
        async with self._lock:
            # A view of the future is one of a clock that was set back since.
            if self._view is None or not 0 <= time.time() - self._view.time <= _FRESH:
                self._view = await asyncio.to_thread(self.read)
            return self._view

    def read(self) -> View:
        """Return a new view."""
        readings, now = self._readings, time.time()
        fleet, generator = readings.fleet, readings.generator()
        samples = readings.memory.samples()
        self._tokens.append((now, sum(counters(generator.get("counters"), "generation_tokens", 1).values())))
        return View(
            time=now,
            status=collect_status(fleet),
            events=read_history(fleet.home.history, EVENTS),
            samples=samples,
            tokens_per_second=rate(list(self._tokens), now),
            stale=stale_parts(self._beats(samples), now),
            check_interval=fleet.settings.policy.check_interval,
        )

    def _beats(self, samples: Sequence[MemorySample]) -> dict[str, tuple[float, Seconds]]:
        """Return the time of each part's last value and its interval; parts without a value are left out."""
        reading = self._readings.now()
        intervals = {
            "monitor": self._readings.fleet.settings.policy.check_interval,
            "generator": _BEAT_INTERVAL,
        }
        beats = {name: (beat, intervals[name]) for name, beat in reading.heartbeats.items()}
        known = [sample.time for sample in samples if sample.models is not None]
        return {**beats, **({"GPU memory": (known[-1], self._readings.memory.interval)} if known else {})}


def stale_parts(beats: dict[str, tuple[float, Seconds]], now: float) -> dict[str, float]:
    """Return the parts whose last value is older than three of its intervals, with its time (pure)."""
    return {name: beat for name, (beat, interval) in beats.items() if now - beat > STALE_AFTER * interval}


def rate(values: Sequence[tuple[float, float]], now: float) -> float | None:
    """Return the growth a second of a counter over the last minute; None without two readings of it (pure)."""
    recent = [(when, value) for when, value in values if now - when <= _RATE_OVER]
    if len(recent) < 2:  # noqa: PLR2004  # a rate needs two
        return None
    (start, first), (end, last) = recent[0], recent[-1]
    grown = finite(last - first)
    return None if end <= start or grown is None or grown < 0 else grown / (end - start)
