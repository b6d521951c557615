"""Choice of parents among the pool's members, for prompts and for breeding. Pure, given the randomness.

The choice reads train figures alone. A member with many children is chosen less often.
"""

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final

from generator.pool.model import Member

_NO_CHILDREN: Final[Mapping[str, int]] = MappingProxyType({})


def choose_parents(
    members: Sequence[Member], rng: Random, count: int, children: Mapping[str, int] = _NO_CHILDREN
) -> list[Member]:
    """Return different members, at most `count`, by chances proportional to fitness / (1 + children).

    `children` counts each member's children by digest. A member whose train fitness is not above 0 is never chosen.
    """
    waiting = [one for one in members if one.train.fitness > 0]
    chosen: list[Member] = []
    while waiting and len(chosen) < count:
        chances = [one.train.fitness / (1 + children.get(one.digest, 0)) for one in waiting]
        [index] = rng.choices(range(len(waiting)), chances)
        chosen.append(waiting.pop(index))
    return chosen
