"""How an alpha's values become positions: BRAIN's settings, and the choices that its documentation leaves open."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

ENGINE_VERSION = 2
"""Raised when the same panel, expression and settings give other figures, so that alphas are evaluated again."""


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


class Neutralization(Enum):
    """Within what an alpha's values are made to sum to zero; coarsest first."""

    NONE = "none"
    MARKET = "market"
    SECTOR = "sector"
    INDUSTRY = "industry"
    SUBINDUSTRY = "subindustry"


class Truncation(Enum):
    """Where in the pipeline positions are clipped, which BRAIN does not document."""

    AFTER_DECAY = "after_decay"
    BEFORE_DECAY = "before_decay"


_FINEST_LAST = (
    Neutralization.MARKET,
    Neutralization.SECTOR,
    Neutralization.INDUSTRY,
    Neutralization.SUBINDUSTRY,
)


@dataclass(frozen=True, slots=True)
class AlphaSettings:
    """The settings of a simulation. Raises ValueError for what BRAIN would refuse too.

    `delay`: positions of a day rest on data up to `delay` days before it, and earn from that day's close to the next.
    `decay`: linear mean of the positions over so many days; 0 and 1 do nothing. `truncation`: no position larger
    than this share of the book; 0 does nothing. `pasteurization`: data outside the universe are missing.
    `nan_handling`: see Semantics. `clip_at`, `rescale_after_decay`, `rescale_after_truncation`: the open choices.
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
        """Return the settings as they are shown."""
        return {
            "delay": self.delay,
            "decay": self.decay,
            "neutralization": self.neutralization.value,
            "truncation": self.truncation,
            "pasteurization": self.pasteurization,
            "nan_handling": self.nan_handling,
        }


def finest(wanted: Neutralization, there: set[str]) -> Neutralization:
    """Return the wanted neutralization, or the finest coarser one whose groups the panel has."""
    if wanted is Neutralization.NONE:
        return wanted
    upto = _FINEST_LAST[: _FINEST_LAST.index(wanted) + 1]
    return next(n for n in reversed(upto) if n is Neutralization.MARKET or n.value in there)
