"""The time of a line, computed from its stamps.

Pure. slog and Docker write stamps with a zone. GIN, journald's short form and some viewers write local time without a
zone; journald's short form has no year either. Their zone is learned from the log itself. Ollama prints GIN in the
local time of slog, so GIN has the offset of a slog stamp. A viewer's prefix stands before slog lines too. Its offset is
the difference of both stamps, to a quarter of an hour. An unknown zone counts as UTC.
"""

import re
from calendar import timegm
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache

from fleet.runtime.untrusted import finite, whole_number

_QUARTER = 900
_WIDEST_ZONE = 14 * 3600
_LATEST = 4e9  # the year 2096: a larger number is no time of a log
_CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)")
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Stamp:
    """The stamp of a line.

    `seconds`: Unix seconds if `zoned`, else the local clock read as UTC. `offset`: the zone's distance from UTC, if the
    stamp names one. Without a `year` the seconds count within the year 2000.
    """

    seconds: float
    zoned: bool = True
    offset: int | None = None
    year: bool = True


@dataclass(frozen=True, slots=True)
class StampMemory:
    """Learned from earlier lines: the last time, the server's zone, the zone of prefixes before its lines."""

    last: float | None = None
    last_heard: float | None = None
    server_zone: int | None = None
    prefix_zone: int | None = None


def from_iso(day: str, clock: str, fraction: str, zone: str) -> Stamp | None:
    """Return the stamp of ISO parts, local time without a zone; None for impossible dates."""
    seconds = _at(day.replace("/", "-"), clock)
    if seconds is None:
        return None
    seconds += float(f"0.{fraction}") if fraction else 0.0
    if not zone:
        return Stamp(seconds, zoned=False)
    offset = _offset(zone)
    return Stamp(seconds - offset, zoned=True, offset=offset)


def from_calendar(day: str, clock: str) -> Stamp | None:
    """Return the stamp of `2026/11/23` and `22:24:52`, the local time of GIN and of old Ollama."""
    return from_iso(day, clock, "", "")


def from_syslog(month: str, day: int, clock: str) -> Stamp | None:
    """Return the stamp of journald's short form, which names no year; None for a month in another language."""
    name = month.lower()
    number = _MONTHS.index(name) + 1 if name in _MONTHS else whole_number(finite(month.removesuffix("月")))
    seconds = _at(f"2000-{number or 0:02d}-{day:02d}", clock)
    return None if seconds is None else Stamp(seconds, zoned=False, year=False)


def from_unix(seconds: float) -> Stamp | None:
    """Return the stamp of Unix seconds; None if they cannot be a log's time."""
    return Stamp(seconds) if _is_of_a_log(seconds) else None


def _is_of_a_log(seconds: float) -> bool:
    return 0.0 < seconds < _LATEST


def resolve(
    own: Stamp | None, outer: Stamp | None, memory: StampMemory, *, arrival: float | None = None
) -> tuple[float | None, StampMemory]:
    """Return a line's Unix time and the memory after it; no time if no line so far had a stamp.

    A zoned prefix comes first, since every line has it; then the line's own zoned stamp, the prefix, GIN's stamp. A
    line without a stamp has the time of the last stamped line. A live line adds the time since then, by the monitor's
    clock. `arrival` is the arrival of a live line: it decides year and zone where nothing else does. A time that cannot
    be a log's, such as one before 1970 by the zone, counts as missing.
    """
    near = arrival if arrival is not None else memory.last
    memory = _learn(own, outer, memory, near)
    time = _pick(own, outer, memory, near, arrival)
    if time is None or not _is_of_a_log(time):
        return _unstamped(memory, arrival), memory
    return time, replace(memory, last=time, last_heard=arrival)


def _unstamped(memory: StampMemory, arrival: float | None) -> float | None:
    if arrival is None:
        return memory.last
    if memory.last is None or memory.last_heard is None:
        return arrival
    return memory.last + max(0.0, arrival - memory.last_heard)


def _pick(
    own: Stamp | None, outer: Stamp | None, memory: StampMemory, near: float | None, arrival: float | None
) -> float | None:
    for stamp in (outer, own):
        if stamp is not None and stamp.zoned:
            return stamp.seconds
    stamp = outer or own
    if stamp is None:
        return None
    zone = memory.prefix_zone if stamp is outer and memory.prefix_zone is not None else memory.server_zone
    local = _with_year(stamp, near).seconds
    if zone is None and arrival is not None:
        zone = _zone(local - arrival)
    return local - (zone or 0)


def _learn(own: Stamp | None, outer: Stamp | None, memory: StampMemory, near: float | None) -> StampMemory:
    if own is None or not own.zoned:
        return memory
    if own.offset is not None:
        memory = replace(memory, server_zone=own.offset)
    if outer is None or outer.zoned:
        return memory
    zone = _zone(_with_year(outer, own.seconds if not outer.year else near).seconds - own.seconds)
    return memory if zone is None else replace(memory, prefix_zone=zone)


def _zone(distance: float) -> int | None:
    zone = round(distance / _QUARTER) * _QUARTER
    return zone if abs(zone) <= _WIDEST_ZONE else None


def _with_year(stamp: Stamp, near: float | None) -> Stamp:
    """Return the stamp with the year that brings it closest to a time nearby."""
    if stamp.year or near is None:
        return stamp
    middle = datetime.fromtimestamp(min(max(near, 0.0), _LATEST), tz=UTC).year
    rest = datetime.fromtimestamp(stamp.seconds, tz=UTC).timetuple()[1:6]
    candidates = [float(timegm((year, *rest))) for year in (middle - 1, middle, middle + 1)]
    return replace(stamp, seconds=min(candidates, key=lambda seconds: abs(seconds - near)))


@lru_cache(maxsize=64)  # a log names the same second many times over
def _at(day: str, clock: str) -> float | None:
    match = _CLOCK.fullmatch(clock)
    try:
        parsed = date.fromisoformat(day)
    except ValueError:
        return None
    if match is None or parsed.year < 1970:  # noqa: PLR2004 - before Unix time
        return None
    return float(timegm((parsed.year, parsed.month, parsed.day, int(match[1]), int(match[2]), int(match[3]))))


def _offset(zone: str) -> int:
    if zone[0] not in "+-":  # Z, UTC, GMT
        return 0
    digits = zone[1:].replace(":", "")
    return (1 if zone[0] == "+" else -1) * (int(digits[:2]) * 3600 + int(digits[2:] or 0) * 60)
