"""Go's formats in Ollama's output: durations, times, sizes, quoted text, errors of the JSON decoder.

Pure text functions.
"""

import json
import math
import re
import time

from fleet.runtime.units import Bytes

FOREVER = math.inf
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})([^\d.]*)")
_NANO = 10**9
_MINUTE = 60 * _NANO


def parse_duration(text: str) -> float:
    """Return the seconds of Go's `time.ParseDuration`; raise ValueError with Go's own words."""
    body = text[1:] if text[:1] in {"+", "-"} else text
    if body == "0":
        return 0.0
    total, place = 0.0, 0
    while place < len(body) and (match := _PART.match(body, place)) is not None:
        total += _part(match, text)
        place = match.end()
    if not body or place < len(body):
        raise ValueError(f"time: invalid duration {quoted(text)}")
    return -total if text.startswith("-") else total


def _part(match: re.Match[str], text: str) -> float:
    if not match[2]:
        raise ValueError(f"time: missing unit in duration {quoted(text)}")
    if match[2] not in _UNITS:
        raise ValueError(f"time: unknown unit {quoted(match[2])} in duration {quoted(text)}")
    return float(match[1]) * _UNITS[match[2]]


def show_duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it: `406.037554ms`, `23.578379793s`, `1m5.013s`."""
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < _NANO:
        for unit, size in (("ms", 10**6), ("µs", 10**3)):
            if nanoseconds >= size:
                return _trimmed(nanoseconds, size) + unit
        return f"{nanoseconds}ns"
    minutes, rest = divmod(nanoseconds, _MINUTE)
    hours, minutes = divmod(minutes, 60)
    head = (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "")
    return f"{head}{_trimmed(rest, _NANO)}s"


def show_latency(nanoseconds: int) -> str:
    """Return a request's duration as GIN prints it: beyond a minute without fractions of a second."""
    return show_duration(nanoseconds - nanoseconds % _NANO if nanoseconds > _MINUTE else nanoseconds)


def _trimmed(amount: int, unit: int) -> str:
    whole, rest = divmod(amount, unit)
    digits = str(rest).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def human_bytes(size: Bytes) -> str:
    """Return a size as `format.HumanBytes2` does: `457.0 MiB`, `2.0 GiB`, `0 B`."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << power:
            return f"{size / (1 << power):.1f} {unit}"
    return f"{size} B"


def human_number(count: int) -> str:
    """Return a count of parameters as Ollama shows it: `3.2B`, `494.03M`, `74K`."""
    if count >= 10**9:
        return f"{count / 10**9:.1f}B"
    if count >= 10**6:
        return f"{count / 10**6:.2f}M"
    return f"{count // 1000}K" if count >= 1000 else str(count)  # noqa: PLR2004  # a thousand


def timestamp(nanoseconds: int) -> str:
    """Return Unix nanoseconds as RFC 3339 in UTC, without trailing zeros in the fraction."""
    seconds, rest = divmod(nanoseconds, _NANO)
    digits = str(rest).zfill(9).rstrip("0")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + (f".{digits}Z" if digits else "Z")


def quoted(text: str) -> str:
    """Return text as Go's `%q` does."""
    return json.dumps(text, ensure_ascii=False)


def decode_error(text: str, error: json.JSONDecodeError) -> str:
    """Return the error of Go's decoder for a broken document: cut off, or invalid at a place."""
    place = error.pos
    rest = text[place:].lstrip()
    if not rest or "Unterminated" in error.msg:
        return "unexpected EOF"
    where = {
        "Expecting value": "looking for beginning of value",
        "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
        "Expecting ':' delimiter": "after object key",
        "Expecting ',' delimiter": "after object key:value pair",
    }.get(error.msg, "in literal or string")
    return f"invalid character {_character(rest[0])} {where}"


def _character(character: str) -> str:
    return r"'\''" if character == "'" else f"'{character}'"
