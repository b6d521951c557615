"""Variants of an alpha: another constant, subtree, wrap, grouping or operator. Pure, given the randomness.

A variant is a well typed alpha of the catalogue whose canonical form differs from its parent's. A variant stays within
MOST_OPERATORS and MOST_NESTED, or within its parent's size if that is larger.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from generator.catalogue.model import Catalogue, Kind, Offer, Parameter
from generator.language.ast import BRAIN_OPERATORS, MAX_DEPTH, Call, Node, Number, Text, operator_count
from generator.language.canonical import canonical
from generator.language.check import check_alpha
from generator.language.errors import ExpressionError
from generator.language.grow import Grower
from generator.language.schema import CONSTANTS

MOST_OPERATORS: Final = 12
MOST_NESTED: Final = 8
"""The deepest grammar that a prompt sends; a deeper variant could not be shown to the model."""
_TRIES: Final = 40
_GROWN_DEPTH: Final = 2
_FACTORS: Final = (0.5, 0.67, 0.8, 1.25, 1.5, 2.0)

_Path: TypeAlias = tuple[int | str, ...]
"""Steps from the root: the index of a required argument, or the name of an optional one."""


@dataclass(frozen=True, slots=True)
class _Place:
    """An argument within a tree: the way to it, its parameter and its value."""

    path: _Path
    parameter: Parameter
    value: Node


@dataclass(frozen=True, slots=True)
class _Parents:
    """An alpha in canonical form, another one to take parts from, and the means of variation."""

    tree: Node
    partner: Node
    catalogue: Catalogue
    grower: Grower
    rng: Random

    def places(self, *wanted: Offer) -> list[_Place]:
        """Return the data arguments of the tree that are matrices of these offers."""
        return [
            place
            for place in _places(self.tree, self.catalogue)
            if place.parameter.kind is Kind.MATRIX and place.parameter.offer in wanted
        ]


def breed(tree: Node, catalogue: Catalogue, rng: Random, partner: Node | None = None) -> Node | None:
    """Return a variant of an alpha, with parts of `partner` if given; None if the catalogue allows none.

    Equal arguments and an equal state of `rng` give an equal variant. Raises ExpressionError if a parent is no alpha
    of the catalogue.
    """
    parents = [canonical(one, catalogue) for one in (tree, partner) if one is not None]
    for one in parents:
        check_alpha(one, catalogue)
    given = _Parents(parents[0], parents[-1], catalogue, Grower(catalogue, rng), rng)
    for _ in range(_TRIES):
        [variation] = rng.choices(list(_VARIATIONS), list(_VARIATIONS.values()))
        child = _valid(variation(given), given)
        if child is not None:
            return child
    return None


def nested(node: Node) -> int:
    """Return the greatest number of nested operators."""
    if not isinstance(node, Call):
        return 0
    return 1 + max((nested(part) for part in (*node.args, *(value for _, value in node.named))), default=0)


def _valid(child: Node | None, given: _Parents) -> Node | None:
    """Return the variant in canonical form; None if it is no other alpha within the bounds."""
    if child is None:
        return None
    most = min(BRAIN_OPERATORS, max(MOST_OPERATORS, operator_count(given.tree)))
    deepest = min(MAX_DEPTH - 1, max(MOST_NESTED, nested(given.tree)))
    if operator_count(child) > most or nested(child) > deepest:
        return None
    try:
        check_alpha(child, given.catalogue)
        form = canonical(child, given.catalogue)
    except ExpressionError:
        return None
    return None if form == given.tree else form


def _places(node: Node, catalogue: Catalogue, path: _Path = ()) -> Iterator[_Place]:
    """Yield every argument of a canonical tree, from the root down."""
    if not isinstance(node, Call):
        return
    operator = catalogue.operators[node.name]
    last = len(operator.required) - 1
    for index, value in enumerate(node.args):
        yield _Place((*path, index), operator.required[min(index, last)], value)
        yield from _places(value, catalogue, (*path, index))
    for name, value in node.named:
        yield _Place((*path, name), operator.by_name[name], value)
        yield from _places(value, catalogue, (*path, name))


def _replaced(node: Node, path: _Path, new: Node) -> Node:
    if not path or not isinstance(node, Call):
        return new
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        args = list(node.args)
        args[step] = _replaced(args[step], rest, new)
        return Call(node.name, tuple(args), node.named)
    named = tuple(
        (name, _replaced(value, rest, new) if name == step else value) for name, value in node.named
    )
    return Call(node.name, node.args, named)


def _at(node: Node, path: _Path) -> Node:
    for step in path:
        assert isinstance(node, Call)
        node = node.args[step] if isinstance(step, int) else dict(node.named)[step]
    return node


# --- variations: each returns a tree that may be invalid or equal to its parent, or None ------------------------------


def _another_constant(given: _Parents) -> Node | None:
    """Change one number or word: a look-back by a factor or to a usual one, another value among its choices."""
    found = [one for one in _places(given.tree, given.catalogue) if isinstance(one.value, Number | Text)]
    if not found:
        return None
    place = given.rng.choice(found)
    new = _constant(place, given)
    return None if new is None else _replaced(given.tree, place.path, new)


def _constant(place: _Place, given: _Parents) -> Node | None:
    parameter, rng = place.parameter, given.rng
    if parameter.kind is Kind.MATRIX and parameter.offer is not Offer.EXIT:
        return Number(
            float(rng.choice([one for one in parameter.choices if not isinstance(one, str)] or CONSTANTS))
        )
    if parameter.lookback and isinstance(place.value, Number) and rng.random() < 0.5:  # noqa: PLR2004  # a coin
        return Number(float(max(1, round(place.value.value * rng.choice(_FACTORS)))))
    return given.grower.setting(parameter)


def _another_subtree(given: _Parents) -> Node | None:
    """Replace a series by one of the partner's, or by a new one."""
    places = given.places(Offer.SERIES, Offer.EITHER)
    if not places:
        return None
    place = given.rng.choice(places)
    if given.rng.random() < 0.5:  # noqa: PLR2004  # a coin
        return _maybe(given.tree, place.path, given.grower.series(_GROWN_DEPTH))
    return _replaced(given.tree, place.path, _part(given))


def _part(given: _Parents) -> Node:
    """Return the partner or a series within it."""
    parts = [
        one.value
        for one in _places(given.partner, given.catalogue)
        if one.parameter.kind is Kind.MATRIX and one.parameter.offer is Offer.SERIES
    ]
    return given.rng.choice([given.partner, *parts])


def _another_condition(given: _Parents) -> Node | None:
    """Replace a condition by a new one."""
    places = given.places(Offer.CONDITION, Offer.EXIT)
    if not places:
        return None
    place = given.rng.choice(places)
    return _maybe(given.tree, place.path, given.grower.argument(place.parameter, 1))


def _another_operator(given: _Parents) -> Node | None:
    """Replace an operator by one that takes the same arguments."""
    paths = [(), *(one.path for one in _places(given.tree, given.catalogue))]
    calls = [path for path in paths if isinstance(_at(given.tree, path), Call)]
    if not calls:
        return None
    path = given.rng.choice(calls)
    call = _at(given.tree, path)
    assert isinstance(call, Call)
    old = given.catalogue.operators[call.name]
    alike = [
        one.name
        for one in given.catalogue.operators.values()
        if one.search
        and (one.result, one.truth) == (old.result, old.truth)
        and one.name != old.name
        and [(p.kind, p.offer) for p in one.required] == [(p.kind, p.offer) for p in old.required]
    ]
    if not alike or call.named:
        return None
    return _replaced(given.tree, path, Call(given.rng.choice(alike), call.args))


def _wrap(given: _Parents) -> Node | None:
    """Put an operator around the alpha or around a series within it."""
    places = [(), *(one.path for one in given.places(Offer.SERIES))]
    path = given.rng.choice(places)
    wraps = [
        one
        for one in given.grower.operators
        if one.required[0].kind is Kind.MATRIX and one.required[0].offer is Offer.SERIES
    ]
    if not wraps:
        return None
    return _maybe(given.tree, path, given.grower.call(given.rng.choice(wraps), 1, _at(given.tree, path)))


def _unwrap(given: _Parents) -> Node | None:
    """Remove an operator: put a series in the place of the call that takes it."""
    conditions = {one.path for one in given.places(Offer.CONDITION, Offer.EXIT)}
    places = [one for one in given.places(Offer.SERIES) if one.path[:-1] not in conditions]
    if not places:
        return None
    place = given.rng.choice(places)
    return _replaced(given.tree, place.path[:-1], place.value)


def _combine(given: _Parents) -> Node | None:
    """Join the ranks of the alpha and of the partner, or of a new series."""
    names = [name for name in ("multiply", "add", "subtract") if name in given.catalogue.operators]
    if not names or "rank" not in given.catalogue.operators:
        return None
    own = given.partner is given.tree
    other = given.grower.series(_GROWN_DEPTH) if own else _part(given)
    if other is None:
        return None
    return Call(given.rng.choice(names), (Call("rank", (given.tree,)), Call("rank", (other,))))


def _another_group(given: _Parents) -> Node | None:
    """Change a grouping; without one, work within a group."""
    groupings = [one.path for one in _places(given.tree, given.catalogue) if one.parameter.kind is Kind.GROUP]
    if groupings:
        path = given.rng.choice(groupings)
        parameter = Parameter("group", Kind.GROUP)
        return _maybe(given.tree, path, given.grower.argument(parameter, 0))
    within = [
        one
        for one in given.grower.operators
        if one.category == "Group" and one.required[0].kind is Kind.MATRIX
    ]
    return given.grower.call(given.rng.choice(within), 0, given.tree) if within else None


def _maybe(tree: Node, path: _Path, new: Node | None) -> Node | None:
    return None if new is None else _replaced(tree, path, new)


_VARIATIONS: Final[dict[Callable[[_Parents], Node | None], float]] = {
    _another_constant: 25,
    _another_subtree: 35,
    _another_operator: 8,
    _another_condition: 4,
    _another_group: 6,
    _wrap: 10,
    _unwrap: 4,
    _combine: 8,
}
"""Each variation with its weight."""
