"""The calendar of `[[hours]]`: the cap in force at a moment, until when, and the next one (pure).

A range is a span of real time between two moments of the local clock. Where the clock is put back, a moment exists
twice. A span begins at the first and ends at the second. Where the clock is put forward, the jump replaces a missing
moment. A cap therefore does not flicker in the repeated hour. A cap in the skipped hour is no longer than the clock
shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from fleet.config.hours import HoursRow
from fleet.policy.state import HoursCap

_AHEAD = 8
"""Days of the forecast: every row changes within a week, which may be an hour longer than seven days."""

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class ClockCap:
    """A cap by the clock: no rung above `rung`; None leaves the GPU alone. `model` is its name in the configuration."""

    model: str
    rung: int | None


@dataclass(frozen=True, slots=True)
class CapForecast:
    """The cap in force, None without one; `until`: the moment of the next change (Unix seconds); `next`: the cap after.

    `until` is None where nothing changes within the week.
    """

    cap: ClockCap | None = None
    until: float | None = None
    next: ClockCap | None = None


@dataclass(frozen=True, slots=True)
class _Span:
    begin: float
    end: float
    cap: ClockCap


def forecast(rows: Sequence[HoursRow], now: float) -> CapForecast:
    """Return the cap in force at `now`, until when, and the next one. Of several caps the lowest is in force."""
    if not rows:
        return CapForecast()
    spans = [span for row in rows for span in _spans(row, now)]
    present = _lowest(spans, now)
    edges = {edge for span in spans for edge in (span.begin, span.end)}
    for moment in sorted(edge for edge in edges if now < edge < now + _AHEAD * _DAY):
        following = _lowest(spans, moment)
        if following != present:
            return CapForecast(present, moment, following)
    return CapForecast(present)


def cap_in_force(rows: Sequence[HoursRow], before: HoursCap | None, now: float) -> HoursCap | None:
    """Return the state's cap at `now`; one that goes on keeps its beginning."""
    ahead = forecast(rows, now)
    if ahead.cap is None:
        return None
    same = before is not None and (before.model, before.rung) == (ahead.cap.model, ahead.cap.rung)
    since = before.since if same and before is not None else now
    return HoursCap(ahead.cap.model, ahead.cap.rung, since, ahead.until)


def _lowest(spans: Sequence[_Span], moment: float) -> ClockCap | None:
    caps = [span.cap for span in spans if span.begin <= moment < span.end]
    return max(caps, key=lambda cap: (cap.rung is None, cap.rung or 0), default=None)


def _spans(row: HoursRow, now: float) -> list[_Span]:
    """Return the spans of a row, from the one that began yesterday to those of the week ahead."""
    today = datetime.fromtimestamp(now, row.zone).date()
    cap = ClockCap(row.model, row.rung)
    found = []
    for distance in range(-1, _AHEAD + 2):
        day = today + timedelta(days=distance)
        if day.weekday() in row.days:
            over = row.end <= row.start
            begin = _moment(day, row.start, row.zone, last=False)
            end = _moment(day + timedelta(days=over), row.end, row.zone, last=True)
            found.append(_Span(begin, end, cap))
    return found


def _moment(day: date, minutes: int, zone: tzinfo | None, *, last: bool) -> float:
    """Return the moment of a local time: of two the first or `last`; for a missing one the clock's jump."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    one, other = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if one <= other:
        return other if last else one
    return _jump(other, one, zone)


def _jump(before: float, after: float, zone: tzinfo | None) -> float:
    """Return the moment between two at which the clock is put forward, to the second."""
    low, high = int(before), int(after)
    offset = _offset(high, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(middle, zone) == offset else (middle, high)
    return float(high)


def _offset(moment: int, zone: tzinfo | None) -> timedelta:
    wall = datetime.fromtimestamp(moment, zone).replace(tzinfo=None)
    return wall - datetime.fromtimestamp(moment, UTC).replace(tzinfo=None)
