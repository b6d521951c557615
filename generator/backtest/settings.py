"""How an alpha's values become positions: BRAIN's settings, and the choices that its documentation leaves open."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

ENGINE_VERSION = 2
"""Raised when the same panel, expression and settings give other figures, so that alphas are evaluated again."""


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
class Settings:
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
