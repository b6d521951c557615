"""Random typed expressions, grown from the catalogue by the offers of its parameters. Pure, given the randomness."""

from random import Random
from typing import Final

from generator.catalogue.model import Catalogue, Kind, Offer, Operator, Parameter
from generator.language.ast import Call, Field, Node, Number, Text
from generator.language.schema import CONSTANTS, LOOK_BACKS

_LEAF: Final = 0.35
_CONSTANT: Final = 0.2
_NEVER: Final = 0.5


class Grower:
    """Grows expressions of the fields and the searched operators of one catalogue."""

    def __init__(self, catalogue: Catalogue, rng: Random) -> None:
        self._rng = rng
        self._fields = {kind: catalogue.fields_of(kind) for kind in (Kind.MATRIX, Kind.VECTOR, Kind.GROUP)}
        possible = [one for one in catalogue.operators.values() if one.search and self._is_possible(one)]
        matrices = [one for one in possible if one.result is Kind.MATRIX]
        self._truths = [one for one in matrices if one.truth and not _takes_condition(one)]
        self._reducers = [one for one in matrices if one.required[0].kind is Kind.VECTOR]
        self.operators: Final = [
            one for one in matrices if not one.truth and (self._truths or not _takes_condition(one))
        ]
        """The operators of which series are made."""

    @property
    def groupings(self) -> tuple[str, ...]:
        """Return the names of the group fields."""
        return self._fields[Kind.GROUP]

    def series(self, depth: int) -> Node | None:
        """Return a matrix of at most `depth` nested operators; None if the catalogue has no data."""
        if depth > 0 and self.operators and self._rng.random() >= _LEAF:
            return self.call(self._rng.choice(self.operators), depth - 1)
        if self._fields[Kind.MATRIX]:
            return Field(self._rng.choice(self._fields[Kind.MATRIX]))
        return self.call(self._rng.choice(self._reducers), 0) if self._reducers else None

    def call(self, operator: Operator, depth: int, first: Node | None = None) -> Call | None:
        """Return a call whose arguments have at most `depth` operators; `first` is its first argument, if given."""
        args = [
            first if first is not None and index == 0 else self.argument(parameter, depth)
            for index, parameter in enumerate(operator.required)
        ]
        known = tuple(one for one in args if one is not None)
        if len(known) < len(args):
            return None
        chosen = [one for one in operator.optional if one.name in operator.one_of and one.choices][:1]
        if operator.one_of and not chosen:
            return None
        return Call(operator.name, known, tuple((one.name, self._choice(one.choices)) for one in chosen))

    def argument(self, parameter: Parameter, depth: int) -> Node | None:
        """Return an argument that the typed grammar offers for a parameter; None if there is none."""
        if parameter.kind in {Kind.VECTOR, Kind.GROUP}:
            names = self._fields[parameter.kind]
            return Field(self._rng.choice(names)) if names else None
        if parameter.kind is not Kind.MATRIX:
            return self.setting(parameter)
        if parameter.offer is Offer.CONSTANT:
            return self._choice(parameter.choices or CONSTANTS)
        if parameter.offer is Offer.EXIT and self._rng.random() < _NEVER:
            return Number(-1.0)
        if parameter.offer in {Offer.CONDITION, Offer.EXIT}:
            return self.call(self._rng.choice(self._truths), depth - 1) if self._truths else None
        if parameter.offer is Offer.EITHER and self._rng.random() < _CONSTANT:
            return self._choice(parameter.choices or CONSTANTS)
        return self.series(depth)

    def setting(self, parameter: Parameter) -> Node | None:
        """Return a value of a parameter that takes no data: a look-back or one of its choices; None without any."""
        values: tuple[float | str, ...] = parameter.choices or parameter.values
        if parameter.lookback:
            low = max(parameter.least, parameter.minimum or 1)
            values = tuple(days for days in LOOK_BACKS if low <= days <= (parameter.maximum or days))
        return self._choice(values) if values else None

    def _choice(self, values: tuple[float | str, ...]) -> Node:
        value = self._rng.choice(values)
        return Text(value) if isinstance(value, str) else Number(float(value))

    def _is_possible(self, operator: Operator) -> bool:
        """Return True if the catalogue has data for each required argument."""
        needed = {one.kind for one in operator.required}
        return all(
            self._fields[kind] or (kind is Kind.MATRIX and self._fields[Kind.VECTOR])
            for kind in needed & self._fields.keys()
        )


def _takes_condition(operator: Operator) -> bool:
    return any(one.offer in {Offer.CONDITION, Offer.EXIT} for one in operator.required)
