"""Decision to admit an alpha to the pool. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from generator.domain import Admission, AlphaFigures, Stretch
from generator.pool.checks import hard_failures
from generator.pool.model import MOST_MEMBERS, Member

GOOD_FITNESS = 0.5
"""Fitness above which an alpha is good on the train days."""
HOLDING_FITNESS = 0.25
"""Fitness above which an alpha holds on the validation days: they are a third of the train days, and noisier."""
MOST_CORRELATION = 0.7
SAME = 0.999
"""Correlation from which two alphas are reported as the same positions."""
SAME_POSITIONS = "the same positions as"
BETTER = 1.1
"""Factor by which an alpha has to beat the members that it correlates with."""

Rival: TypeAlias = tuple[Member, float]
"""A member with its correlation to the alpha on the train days."""


@dataclass(frozen=True, slots=True)
class Contender:
    """An evaluated alpha before its admission: its figures on the train days, and one bit of the validation days.

    `reason` says why the figures mean nothing. `holds` is None where the panel has no split.
    """

    fitness: float
    reason: str = ""
    hard_failures: Sequence[str] = ()
    holds: bool | None = None


def contender(figures: AlphaFigures) -> Contender:
    """Return an evaluated alpha as a contender."""
    return Contender(
        fitness=figures.fitness,
        reason=figures.reason,
        hard_failures=hard_failures(figures.checks),
        holds=None if figures.validation is None else holds(figures.validation),
    )


def holds(validation: Stretch) -> bool:
    """Return True if an alpha holds on the validation days."""
    return validation.fitness > HOLDING_FITNESS


def admission(alpha: Contender, rivals: Sequence[Rival], *, most: int = MOST_MEMBERS) -> Admission:
    """Return whether an alpha becomes a member, why not, and which members it replaces.

    `rivals` are all members. Conditions, in this order:
    - the figures mean something: the alpha holds positions on at least half of the days;
    - the alpha passes the hard checks;
    - the alpha is good on the train days;
    - the alpha beats each correlated member by a tenth;
    - the alpha holds on the validation days;
    - the pool has room or a weaker member.
    """
    refusal = _refusal(alpha)
    if refusal:
        return Admission(admitted=False, reason=refusal)
    close = [(member, r) for member, r in rivals if r >= MOST_CORRELATION]
    for member, r in close:
        if not alpha.fitness >= BETTER * member.train.fitness:
            return Admission(admitted=False, reason=_unbeaten(member, r), rival=member.digest)
    if alpha.holds is False:
        return Admission(admitted=False, reason="it does not hold on the validation days")
    replaced = [member for member, _ in close]
    staying = [member for member, r in rivals if r < MOST_CORRELATION]
    if len(staying) >= most:
        weakest = min(staying, key=lambda one: one.train.fitness)
        if alpha.fitness <= weakest.train.fitness:
            return Admission(admitted=False, reason=f"the pool is full, and its {most} members are better")
        replaced.append(weakest)
    return Admission(admitted=True, replaced=tuple(member.digest for member in replaced))


def _refusal(alpha: Contender) -> str:
    """Return why the alpha itself is refused, for any pool; empty if it is not."""
    if alpha.reason:
        return alpha.reason
    if alpha.hard_failures:
        return f"it fails {', '.join(alpha.hard_failures)}"
    if not alpha.fitness > GOOD_FITNESS:
        return f"its fitness is {alpha.fitness:.2f}; above {GOOD_FITNESS} is required"
    return ""


def _unbeaten(member: Member, correlation: float) -> str:
    if correlation >= SAME:
        return f"{SAME_POSITIONS} {member.expression}"
    return (
        f"its daily PnL correlates {correlation:.2f} with that of {member.expression}, "
        f"and its fitness is less than a tenth better"
    )
