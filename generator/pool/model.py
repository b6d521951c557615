"""Values of the pool. A snapshot is immutable; prompts, breeding and screening read train figures alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from generator.domain import Candidate, Stretch

MOST_MEMBERS = 200


@dataclass(frozen=True, slots=True)
class Member:
    """An admitted alpha.

    `candidate` holds digest, expression, parsed tree, origin and parents. `weakest` is the weakest check on the
    train days, None if no check has a value. `correlation` is the highest with another member, -1 for the only one.
    """

    candidate: Candidate
    train: Stretch
    weakest: Mapping[str, Any] | None = None
    correlation: float = -1.0
    id: int | None = None
    pnl: bytes = field(default=b"", repr=False)
    """Daily PnL of the train days as float32; it ends on the last train day. Empty for BRAIN's alphas."""

    @property
    def digest(self) -> str:
        """Return the digest of the expression's canonical form."""
        return self.candidate.digest

    @property
    def expression(self) -> str:
        """Return the expression."""
        return self.candidate.expression

    @property
    def score(self) -> float:
        """Return the screening's rank: train fitness x (1 - highest correlation)."""
        return self.train.fitness * (1.0 - max(0.0, self.correlation))


@dataclass(frozen=True, slots=True)
class Pool:
    """Snapshot of the members, the highest train fitness first; equal ones by digest."""

    members: tuple[Member, ...] = ()

    def with_member(self, member: Member, replaced: tuple[str, ...] = ()) -> "Pool":
        """Return the pool with a member added and others removed."""
        gone = {*replaced, member.digest}
        others = [one for one in self.members if one.digest not in gone]
        return Pool(tuple(sorted([*others, member], key=_rank)))

    def with_correlations(self, highest: Mapping[str, float]) -> "Pool":
        """Return the pool with each member's highest correlation, by digest."""
        return Pool(tuple(replace(one, correlation=highest.get(one.digest, -1.0)) for one in self.members))


def _rank(member: Member) -> tuple[float, str]:
    return -member.train.fitness, member.digest


class CurrentPool:
    """The pool in force; one thread replaces it, others read it at any time."""

    def __init__(self) -> None:
        self._pool = Pool()

    @property
    def pool(self) -> Pool:
        """Return the present snapshot."""
        return self._pool

    def replace(self, pool: Pool) -> None:
        """Put another snapshot in force."""
        self._pool = pool
