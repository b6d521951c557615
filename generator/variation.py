"""Search around an alpha by successive halving: constants and settings, one change at a time. Pure but for `evaluate`.

Each round spends half of the remaining budget on changes of its survivors. It keeps half as many survivors as the round
before, the fittest. The last round has one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from generator.catalogue import Catalogue
from generator.domain import Result
from generator.language.ast import Call, Node, Number
from generator.language.canonical import alpha_of
from generator.language.errors import ExpressionError

_FIRST_SURVIVORS = 8
# A constant is multiplied by them.
_FACTORS = (0.5, 0.75, 1.5, 2.0)
# Usual values, from which a setting moves to a neighbour.
_STEPS: Mapping[str, Sequence[int | float]] = {
    "delay": (0, 1),
    "decay": (0, 2, 4, 8, 16, 32, 64),
    "truncation": (0.0, 0.01, 0.02, 0.05, 0.08, 0.1),
}


@dataclass(frozen=True, slots=True)
class AlphaChoices:
    """The settings of a variant."""

    delay: int
    decay: int
    neutralization: str
    truncation: float


@dataclass(frozen=True, slots=True)
class Variant:
    """An expression under settings; `parent` is the digest of the one that it was made from, empty for the first."""

    tree: Node = field(compare=False)
    digest: str
    choices: AlphaChoices
    parent: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Trial:
    """A variant with its result; `fitness` is None without figures that mean something."""

    variant: Variant
    result: Result
    fitness: float | None = None


Evaluate: TypeAlias = Callable[[Sequence[Variant]], Sequence[Trial]]


def search(
    first: Variant, catalogue: Catalogue, neutralizations: Sequence[str], *, budget: int, evaluate: Evaluate
) -> list[Trial]:
    """Return the trials, the first variant's first and then the others by fitness; at most `budget` of them."""
    trials = list(evaluate([first]))
    tried, survivors, keep = {first}, [first], _FIRST_SURVIVORS
    while len(trials) < budget:
        share = max(1, (budget - len(trials)) // 2) if keep > 1 else budget - len(trials)
        fresh = _fresh(survivors, tried, catalogue, neutralizations, share)
        if not fresh:
            break
        tried |= set(fresh)
        trials += evaluate(fresh)
        survivors = [one.variant for one in ranked(trials)[:keep]]
        keep = max(1, keep // 2)
    return [trials[0], *(one for one in ranked(trials) if one is not trials[0])]


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials by fitness; those without figures come last, equal ones in the order of their evaluation."""
    return sorted(trials, key=lambda one: (one.fitness is None, -(one.fitness or 0.0)))


def _fresh(
    survivors: Sequence[Variant],
    tried: set[Variant],
    catalogue: Catalogue,
    neutralizations: Sequence[str],
    most: int,
) -> list[Variant]:
    """Return changes that were not tried, one of each survivor in turn."""
    sources = [changes(one, catalogue, neutralizations) for one in survivors]
    found: dict[Variant, None] = {}
    while sources and len(found) < most:
        for source in list(sources):
            new = next((one for one in source if one not in tried and one not in found), None)
            if new is None:
                sources.remove(source)
            elif len(found) < most:
                found[new] = None
    return list(found)


def changes(variant: Variant, catalogue: Catalogue, neutralizations: Sequence[str]) -> Iterator[Variant]:
    """Yield a variant's changes: settings and constants in turn, so that a small budget sees both."""
    settings = (
        replace(variant, choices=choices, parent=variant.digest)
        for choices in _other_choices(variant.choices, neutralizations)
    )
    constants = (
        replace(variant, tree=tree, digest=alpha_of(tree, catalogue).digest, parent=variant.digest)
        for tree in constant_changes(variant.tree, catalogue)
    )
    waiting = [settings, constants]
    while waiting:
        for source in list(waiting):
            new = next(source, None)
            if new is None:
                waiting.remove(source)
            else:
                yield new


def _other_choices(choices: AlphaChoices, neutralizations: Sequence[str]) -> Iterator[AlphaChoices]:
    for name, steps in _STEPS.items():
        value = getattr(choices, name)
        below = [one for one in steps if one < value][-1:]
        above = [one for one in steps if one > value][:1]
        for one in (*below, *above):
            changed: dict[str, Any] = {name: one}
            yield replace(choices, **changed)
    yield from (
        replace(choices, neutralization=one) for one in neutralizations if one != choices.neutralization
    )


def constant_changes(tree: Node, catalogue: Catalogue) -> Iterator[Node]:
    """Yield the valid trees with one constant changed, in the order of the constants; whole numbers stay whole."""
    for changed in _changes(tree):
        try:
            alpha_of(changed, catalogue)
        except (ExpressionError, KeyError):
            continue
        yield changed


def _changes(node: Node) -> Iterator[Node]:
    if isinstance(node, Number):
        yield from map(Number, _others(node.value))
    elif isinstance(node, Call):
        for place, arg in enumerate(node.args):
            for new in _changes(arg):
                yield Call(node.name, (*node.args[:place], new, *node.args[place + 1 :]), node.named)
        for place, (name, value) in enumerate(node.named):
            for new in _changes(value):
                named = (*node.named[:place], (name, new), *node.named[place + 1 :])
                yield Call(node.name, node.args, named)


def _others(value: float) -> Iterator[float]:
    found = [value * factor for factor in _FACTORS]
    if value.is_integer():
        found = [float(round(one)) for one in found]
    yield from (one for one in dict.fromkeys(found) if one not in {value, 0.0})
