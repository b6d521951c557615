"""Failed checks of an alpha, and the hard ones among them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

HARD = ("CONCENTRATED_WEIGHT", "LOW_TURNOVER", "HIGH_TURNOVER")
"""Checks that no member of the pool fails: those of the book's form.

The pool has its own bounds for earnings and correlation. On a panel of a hundred instruments the sub-universe is very
small: nearly every good alpha fails its check.
"""
SELF_CORRELATION = "SELF_CORRELATION"
FEWEST_SYMBOLS = 20
"""On a panel with fewer instruments no check is hard: ten positions a side are out of reach."""

Checks = Sequence[Mapping[str, Any]]


def failed_checks(checks: Checks) -> tuple[str, ...]:
    """Return the names of the failed checks."""
    return tuple(str(check.get("name")) for check in checks if check.get("result") == "FAIL")


def hard_failures(checks: Checks) -> tuple[str, ...]:
    """Return the names of the failed hard checks; a check with `hard` false is reported only."""
    hard = [check for check in checks if check.get("name") in HARD and check.get("hard", True)]
    return failed_checks(hard)


def softened(checks: Checks, *, symbols: int) -> Checks:
    """Return a panel's checks, the hard ones marked as reported only if the panel has too few instruments."""
    if symbols >= FEWEST_SYMBOLS:
        return checks
    return [{**check, "hard": False} if check.get("name") in HARD else check for check in checks]


def known_correlation(checks: Checks) -> float | None:
    """Return the value of the check SELF_CORRELATION; None without one."""
    found = next((check.get("value") for check in checks if check.get("name") == SELF_CORRELATION), None)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def weakest_check(checks: Checks) -> Mapping[str, Any] | None:
    """Return the first failed check, else the check whose value is nearest to its limit; None without a value.

    The distance is relative to the limit.
    """
    failed = [check for check in checks if check.get("result") == "FAIL"]
    if failed:
        return failed[0]
    return min(
        (check for check in checks if _distance(check) is not None), key=_distance_or_far, default=None
    )


def _distance(check: Mapping[str, Any]) -> float | None:
    value, limit = check.get("value"), check.get("limit")
    if not isinstance(value, int | float) or not isinstance(limit, int | float) or not limit:
        return None
    return abs(value - limit) / abs(limit)


def _distance_or_far(check: Mapping[str, Any]) -> float:
    distance = _distance(check)
    return float("inf") if distance is None else distance
