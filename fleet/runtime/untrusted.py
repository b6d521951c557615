"""Values from outside: numbers and JSON of log lines, answers and files that another program writes.

`finite` judges every number. A number that it refuses counts as missing, wherever it stood.
"""

import json
from typing import Any

LARGEST = 2.0**63
"""Beyond a 64-bit integer no program means a number, and sums and dates of it would overflow."""


def finite(value: object) -> float | None:
    """Return a number, or the number that a text holds, as a float; None for any other value.

    NaN, infinity and numbers beyond `LARGEST` are none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= LARGEST else None  # NaN compares false


def whole_number(value: object) -> int | None:
    """Return what `finite` reads as a whole number, its fraction cut off; None for any other value."""
    number = finite(value)
    if number is None:
        return None
    return value if isinstance(value, int) else int(number)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text, with None for each number that `finite` refuses.

    Raise ValueError if it is no JSON or nested too deeply.
    """
    try:
        return json.loads(text, parse_float=finite, parse_int=_exact, parse_constant=finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _exact(digits: str) -> int | None:
    return None if finite(digits) is None else int(digits)


def printable(text: str, most: int = 200) -> str:
    """Return at most so many characters of a text, in one line, with `?` for what no terminal should get."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in short)
