"""BRAIN's figures and checks from daily series (pure).

The figures are shares of the book, so its size cancels. BRAIN trades a book of 20 million and states returns on half of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from generator.domain import Moments

DAYS_FOR_SHARPE = 252
DAYS_FOR_RETURNS = 250  # three published alphas fit margin = returns / (500 turnover) exactly
LEAST_TURNOVER = 0.125

Series = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of consecutive days; NaN where they cannot be computed.

    sharpe: sqrt(252) mean / deviation (ddof 1) of the daily PnL. turnover: mean daily traded share of the book.
    returns: 250 mean PnL over half the book. fitness: sharpe sqrt(|returns| / max(turnover, 0.125)). drawdown: the
    largest fall of the running PnL over half the book. margin: PnL per unit traded. Counts are daily means.
    """

    sharpe: float
    turnover: float
    fitness: float
    returns: float
    drawdown: float
    margin: float
    pnl: float
    long_count: int
    short_count: int
    days: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures by name; NaN and infinities become None."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in named.items()}


def sharpe_of(pnl: Series) -> float:
    """Return the yearly Sharpe ratio of daily PnL; NaN for fewer than two days or for equal values."""
    if len(pnl) < 2:  # noqa: PLR2004 - a deviation takes two
        return math.nan
    centre = float(pnl.mean())
    deviation = float(pnl.std(ddof=1))
    if deviation <= 1e-12 * abs(centre) or deviation == 0:  # equal values, up to rounding
        return math.nan
    return math.sqrt(DAYS_FOR_SHARPE) * centre / deviation


def daily_moments(pnl: Series) -> Moments:
    """Return the moments of daily PnL; NaN for a figure that is not defined."""
    sharpe = sharpe_of(pnl) / math.sqrt(DAYS_FOR_SHARPE)
    if not math.isfinite(sharpe):
        return Moments(math.nan, len(pnl), math.nan, math.nan)
    scores = (pnl - pnl.mean()) / pnl.std()
    return Moments(sharpe, len(pnl), float((scores**3).mean()), float((scores**4).mean()))


def drawdown_of(pnl: Series) -> float:
    """Return the largest fall of the running sum below its highest point so far, which is at least 0."""
    if not len(pnl):
        return 0.0
    total = np.cumsum(pnl)
    return float(np.max(np.maximum(np.maximum.accumulate(total), 0.0) - total))


def fitness_of(sharpe: float, returns: float, turnover: float) -> float:
    """Return sharpe sqrt(|returns| / max(turnover, 0.125)); it reproduces six published alphas to the last digit."""
    return sharpe * math.sqrt(abs(returns) / max(turnover, LEAST_TURNOVER))


def figures(pnl: Series, traded: Series, longs: Series, shorts: Series) -> Figures:
    """Return the figures of daily series of one length, in shares of the book."""
    if not len(pnl):
        nan = math.nan
        return Figures(nan, nan, nan, nan, nan, nan, nan, 0, 0, 0)
    sharpe = sharpe_of(pnl)
    earned, moved = float(pnl.sum()), float(traded.sum())
    turnover = moved / len(pnl)
    returns = 2 * DAYS_FOR_RETURNS * earned / len(pnl)
    return Figures(
        sharpe=sharpe,
        turnover=turnover,
        fitness=fitness_of(sharpe, returns, turnover),
        returns=returns,
        drawdown=2 * drawdown_of(pnl),
        margin=earned / moved if moved > 0 else math.nan,
        pnl=earned,
        long_count=round(float(longs.mean())),
        short_count=round(float(shorts.mean())),
        days=len(pnl),
    )


def grade_of(fitness: float, delay: int) -> str:
    """Return BRAIN's grade of a fitness; the bounds are higher for delay 0."""
    bounds = (2.5, 2.0, 1.5, 1.0) if delay else (3.25, 2.6, 1.95, 1.3)
    names = ("SPECTACULAR", "EXCELLENT", "GOOD", "AVERAGE")
    return next((n for n, b in zip(names, bounds, strict=True) if fitness > b), "INFERIOR")


_SHARPE = {0: 2.0, 1: 1.25}
_FITNESS = {0: 1.3, 1: 1.0}
_LEAST_TURNOVER = 0.01
_MOST_TURNOVER = 0.70
_MOST_WEIGHT = 0.10
_FEWEST_ON_A_SIDE = 10  # 20 in all
LEAST_HELD = 0.5
"""Least share of the panel's days with positions; below it no figure means anything. BRAIN has no such check."""
_SUB_UNIVERSE = 0.75
_CORRELATION = 0.7
_BETTER = 0.10
_CORRELATION_DAYS = 4 * 252
_FEWEST_COMMON_DAYS = 20

Dates = npt.NDArray[np.datetime64]


class Result(Enum):
    """The result of a check; PENDING if it cannot be decided."""

    PASS = "PASS"  # noqa: S105  # BRAIN's word for it
    FAIL = "FAIL"
    PENDING = "PENDING"


@dataclass(frozen=True, slots=True)
class Check:
    """One check with its limit and value; `reason` is another cause of a failure."""

    name: str
    result: Result
    limit: float
    value: float
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the check as BRAIN writes it, with its reason if there is one."""
        value = self.value if math.isfinite(self.value) else None
        limit = self.limit if math.isfinite(self.limit) else None
        row = {"name": self.name, "result": self.result.value, "limit": limit, "value": value}
        return {**row, "reason": self.reason} if self.reason else row


@dataclass(frozen=True, slots=True)
class Book:
    """Positions by day: the date, the counts of long and short, and the largest position's share of the book."""

    dates: Dates
    longs: Series
    shorts: Series
    largest: Series


@dataclass(frozen=True, slots=True)
class Kept:
    """The daily PnL of a kept alpha."""

    name: str
    dates: Dates
    pnl: Series
    sharpe: float


def _at_least(name: str, value: float, limit: float) -> Check:
    return Check(name, Result.PASS if value >= limit else Result.FAIL, limit, value)


def _at_most(name: str, value: float, limit: float) -> Check:
    if math.isnan(value):
        return Check(name, Result.PENDING, limit, value)
    return Check(name, Result.PASS if value <= limit else Result.FAIL, limit, value)


def checks(
    figures: Figures,
    *,
    delay: int,
    book: Book,
    held_share: float,
    sub_sharpe: float | None,
    sub_share: float,
    dates: Dates,
    pnl: Series,
    kept: Sequence[Kept] = (),
) -> tuple[Check, ...]:
    """Return all checks; LOW_SUB_UNIVERSE_SHARPE is pending if `sub_sharpe` is None."""
    return (
        _at_least("LOW_SHARPE", figures.sharpe, _SHARPE[delay]),
        _at_least("LOW_FITNESS", figures.fitness, _FITNESS[delay]),
        _at_least("LOW_TURNOVER", figures.turnover, _LEAST_TURNOVER),
        _at_most("HIGH_TURNOVER", figures.turnover, _MOST_TURNOVER),
        _concentrated(book),
        _sub_universe(figures.sharpe, sub_sharpe, sub_share),
        _self_correlation(figures.sharpe, dates, pnl, kept),
        _at_least("LOW_POSITION_DAYS", held_share, LEAST_HELD),
    )


def _concentrated(book: Book) -> Check:
    """Return the check, failed if any day has too large a position or too few positions on a side."""
    check = _at_most("CONCENTRATED_WEIGHT", float(book.largest.max(initial=0.0)), _MOST_WEIGHT)
    side = np.minimum(book.longs, book.shorts)
    if not len(side):
        return replace(check, result=Result.FAIL, reason="there are no positions")
    day = int(side.argmin())
    if side[day] >= _FEWEST_ON_A_SIDE:
        return check
    reason = (
        f"on {book.dates[day]} {int(book.longs[day])} positions are long and {int(book.shorts[day])} short; "
        f"{_FEWEST_ON_A_SIDE} a side are required on each day"
    )
    return replace(check, result=Result.FAIL, reason=reason)


def _sub_universe(sharpe: float, sub_sharpe: float | None, share: float) -> Check:
    limit = _SUB_UNIVERSE * math.sqrt(share) * sharpe
    if sub_sharpe is None:
        return Check("LOW_SUB_UNIVERSE_SHARPE", Result.PENDING, limit, math.nan)
    return _at_least("LOW_SUB_UNIVERSE_SHARPE", sub_sharpe, limit)


def _self_correlation(sharpe: float, dates: Dates, pnl: Series, kept: Sequence[Kept]) -> Check:
    """Return the check, failed if the PnL correlates with a kept alpha's and the Sharpe ratio is not clearly better."""
    worst = 0.0
    failed = False
    for other in kept:
        r = correlation(dates, pnl, other.dates, other.pnl)
        worst = max(worst, r)
        failed |= r >= _CORRELATION and not sharpe >= other.sharpe + _BETTER * abs(other.sharpe)
    return Check("SELF_CORRELATION", Result.FAIL if failed else Result.PASS, _CORRELATION, worst)


def correlation(dates: Dates, pnl: Series, other_dates: Dates, other: Series) -> float:
    """Return the correlation over the last four years' common days; 0 for too few days or a constant PnL."""
    _, mine, theirs = np.intersect1d(dates, other_dates, assume_unique=True, return_indices=True)
    a = pnl[mine][-_CORRELATION_DAYS:]
    b = other[theirs][-_CORRELATION_DAYS:]
    if len(a) < _FEWEST_COMMON_DAYS or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
