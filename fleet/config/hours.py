"""`[[hours]]`: caps by the clock. A row has days, a range of the day, and the model that none may be above.

when     = [ days ] range
days     = day [ "-" day ] { "," day [ "-" day ] }      without days: every day
day      = "mon" | "tue" | … | "sun", or the whole English name
range    = HH:MM "-" HH:MM                              an end at or before the start is on the next day
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from fleet.config.ladder import Ladder

NO_MODEL = "none"
"""The `model` of a row that leaves the GPU alone."""

HOURS_KEYS = ("when", "model", "timezone")
MOST_ROWS = 100
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WHEN_ALLOWED = (
    'days and a range of the day such as "mon-fri 18:00-23:30", "sat,sun 10:00-02:00" or "22:00-06:00"'
)
_WHEN = re.compile(r"(?:([a-z][a-z ,-]*?)\s+)?(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.ASCII)
_DAY_MINUTES = 24 * 60
_SHORTEST_NAME = 3


@dataclass(frozen=True, slots=True)
class HoursRow:
    """A row of `[[hours]]`.

    `days` are weekdays, 0 for Monday; a range over midnight belongs to the day on which it begins. `start` and `end`
    are minutes of the day; `end` is on the next day if it is not after `start`. `rung` is the highest rung of the
    model, None for "none". `zone` is None for the machine's own time zone.
    """

    when: str
    days: frozenset[int]
    start: int
    end: int
    model: str
    rung: int | None
    zone: tzinfo | None = None


def parse_when(text: str) -> tuple[frozenset[int], int, int]:
    """Return weekdays, start and end (minutes of the day); raise ValueError with the fault."""
    match = _WHEN.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError("days or range cannot be read")
    start = _minutes(match[2], match[3])
    end = _minutes(match[4], match[5])
    if start == _DAY_MINUTES:
        raise ValueError("a range begins at 23:59 at the latest")
    if start == end:
        raise ValueError("the range is empty; a whole day is 00:00-24:00")
    return _days(match[1]) if match[1] else frozenset(range(len(DAYS))), start, end


def _minutes(hours: str, minutes: str) -> int:
    total = 60 * int(hours) + int(minutes)
    if int(minutes) > 59 or total > _DAY_MINUTES:  # noqa: PLR2004  # minutes of an hour
        raise ValueError(f"{hours}:{minutes} is no time of the day")
    return total


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        begin = _day(first)
        length = (_day(last) - begin) % len(DAYS) if dash else 0
        found |= {(begin + step) % len(DAYS) for step in range(length + 1)}
    return frozenset(found)


def _day(word: str) -> int:
    for index, name in enumerate(DAYS):
        if len(word) >= _SHORTEST_NAME and name.startswith(word):
            return index
    raise ValueError(f'"{word}" is no day of the week')


def read_hours_row(
    row: Mapping[str, Any], ladder: Ladder | None
) -> tuple[HoursRow | None, list[tuple[str, str]]]:
    """Return the row of `[[hours]]` and its faults, each a key and a message; None for a row with faults.

    Without a ladder, since it has faults itself, the model is not looked up.
    """
    texts = {key: row[key] for key in ("when", "model") if isinstance(row.get(key), str)}
    faults = [
        (key, "is no text" if key in row else "is missing") for key in ("when", "model") if key not in texts
    ]
    days, start, end = frozenset[int](), 0, 0
    try:
        if "when" in texts:
            days, start, end = parse_when(texts["when"])
    except ValueError as error:
        faults.append(("when", f'"{texts["when"]:.60}" is not allowed; allowed is {WHEN_ALLOWED} ({error})'))
    rung, fault = _rung(texts.get("model", NO_MODEL), ladder)
    if fault:
        faults.append(("model", fault))
    zone, fault = _zone(row.get("timezone"))
    if fault:
        faults.append(("timezone", fault))
    if faults:
        return None, faults
    return HoursRow(texts["when"], days, start, end, texts["model"], rung, zone), []


def _rung(model: str, ladder: Ladder | None) -> tuple[int | None, str]:
    """Return the highest rung of a model, and the fault of one that is not on the ladder."""
    if model == NO_MODEL or ladder is None:
        return None, ""
    labelled = next((rung for rung in ladder if rung.label.lower() == model.strip().lower()), None)
    rung = labelled or ladder.named(model)
    if rung is not None:
        return rung.index, ""
    names = ", ".join(f'"{one.label}"' for one in ladder)
    return None, f'"{model:.60}" is not on the ladder; allowed is "{NO_MODEL}" or one of {names}'


def _zone(name: object) -> tuple[tzinfo | None, str]:
    """Return the time zone of a name, and the fault of an unknown one."""
    if name is None:
        return None, ""
    allowed = 'allowed is a name such as "Europe/Berlin"'
    if not isinstance(name, str):
        return None, f"is no text; {allowed}"
    import zoneinfo  # noqa: PLC0415  # loaded only where a row names a zone

    try:
        return zoneinfo.ZoneInfo(name), ""
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
    if not known:
        mend = "install it (`apt install tzdata`, or the Python package tzdata) or leave timezone out"
        return None, f'"{name:.60}" cannot be looked up: this system has no time-zone data; {mend}'
    from difflib import get_close_matches  # noqa: PLC0415  # imported only where there is a fault

    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return None, f'"{name:.60}" is no known time zone; ' + (f"did you mean {near[0]}?" if near else allowed)
