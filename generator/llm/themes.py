"""Themes of prompts, and the bandit that chooses them by the share of their alphas that the pool admits. Pure.

A theme is a kind of prompt, a style and a sample of the catalogue. About ten calls share a theme: the server's prompt
cache and grammar serve them all. A call's seed encodes its theme, both the arm and the sample.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

CALLS: Final = 10
"""Calls of one theme."""
_SLOTS: Final = 16  # of calls in a seed
_SAMPLES: Final = 2**23
_FORGETTING: Final = 0.995
"""Weight of older results at each new one: an arm that paid off at first may be exhausted."""


class ThemeKind(StrEnum):
    """Explore: a sample of the whole catalogue. Refine: parents from the pool, and a grammar that contains them."""

    EXPLORE = "explore"
    REFINE = "refine"


STYLES: Final = {
    ThemeKind.EXPLORE: (
        "reversal: what moved too far too fast comes back",
        "momentum: what persists over weeks or months",
        "volume that confirms or contradicts a move",
        "volatility: calm against restless stocks",
        "value: a company's figures against its price",
        "relative strength within a group",
        "correlation of two series, and its change",
        "something smooth and slow, with low turnover",
    ),
    ThemeKind.REFINE: (
        "the same ideas with other look-backs, smoother and with lower turnover",
        "the same ideas within a group",
        "the same ideas where a second series confirms them",
        "the same ideas measured by another field or operator",
        "two of these ideas joined into one",
        "a simpler form of the same ideas",
    ),
}


@dataclass(frozen=True, slots=True)
class Arm:
    """A choice of the bandit."""

    kind: ThemeKind
    style: str


ARMS: Final = tuple(Arm(kind, style) for kind in ThemeKind for style in STYLES[kind])


def theme_of(seed: int) -> tuple[int, Arm]:
    """Return the seed of a call's theme, and the theme's arm."""
    theme = seed // _SLOTS
    return theme, ARMS[theme % len(ARMS)]


def new_theme(arm: Arm, rng: Random) -> int:
    """Return the seed of a new theme's first call; its next calls have the next seeds. All fit 31 bits."""
    return (rng.randrange(_SAMPLES) * len(ARMS) + ARMS.index(arm)) * _SLOTS


@dataclass(frozen=True, slots=True)
class ThemeResults:
    """Admitted and refused alphas of each arm; older ones count less."""

    admitted: Sequence[float] = (0.0,) * len(ARMS)
    refused: Sequence[float] = (0.0,) * len(ARMS)

    def with_result(self, arm: Arm, *, admitted: bool) -> "ThemeResults":
        """Return the results with one more alpha."""
        index = ARMS.index(arm)
        return ThemeResults(
            _with_one(self.admitted, index if admitted else None),
            _with_one(self.refused, None if admitted else index),
        )


def _with_one(counts: Sequence[float], index: int | None) -> tuple[float, ...]:
    return tuple(_FORGETTING * count + (place == index) for place, count in enumerate(counts))


def choose_arm(results: ThemeResults, kinds: Collection[ThemeKind], rng: Random) -> Arm:
    """Return an arm of these kinds by Thompson sampling: the highest of one draw of each arm's likely share.

    All shares of an arm without results are equally likely.
    """
    draws = {
        arm: rng.betavariate(1.0 + results.admitted[index], 1.0 + results.refused[index])
        for index, arm in enumerate(ARMS)
        if arm.kind in kinds
    }
    return max(draws, key=lambda arm: draws[arm])
