"""What the public sources leave open about the operators, each as one named switch.

The defaults are the plain reading of an operator's one-line meaning; docs/operators.md names the sources that
disagree. Changing a switch changes results, never which expressions can be evaluated.
"""

from dataclasses import dataclass
from enum import Enum


class History(Enum):
    """What a window is before the panel has as many days as it asks for."""

    MISSING = "missing"
    """Days before the first are like days without data: ignored, as a late listing's are."""
    STRICT = "strict"
    """A window that begins before the first day gives NaN."""


class Place(Enum):
    """Which of several equal extremes `ts_arg_max` and `ts_arg_min` mean."""

    NEWEST = "newest"
    OLDEST = "oldest"


class TsQuantile(Enum):
    """How `ts_quantile` comes to the probability it maps."""

    RANK = "rank"
    """The inverse distribution function of today's rank, squeezed off 0 and 1 as in `quantile`."""
    ZSCORE = "zscore"
    """The distribution function of the z-score (ddof 1), as in BRAIN's worked example."""


class GroupMean(Enum):
    """Which mean `group_mean` is."""

    PLAIN = "plain"
    HARMONIC = "harmonic"


class Uniform(Enum):
    """What `quantile` gives with the uniform driver."""

    CENTRED = "centred"
    """The squeezed rank less its mean over the day, as the description on BRAIN's page has it."""
    RANK = "rank"
    """The squeezed rank itself, which is the inverse distribution function."""


class TruncateTotal(Enum):
    """The day's total of which `truncate` allows a share to each value."""

    SIZES = "sizes"
    """The sum of sizes: both sides are held alike, as positions are."""
    SUM = "sum"
    """The plain sum, and only from above."""


@dataclass(frozen=True, slots=True)
class Semantics:
    """The open choices; see the enums for those with names."""

    history: History = History.MISSING
    place: Place = Place.NEWEST
    ts_quantile: TsQuantile = TsQuantile.RANK
    group_mean: GroupMean = GroupMean.PLAIN
    uniform: Uniform = Uniform.CENTRED
    truncate_total: TruncateTotal = TruncateTotal.SIZES
    ts_zscore_ddof: int = 0
    """0, or 1 as one of two worked examples has it."""
    first_day_of_change: int = 0
    """What `days_from_last_change` gives on the day of change: 0, or 1."""
    delay_offset: int = 0
    """Days added to the d of `ts_delay` and `ts_delta`; -1 fits BRAIN's "Day 3" tables."""
    lonely_rank: float = float("nan")
    """The rank of the only value there is, where (r-1)/(n-1) is 0/0: NaN, or 0.5."""
    kurtosis_of_normal: float = 3.0
    """What `ts_kurtosis` subtracts: 3, so that a normal distribution has 0, or 0."""
    nan_comparison: bool = False
    """True: a comparison with NaN gives NaN; False: it is false, and != is true, as in IEEE 754."""
    nan_handling: bool = False
    """BRAIN's setting: True gives 0 where a whole window is missing, and a group's one value to all its members."""
