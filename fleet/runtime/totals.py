"""Totals: counters and histograms that only grow, stored as one JSON object beside the facts that they count.

A counter is a number below its labels: `{"incidents": {"allocation": {"llama3.2:3b": 3}}}`. A histogram is
`{"sum": seconds, "buckets": [count, …]}`. A bucket counts the values up to its bound and above the bound before. The
last bucket counts all larger values. All functions are pure. Unreadable parts of a stored object count as absent.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite

OTHER = "other"
"""The label that stands for all labels beyond the limit of a counter."""

_MOST_LABELS = 64
_SHORT = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LONG = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

BOUNDS: Mapping[str, tuple[Seconds, ...]] = {
    "switch_seconds": _LONG,
    "request_seconds": _LONG,
    "load_seconds": _SHORT,
    "first_token_seconds": _SHORT,
}
"""The bucket bounds of each histogram; those of a stored histogram with other bounds are lost."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram's sum, and its cumulative counts by bound; the last count has no bound and is the total."""

    bounds: tuple[Seconds, ...]
    counts: tuple[float, ...]
    sum: Seconds


def increased(totals: Mapping[str, Any], path: Sequence[str], amount: float = 1) -> dict[str, Any]:
    """Return the totals with a counter increased; `path` is its name and its labels.

    A new label beyond the limit of its counter is counted as `other`. An amount of 0 or less changes nothing.
    """
    if amount <= 0:
        return dict(totals)
    name, *rest = path
    if name not in totals and len(totals) >= _MOST_LABELS:
        name = OTHER
    known = totals.get(name)
    if not rest:
        return {**totals, name: (_amount(known) or 0) + amount}
    return {**totals, name: increased(known if isinstance(known, Mapping) else {}, rest, amount)}


def observed(totals: Mapping[str, Any], name: str, seconds: Seconds) -> dict[str, Any]:
    """Return the totals with one more value in a histogram of `BOUNDS`; a negative value counts as 0."""
    bounds, value = BOUNDS[name], max(seconds, 0.0)
    buckets = _buckets(totals.get(name), len(bounds) + 1) or [0] * (len(bounds) + 1)
    place = bisect_left(bounds, value)
    buckets = [count + (number == place) for number, count in enumerate(buckets)]
    known = totals.get(name)
    before = (_amount(known.get("sum")) if isinstance(known, Mapping) else 0) or 0
    return {**totals, name: {"sum": before + value, "buckets": buckets}}


def counters(totals: object, name: str, labels: int) -> dict[tuple[str, ...], float]:
    """Return the values of a counter by its labels; empty if there are none."""
    table = totals.get(name) if isinstance(totals, Mapping) else None
    return dict(_flat(table, labels))


def _flat(value: object, depth: int) -> list[tuple[tuple[str, ...], float]]:
    if depth == 0:
        amount = _amount(value)
        return [] if amount is None else [((), amount)]
    if not isinstance(value, Mapping):
        return []
    return [
        ((str(label), *labels), amount)
        for label, inner in value.items()
        for labels, amount in _flat(inner, depth - 1)
    ]


def histogram(totals: object, name: str) -> Histogram | None:
    """Return a histogram of `BOUNDS`, None before its first value."""
    row = totals.get(name) if isinstance(totals, Mapping) else None
    bounds = BOUNDS[name]
    buckets = _buckets(row, len(bounds) + 1)
    if buckets is None or not isinstance(row, Mapping):
        return None
    return Histogram(bounds, tuple(accumulate(buckets)), _amount(row.get("sum")) or 0.0)


def _buckets(row: object, length: int) -> list[float] | None:
    values = row.get("buckets") if isinstance(row, Mapping) else None
    if not isinstance(values, list) or len(values) != length:
        return None
    counts = [_amount(value) for value in values]
    return [count for count in counts if count is not None] if None not in counts else None


def _amount(value: object) -> float | None:
    """Return a stored count or sum, None for anything that is no number of at least 0."""
    number = None if isinstance(value, str) else finite(value)
    if number is None or number < 0:
        return None
    return int(number) if number == int(number) else number
