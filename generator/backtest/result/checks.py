"""BRAIN's submission checks, as far as they can be told from a local backtest. Pure.

Limits are those of BRAIN's page of July 2026.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from generator.backtest.result.metrics import Figures

_SHARPE = {0: 2.0, 1: 1.25}
_FITNESS = {0: 1.3, 1: 1.0}
_LEAST_TURNOVER = 0.01
_MOST_TURNOVER = 0.70
_MOST_WEIGHT = 0.10
_FEWEST = 10
LEAST_HELD = 0.5
"""The share of the panel's days with positions below which no figure means anything; a check of ours, not BRAIN's."""
_SUB_UNIVERSE = 0.75
_CORRELATION = 0.7
_BETTER = 0.10
_CORRELATION_DAYS = 4 * 252
_FEWEST_COMMON_DAYS = 20

Dates = npt.NDArray[np.datetime64]
Series = npt.NDArray[np.float64]


class Result(Enum):
    """How a check came out; PENDING could not be told."""

    PASS = "PASS"  # noqa: S105  # BRAIN's word for it
    FAIL = "FAIL"
    PENDING = "PENDING"


@dataclass(frozen=True, slots=True)
class Check:
    """One check, with the limit it is held to and the value found."""

    name: str
    result: Result
    limit: float
    value: float

    def as_json(self) -> dict[str, Any]:
        """Return the check as BRAIN writes it."""
        value = self.value if math.isfinite(self.value) else None
        limit = self.limit if math.isfinite(self.limit) else None
        return {"name": self.name, "result": self.result.value, "limit": limit, "value": value}


@dataclass(frozen=True, slots=True)
class Kept:
    """The daily PnL of an alpha that is kept already."""

    name: str
    dates: Dates
    pnl: Series
    sharpe: float


def _at_least(name: str, value: float, limit: float) -> Check:
    return Check(name, Result.PASS if value >= limit else Result.FAIL, limit, value)


def _at_most(name: str, value: float, limit: float) -> Check:
    return Check(name, Result.PASS if value <= limit else Result.FAIL, limit, value)


def checks(
    figures: Figures,
    *,
    delay: int,
    largest_weight: float,
    fewest_positions: int,
    held_share: float,
    sub_sharpe: float | None,
    sub_share: float,
    dates: Dates,
    pnl: Series,
    kept: Sequence[Kept] = (),
) -> tuple[Check, ...]:
    """Return all checks; `sub_sharpe` None leaves that one pending."""
    concentrated = _at_most("CONCENTRATED_WEIGHT", largest_weight, _MOST_WEIGHT)
    if fewest_positions < _FEWEST:
        concentrated = Check(concentrated.name, Result.FAIL, concentrated.limit, concentrated.value)
    return (
        _at_least("LOW_SHARPE", figures.sharpe, _SHARPE[delay]),
        _at_least("LOW_FITNESS", figures.fitness, _FITNESS[delay]),
        _at_least("LOW_TURNOVER", figures.turnover, _LEAST_TURNOVER),
        _at_most("HIGH_TURNOVER", figures.turnover, _MOST_TURNOVER),
        concentrated,
        _sub_universe(figures.sharpe, sub_sharpe, sub_share),
        _self_correlation(figures.sharpe, dates, pnl, kept),
        _at_least("LOW_POSITION_DAYS", held_share, LEAST_HELD),
    )


def _sub_universe(sharpe: float, sub_sharpe: float | None, share: float) -> Check:
    limit = _SUB_UNIVERSE * math.sqrt(share) * sharpe
    if sub_sharpe is None:
        return Check("LOW_SUB_UNIVERSE_SHARPE", Result.PENDING, limit, math.nan)
    return _at_least("LOW_SUB_UNIVERSE_SHARPE", sub_sharpe, limit)


def _self_correlation(sharpe: float, dates: Dates, pnl: Series, kept: Sequence[Kept]) -> Check:
    """Fail where the PnL of the last four years moves with a kept alpha's that is not clearly worse."""
    worst = 0.0
    failed = False
    for other in kept:
        r = correlation(dates, pnl, other.dates, other.pnl)
        worst = max(worst, r)
        failed |= r >= _CORRELATION and not sharpe >= other.sharpe + _BETTER * abs(other.sharpe)
    return Check("SELF_CORRELATION", Result.FAIL if failed else Result.PASS, _CORRELATION, worst)


def correlation(dates: Dates, pnl: Series, other_dates: Dates, other: Series) -> float:
    """Return the correlation over the last four years' common days; 0 where there are too few or nothing moves."""
    _, mine, theirs = np.intersect1d(dates, other_dates, assume_unique=True, return_indices=True)
    a = pnl[mine][-_CORRELATION_DAYS:]
    b = other[theirs][-_CORRELATION_DAYS:]
    if len(a) < _FEWEST_COMMON_DAYS or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
