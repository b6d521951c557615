"""Settings of a simulation, and the choices that BRAIN's documentation leaves open."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

ENGINE_VERSION = 2
"""Version of the figures. Increase it when they change for one panel, expression and settings: alphas are then
evaluated again."""


class History(Enum):
    """Treatment of days before the panel's first day in a window."""

    MISSING = "missing"
    """Days before the first count as missing, as before a late listing."""
    STRICT = "strict"
    """A window that begins before the first day gives NaN."""


class TiedExtreme(Enum):
    """The one of several equal extremes that `ts_arg_max` and `ts_arg_min` return."""

    NEWEST = "newest"
    OLDEST = "oldest"


class TsQuantile(Enum):
    """Computation of `ts_quantile`."""

    RANK = "rank"
    """The inverse distribution function of today's rank, which is moved off 0 and 1 as in `quantile`."""
    ZSCORE = "zscore"
    """The distribution function of the z-score (ddof 1), as in BRAIN's worked example."""


class GroupMean(Enum):
    """The mean that `group_mean` returns."""

    PLAIN = "plain"
    HARMONIC = "harmonic"


class Uniform(Enum):
    """The result of `quantile` with the uniform driver."""

    CENTRED = "centred"
    """The rank, moved off 0 and 1, less its mean over the day, as BRAIN's page describes it."""
    RANK = "rank"
    """The rank, moved off 0 and 1: the inverse of the uniform distribution function."""


class TruncateTotal(Enum):
    """The day's total that `truncate` takes its limit as a share of."""

    SIZES = "sizes"
    """The sum of absolute values; large negative values are limited too, as positions are."""
    SUM = "sum"
    """The plain sum; only large positive values are limited."""


@dataclass(frozen=True, slots=True)
class Semantics:
    """The open choices of the operators' meaning."""

    history: History = History.MISSING
    tied_extreme: TiedExtreme = TiedExtreme.NEWEST
    ts_quantile: TsQuantile = TsQuantile.RANK
    group_mean: GroupMean = GroupMean.PLAIN
    uniform: Uniform = Uniform.CENTRED
    truncate_total: TruncateTotal = TruncateTotal.SIZES
    ts_zscore_ddof: int = 0
    """0, or 1 as in one of BRAIN's two worked examples."""
    first_day_of_change: int = 0
    """The value of `days_from_last_change` on the day of change: 0 or 1."""
    delay_offset: int = 0
    """Days added to the d of `ts_delay` and `ts_delta`; -1 reproduces BRAIN's "Day 3" tables."""
    single_value_rank: float = float("nan")
    """The rank of a day's only value, where (r-1)/(n-1) is 0/0: NaN or 0.5."""
    kurtosis_of_normal: float = 3.0
    """The number that `ts_kurtosis` subtracts: 3 gives a normal distribution 0. Alternative: 0."""
    nan_comparison: bool = False
    """True: a comparison with NaN is NaN. False: it is false, and `!=` is true, as in IEEE 754."""
    nan_handling: bool = False
    """BRAIN's setting. True: an empty window gives 0, and `group_mean` gives its value to all members of the group."""


class Neutralization(Enum):
    """The groups within which an alpha's values are made to sum to zero; coarsest first."""

    NONE = "none"
    MARKET = "market"
    SECTOR = "sector"
    INDUSTRY = "industry"
    SUBINDUSTRY = "subindustry"


class Truncation(Enum):
    """The step at which positions are clipped, which BRAIN does not document."""

    AFTER_DECAY = "after_decay"
    BEFORE_DECAY = "before_decay"


_FINEST_FIRST = (Neutralization.SUBINDUSTRY, Neutralization.INDUSTRY, Neutralization.SECTOR)


@dataclass(frozen=True, slots=True)
class AlphaSettings:
    """The settings of a simulation. Raises ValueError for values that BRAIN refuses too.

    `delay`: a day's positions use data up to `delay` days before it. They earn from that day's close to the next.
    `decay`: days of a linear mean over positions; 0 and 1 change nothing. `truncation`: largest position as a share of
    the book; 0 sets no limit. `pasteurization`: data outside the universe are missing. `nan_handling`: see Semantics.
    `clip_at`, `rescale_after_decay` and `rescale_after_truncation` are choices that BRAIN's documentation leaves open.
    """

    delay: int = 1
    decay: int = 0
    neutralization: Neutralization = Neutralization.INDUSTRY
    truncation: float = 0.08
    pasteurization: bool = True
    nan_handling: bool = False
    clip_at: Truncation = Truncation.AFTER_DECAY
    rescale_after_decay: bool = True
    rescale_after_truncation: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.delay <= 1:
            raise ValueError(f"delay is 0 or 1, not {self.delay}")
        if not 0 <= self.decay <= 512:  # noqa: PLR2004 - BRAIN's range
            raise ValueError(f"decay is 0 to 512, not {self.decay}")
        if not 0 <= self.truncation <= 1:
            raise ValueError(f"truncation is 0 to 1, not {self.truncation}")

    def as_json(self) -> dict[str, Any]:
        """Return the settings for display."""
        return {
            "delay": self.delay,
            "decay": self.decay,
            "neutralization": self.neutralization.value,
            "truncation": self.truncation,
            "pasteurization": self.pasteurization,
            "nan_handling": self.nan_handling,
        }


def usable_neutralization(wanted: Neutralization, groups: set[str]) -> Neutralization:
    """Return the wanted neutralization, else the finest that the panel has groups for; market needs none."""
    if wanted in {Neutralization.NONE, Neutralization.MARKET} or wanted.value in groups:
        return wanted
    # Values that sum to zero within finer groups do so within the coarser ones that these make up.
    return next((one for one in _FINEST_FIRST if one.value in groups), Neutralization.MARKET)
