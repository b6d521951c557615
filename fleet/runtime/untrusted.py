"""Untrusted values: numbers, JSON and text of log lines, responses and files of other programs.

Every number passes `finite`; a number that it rejects counts as missing.
"""

import json
import re
from typing import Any

LARGEST = 2.0**63
"""Largest accepted number: a 64-bit integer. Sums and dates of larger ones would overflow."""

LATEST = 253_402_300_799.0
"""Latest time that a calendar shows: the end of the year 9999."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""An escape that may be half of a surrogate pair, or such a half itself."""


def finite(value: object) -> float | None:
    """Return a number, or a text that holds one, as a float; None for any other value.

    NaN, infinity and numbers beyond `LARGEST` give None too.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= LARGEST else None  # NaN compares false


def moment(value: object) -> float | None:
    """Return a time (Unix seconds) from 1970 to `LATEST`; None for any other value."""
    time = finite(value)
    return time if time is not None and 0.0 <= time <= LATEST else None


def whole_number(value: object) -> int | None:
    """Return the number of `finite` without its fraction, as an int; None for any other value."""
    number = finite(value)
    if number is None:
        return None
    return value if isinstance(value, int) else int(number)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text, with None for each number that `finite` rejects.

    Half a surrogate pair becomes `?`: no file, database or terminal takes it. Raise ValueError if the text is no JSON
    or nested too deeply.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    try:
        value = _loads(text)
        if _HALF.search(text):
            value = _loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _loads(text: str) -> Any:
    return json.loads(text, parse_float=finite, parse_int=_exact, parse_constant=finite)


def _exact(digits: str) -> int | None:
    return None if finite(digits) is None else int(digits)


def printable(text: str, limit: int = 200) -> str:
    """Return at most `limit` characters of a text in one line, with `?` for each character that is not printable.

    A longer text ends with its last whole word, or within it if that is very long.
    """
    if len(text) > limit:
        words = text[:limit].rpartition(" ")[0]
        text = (words if 2 * len(words) >= limit else text[: limit - 1]) + "…"
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in text)
