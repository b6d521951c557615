"""Slow: a rung that gives less than half of its usual tokens per second for ten minutes (pure).

The usual rate is the median of the rung's last 100 calls that were not slow themselves. The present rate is the median
of the last five calls. One long prompt or one busy moment is no finding. Only this check finds an Ollama update without
the GPU's fast path, a throttling driver, or another program's load.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from fleet.policy.events import EventKind
from fleet.policy.state import FleetState
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite

SHARE = 0.5
LASTS: Seconds = 600.0
_USUAL = 100
_ENOUGH = 20
"""Calls that a usual rate needs."""
_PRESENT = 5
_ADOPTED_AFTER: Seconds = 86400.0
"""Time after which the slow rate is the usual one: the user has seen the notice and lives with it."""
_MOST_RUNGS = 32


@dataclass(frozen=True, slots=True)
class Speed:
    """A rung's rates, in tokens per second.

    `usual` and `present`: its last calls, without and with slow ones. `at`: time of the last call. `since`: start of
    the slow stretch, None outside one. `version`: Ollama's version when the rate was usual. `reported`: the stretch
    is in the history.
    """

    usual: tuple[float, ...] = ()
    present: tuple[float, ...] = ()
    at: float = 0.0
    since: float | None = None
    version: str = ""
    reported: bool = False

    @property
    def is_slow(self) -> bool:
        """Return True if the present rate is below half of the usual one."""
        enough = len(self.usual) >= _ENOUGH and len(self.present) == _PRESENT
        return enough and median(self.present) < SHARE * median(self.usual)


def with_rate(speed: Speed, rate: float, version: str, now: float) -> Speed:
    """Return the speed after an answered call; a pause of the calls ends a stretch that is not reported."""
    paused = now - speed.at > LASTS and not speed.reported
    present = () if paused else speed.present
    speed = replace(speed, present=(*present, rate)[-_PRESENT:], at=now)
    if not speed.is_slow:
        own = len(speed.usual) < _ENOUGH or rate >= SHARE * median(speed.usual)
        usual = (*speed.usual, rate)[-_USUAL:] if own else speed.usual
        return replace(speed, usual=usual, since=None, version=(own and version) or speed.version)
    since = now if speed.since is None or paused else speed.since
    if now - since >= _ADOPTED_AFTER:
        return Speed(present=speed.present, at=now, version=version or speed.version, reported=speed.reported)
    return replace(speed, since=since)


def after_rate(state: FleetState, rung: str, rate: float, version: str, now: float) -> FleetState:
    """Return the state after an answered call on a rung.

    A slow stretch gives an event once it is long, and one at its end.
    """
    table = state.watch.get("speed")
    table = dict(table) if isinstance(table, Mapping) else {}
    speed = with_rate(_read(table.pop(rung, None)), rate, version, now)
    over = speed.reported and speed.since is None
    found = not speed.reported and speed.since is not None and now - speed.since >= LASTS
    kind = EventKind.SLOW_OVER if over else EventKind.SLOW
    if over or found:
        fields = {"model": rung, "rate": round(median(speed.present), 1), "usual": _usual(speed)}
        state = state.with_event(now, kind, **fields, version=version, version_before=speed.version)
        speed = replace(speed, reported=found)
    kept = dict(list(table.items())[-_MOST_RUNGS + 1 :])
    return replace(state, watch={**state.watch, "speed": {**kept, rung: _row(speed)}})


def _usual(speed: Speed) -> float | None:
    return round(median(speed.usual), 1) if speed.usual else None


def slow_rungs(watch: Mapping[str, Any]) -> list[str]:
    """Return the rungs whose slow stretch is in the history and not over."""
    table = watch.get("speed")
    return [rung for rung, row in table.items() if _read(row).reported] if isinstance(table, Mapping) else []


def _row(speed: Speed) -> dict[str, Any]:
    return {
        "usual": [round(rate, 2) for rate in speed.usual],
        "present": [round(rate, 2) for rate in speed.present],
        "at": speed.at,
        "since": speed.since,
        "version": speed.version,
        "reported": speed.reported,
    }


def _read(row: Any) -> Speed:
    """Return the speed of a state's row, without its unreadable parts."""
    if not isinstance(row, Mapping):
        return Speed()
    usual, present = (_rates(row.get(name)) for name in ("usual", "present"))
    return Speed(
        usual=usual[-_USUAL:],
        present=present[-_PRESENT:],
        at=finite(row.get("at")) or 0.0,
        since=finite(row.get("since")),
        version=str(row.get("version") or ""),
        reported=row.get("reported") is True,
    )


def _rates(value: Any) -> tuple[float, ...]:
    items = value if isinstance(value, list) else []
    return tuple(rate for item in items if (rate := finite(item)) is not None and rate > 0)
