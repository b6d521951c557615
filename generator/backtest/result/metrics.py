"""BRAIN's figures of merit from a series of days. Pure.

All are shares of the book, whose size cancels: BRAIN trades a book of 20 million and states returns on half of it.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DAYS_FOR_SHARPE = 252
DAYS_FOR_RETURNS = 250  # three published alphas fit margin = returns / (500 turnover) exactly
LEAST_TURNOVER = 0.125

Series = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a stretch of days; NaN where there is nothing to tell them from.

    sharpe: sqrt(252) mean / deviation (ddof 1) of the daily PnL. turnover: mean traded share of the book a day.
    returns: 250 mean PnL over half the book. fitness: sharpe sqrt(|returns| / max(turnover, 0.125)). drawdown: the
    deepest fall of the summed PnL over half the book. margin: PnL per unit traded. Counts are means a day.
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
        """Return the figures under their names, NaN as null."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in named.items()}


def sharpe_of(pnl: Series) -> float:
    """Return the yearly Sharpe ratio of daily PnL; NaN for fewer than two days or none that differ."""
    if len(pnl) < 2:  # noqa: PLR2004 - a deviation takes two
        return math.nan
    centre = float(pnl.mean())
    deviation = float(pnl.std(ddof=1))
    if deviation <= 1e-12 * abs(centre) or deviation == 0:  # the same every day, but for rounding
        return math.nan
    return math.sqrt(DAYS_FOR_SHARPE) * centre / deviation


def drawdown_of(pnl: Series) -> float:
    """Return the deepest fall of the running sum from its highest point so far, the start (0) among them."""
    if not len(pnl):
        return 0.0
    total = np.cumsum(pnl)
    return float(np.max(np.maximum(np.maximum.accumulate(total), 0.0) - total))


def fitness_of(sharpe: float, returns: float, turnover: float) -> float:
    """Return sharpe sqrt(|returns| / max(turnover, 0.125)); fits six published alphas to the last digit."""
    return sharpe * math.sqrt(abs(returns) / max(turnover, LEAST_TURNOVER))


def figures(pnl: Series, traded: Series, longs: Series, shorts: Series) -> Figures:
    """Return the figures of a stretch of days, all of the same length, as shares of the book."""
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
    """Return BRAIN's grade for a fitness, whose bounds are higher for delay 0."""
    bounds = (2.5, 2.0, 1.5, 1.0) if delay else (3.25, 2.6, 1.95, 1.3)
    names = ("SPECTACULAR", "EXCELLENT", "GOOD", "AVERAGE")
    return next((n for n, b in zip(names, bounds, strict=True) if fitness > b), "INFERIOR")
