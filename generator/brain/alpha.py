"""An alpha's details as BRAIN gives them, made figures of ours. Pure."""

from collections.abc import Mapping
from typing import Any

from generator.brain.answers import finite, plain
from generator.records import Performance

_NEEDED = ("sharpe", "fitness", "turnover", "returns")
_CHECK_KEYS = ("name", "result", "limit", "value")
_MOST_CHECKS = 100
_UNKNOWN = float("nan")


def read_alpha(document: Any) -> Performance | None:
    """Return an alpha's figures; None where they are not there yet.

    A figure that cannot be read is never taken for zero: without the four that matter the alpha is to be read
    again. A fitness alone may be missing where the alpha trades nothing.
    """
    sample = document.get("is") if isinstance(document, Mapping) else None
    if not isinstance(sample, Mapping):
        return None
    missing = {name for name in _NEEDED if finite(sample.get(name)) is None}
    if missing and (missing != {"fitness"} or sample["turnover"]):
        return None
    return Performance(
        **{name: _or_unknown(sample.get(name)) for name in (*_NEEDED, "drawdown", "margin")},
        long_count=_or_unknown(sample.get("longCount")),
        short_count=_or_unknown(sample.get("shortCount")),
        days=None,
        checks=_checks(sample.get("checks")),
        alpha_id=plain(document.get("id") or "")[:64] or None,
        grade=plain(document.get("grade") or "")[:32] or None,
        reason="",
    )


def _or_unknown(value: object) -> float:
    figure = finite(value)
    return _UNKNOWN if figure is None else figure


def _checks(rows: object) -> list[dict[str, Any]]:
    found = rows[:_MOST_CHECKS] if isinstance(rows, list) else []
    return [
        {key: _plain(row[key]) for key in _CHECK_KEYS if key in row}
        for row in found
        if isinstance(row, Mapping)
    ]


def _plain(value: object) -> object:
    if isinstance(value, bool) or value is None:
        return value
    figure = finite(value)
    return plain(value)[:64] if figure is None else value
