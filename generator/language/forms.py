"""Forms of string arguments (a range, edges, values to ignore) and their canonical spelling."""

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from generator.language.print import show_number

_MOST_BUCKETS: Final = 1000
_RANGE_PARTS: Final = 3
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.,+ -]{0,24}")


def canonical_string(form: str, text: str) -> str | None:
    """Return the canonical spelling of a string of this form, None if it does not have the form."""
    return _READERS.get(form, _free)(text)


def expected_string(form: str) -> str:
    """Return a description of a string of this form, for messages."""
    return _EXPECTED.get(form, "a word or two in quotes")


def _numbers(text: str) -> list[float] | None:
    """Return the numbers of a list with commas, None unless all are finite numbers."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return values if all(math.isfinite(value) for value in values) else None


def _free(text: str) -> str | None:
    """Return a text without a known form if it is short and plain: prompts repeat models' texts."""
    return text.strip() if _PLAIN.fullmatch(text) else None


def _range(text: str) -> str | None:
    values = _numbers(text)
    if values is None or len(values) != _RANGE_PARTS:
        return None
    start, end, step = values
    if step <= 0 or end <= start or (end - start) / step > _MOST_BUCKETS:
        return None
    return _joined(values)


def _edges(text: str) -> str | None:
    values = _numbers(text)
    if values is None or len(values) > _MOST_BUCKETS:
        return None
    rising = all(left < right for left, right in pairwise(values))
    return _joined(values) if rising else None


def _ignore(text: str) -> str | None:
    words = [word.upper() for word in text.split()]
    known = [word for word in ("NAN", "0") if word in words]
    return " ".join(known) if len(known) == len(words) and known else None


def _joined(values: list[float]) -> str:
    return ",".join(show_number(value) for value in values)


_READERS: Final[dict[str, Callable[[str], str | None]]] = {
    "range": _range,
    "edges": _edges,
    "ignore": _ignore,
}
_EXPECTED: Final = {
    "range": 'start, end and step as in "0.1,1,0.1"',
    "edges": 'rising numbers as in "2,5,6,7,10"',
    "ignore": '"NAN", "0" or "NAN 0"',
}
