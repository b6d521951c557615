"""The share of luck in an alpha: the deflated Sharpe ratio. Pure; the standard library suffices.

The best of many trials looks good by chance alone. This ratio is the probability that an alpha's Sharpe ratio exceeds
the expected best of trials without skill.

D. H. Bailey and M. López de Prado (2014): The deflated Sharpe ratio: correcting for selection bias, backtest
overfitting and non-normality. Journal of Portfolio Management 40 (5), 94-107.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

from generator.domain import Moments

LIKELY_FROM = 0.95
LUCK_BELOW = 0.5
EULER_GAMMA = 0.5772156649015329
SAMPLE = 1000
"""Most trials whose daily PnL is kept, for the number of different ones."""
SAME_TRIAL = 0.7
"""Correlation of daily PnL from which two trials count as one."""
_NORMAL = NormalDist()


class Luck(StrEnum):
    """Mark of an alpha by its Sharpe ratio: likely more than luck, not proven, or no more than luck."""

    LIKELY = "likely"
    UNPROVEN = "unproven"
    LUCK = "luck"


@dataclass(frozen=True, slots=True)
class Trials:
    """Trials so far, and the figures of a sample.

    `distinct` of the `sampled` trials do not correlate. `variance` is that of their daily Sharpe ratios, None for
    fewer than two.
    """

    count: int = 0
    sampled: int = 0
    distinct: int = 0
    variance: float | None = None

    @property
    def effective(self) -> float:
        """Return the number of trials that differ: the count times the sample's share of distinct ones."""
        return self.count * self.distinct / self.sampled if self.sampled else float(self.count)


def expected_best(*, variance: float, trials: float) -> float:
    """Return the expected highest Sharpe ratio of independent trials without skill.

    Equation 1 of the paper: `sqrt(V) ((1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e)))`. V is the variance of the trials' Sharpe
    ratios, and N their number. g is Euler's constant, and Z the inverse of the normal distribution.
    """
    if trials <= 1.0:
        return 0.0
    first, second = _NORMAL.inv_cdf(1.0 - 1.0 / trials), _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return max(0.0, math.sqrt(variance) * ((1.0 - EULER_GAMMA) * first + EULER_GAMMA * second))


def deflated_sharpe(
    *, sharpe: float, variance: float, trials: float, days: int, skewness: float, kurtosis: float
) -> float | None:
    """Return the deflated Sharpe ratio, a probability; None if it is not defined.

    Equation 2 of the paper: `Phi((SR - SR0) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2))`. SR is the daily Sharpe
    ratio, SR0 the expected best of the trials, and T the number of days. g3 is the skewness and g4 the kurtosis of the
    daily PnL, 3 for a normal distribution.
    """
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if days < 2 or not spread > 0.0:  # noqa: PLR2004  # a deviation takes two days
        return None
    excess = sharpe - expected_best(variance=variance, trials=trials)
    return _NORMAL.cdf(excess * math.sqrt(days - 1) / math.sqrt(spread))


def dsr_of(moments: Moments | None, trials: Trials) -> float | None:
    """Return an alpha's deflated Sharpe ratio by today's trials; None without daily PnL."""
    if moments is None or moments.days < 2:  # noqa: PLR2004  # a deviation takes two days
        return None
    return deflated_sharpe(
        sharpe=moments.sharpe,
        variance=variance_over(moments.days, trials),
        trials=trials.effective,
        days=moments.days,
        skewness=moments.skewness,
        kurtosis=moments.kurtosis,
    )


def variance_over(days: int, trials: Trials) -> float:
    """Return the variance of the trials' daily Sharpe ratios for the deflated Sharpe ratio over `days`.

    The variance is at least 1 / (T - 1), that of Sharpe ratios without skill over as many days. Trials that move
    together differ less from each other than from zero, which the formula takes as their mean.
    """
    return max(trials.variance or 0.0, 1.0 / (days - 1))


def luck_of(dsr: float | None) -> Luck | None:
    """Return the mark of a deflated Sharpe ratio; None where there is none."""
    if dsr is None:
        return None
    if dsr >= LIKELY_FROM:
        return Luck.LIKELY
    return Luck.LUCK if dsr < LUCK_BELOW else Luck.UNPROVEN
