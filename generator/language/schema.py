"""The typed grammar: a JSON schema whose instances are batches of well typed alphas.

An expression is a nested array, `["ts_mean", ["rank", "close"], 20]`: an operator and its arguments by place.
Each kind has one definition a depth. A definition of depth n refers only to those of n - 1: this bounds the
nesting. Operators with the same parameters share one array, which keeps the schema small. Only keywords that
llama.cpp turns into a grammar are used. `decode` reads the instances.

Definitions: `a` is an alpha, `m3` a matrix of at most three nested operators, `e3` that or a constant, `c3` a
condition, `x3` a condition or -1, `g3` a grouping, `v` a vector field, `n` a constant, `d2` a look-back from 2 days.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from fleet.runtime.errors import GeneratorError
from generator.catalogue.model import Catalogue, Kind, Offer, Operator, Parameter
from generator.language.ast import MAX_DEPTH

Schema: TypeAlias = dict[str, Any]

LOOK_BACKS: Final = (1, 2, 3, 5, 10, 20, 40, 60, 120, 250)
CONSTANTS: Final = (-1, 0, 0.5, 1, 2, 3)

_SERIES: Final = {
    Offer.SERIES: "m",
    Offer.EITHER: "e",
    Offer.CONDITION: "c",
    Offer.EXIT: "x",
}
_NEVER: Final = -1


def build_schema(
    catalogue: Catalogue,
    *,
    count: int,
    depth: int = 4,
    look_backs: Iterable[int] = LOOK_BACKS,
    constants: Iterable[float] = CONSTANTS,
    all_operators: bool = False,
) -> Schema:
    """Return the `format` of a request for `count` alphas of at most `depth` nested operators.

    Offers the catalogue's matrix, vector and group fields, and its operators. Operators not worth searching are
    offered only with `all_operators`. Operators without a possible argument in the catalogue are left out.
    Raises GeneratorError if the catalogue allows no alpha, and for a depth or count out of bounds.
    """
    if not 1 <= depth < MAX_DEPTH or count < 1:
        raise GeneratorError(
            f"no schema for {count} expressions of depth {depth}", hint="ask for one or more"
        )
    grammar = _Grammar(catalogue, sorted(set(look_backs)), list(constants), all_operators=all_operators)
    definitions = grammar.definitions(depth)
    if "a" not in definitions:
        raise GeneratorError("no alpha can be made of these operators and fields", hint="offer more of them")
    expressions = {"type": "array", "items": _ref("a"), "minItems": count, "maxItems": count}
    return {
        "type": "object",
        "properties": {"expressions": expressions},
        "required": ["expressions"],
        "$defs": _reachable(definitions, "a"),
    }


class _Grammar:
    """Makes the definitions; holds the fields, operators and constants that all depths share."""

    def __init__(
        self,
        catalogue: Catalogue,
        look_backs: Sequence[int],
        constants: Sequence[float],
        *,
        all_operators: bool,
    ) -> None:
        self._fields = {kind: list(catalogue.fields_of(kind)) for kind in Kind}
        self._look_backs = look_backs
        self._constants = constants
        offered = [operator for operator in catalogue.operators.values() if operator.search or all_operators]
        self._series = [o for o in offered if o.result is Kind.MATRIX and not o.truth]
        self._truths = [o for o in offered if o.truth]
        self._groupings = [o for o in offered if o.result is Kind.GROUP]

    def definitions(self, depth: int) -> dict[str, Schema]:
        """Return the definitions of all kinds and depths, without the impossible ones."""
        made: dict[str, Schema] = {}
        self._define(made, "v", [_enum(self._fields[Kind.VECTOR])])
        self._define(made, "n", [_enum(self._constants)])
        self._define(made, "m0", [_enum(self._fields[Kind.MATRIX])])
        self._define(made, "g0", [_enum(self._fields[Kind.GROUP])])
        self._define(made, "e0", [_known(made, "m0"), _known(made, "n")])
        for level in range(1, depth + 1):
            self._level(made, level)
        self._define(made, "a", self._arrays(made, self._series, depth))
        return made

    def _level(self, made: dict[str, Schema], level: int) -> None:
        self._define(made, f"c{level}", self._arrays(made, self._truths, level))
        self._define(made, f"x{level}", [_known(made, f"c{level}"), {"const": _NEVER}])
        matrices = [_known(made, "m0"), *self._arrays(made, self._series, level), _known(made, f"c{level}")]
        self._define(made, f"m{level}", matrices)
        self._define(made, f"e{level}", [_known(made, f"m{level}"), _known(made, "n")])
        self._define(made, f"g{level}", [_known(made, "g0"), *self._arrays(made, self._groupings, level)])

    def _define(self, made: dict[str, Schema], name: str, choices: Iterable[Schema | None]) -> None:
        possible = [choice for choice in choices if choice is not None]
        if possible:
            made[name] = possible[0] if len(possible) == 1 else {"anyOf": possible}

    def _arrays(
        self, made: dict[str, Schema], operators: Sequence[Operator], level: int
    ) -> list[Schema | None]:
        """Return one array for each distinct argument list, with the names of all operators that have it."""
        names: dict[str, list[str]] = {}
        shapes: dict[str, list[Schema]] = {}
        for operator in operators:
            for shape in self._shapes(made, operator, level - 1):
                names.setdefault(repr(shape), []).append(operator.name)
                shapes[repr(shape)] = shape
        return [_array([_enum(names[key]) or {}, *shape]) for key, shape in shapes.items()]

    def _shapes(self, made: dict[str, Schema], operator: Operator, below: int) -> Iterator[list[Schema]]:
        """Yield the operator's argument lists: optional ones at their defaults, and with their choices."""
        required = [self._argument(made, parameter, below) for parameter in operator.required]
        possible = [argument for argument in required if argument is not None]
        if len(possible) < len(required):
            return
        if not operator.one_of:
            yield possible
        chosen = [_enum(parameter.choices) for parameter in operator.optional]
        leading = [choice for choice in chosen[: _leading(chosen)] if choice is not None]
        if leading:
            yield possible + leading

    def _argument(self, made: dict[str, Schema], parameter: Parameter, below: int) -> Schema | None:
        if parameter.kind is Kind.MATRIX:
            return self._matrix(made, parameter, below)
        if parameter.kind is Kind.VECTOR:
            return _known(made, "v")
        if parameter.kind is Kind.GROUP:
            return _known(made, f"g{below}")
        if parameter.lookback:
            return self._days(made, parameter)
        return _enum(parameter.choices)

    def _matrix(self, made: dict[str, Schema], parameter: Parameter, below: int) -> Schema | None:
        if parameter.offer is Offer.CONSTANT:
            return _enum(parameter.choices or self._constants)
        if parameter.choices:
            return {"anyOf": [_ref(f"m{below}"), _enum(parameter.choices)]}
        name = f"{_SERIES[parameter.offer]}{below}"
        return _known(made, name)

    def _days(self, made: dict[str, Schema], parameter: Parameter) -> Schema | None:
        low = max(parameter.least, parameter.minimum or 1)
        name = f"d{low:g}"
        if name not in made:
            self._define(
                made, name, [_enum([d for d in self._look_backs if low <= d <= (parameter.maximum or d)])]
            )
        return _known(made, name)


def _leading(choices: Sequence[Schema | None]) -> int:
    """Return the number of leading parameters with choices: an argument by place needs all before it."""
    return next((index for index, choice in enumerate(choices) if choice is None), len(choices))


def _enum(values: Sequence[float | str]) -> Schema | None:
    return {"enum": list(values)} if values else None


def _array(items: list[Schema]) -> Schema:
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _known(made: dict[str, Schema], name: str) -> Schema | None:
    return _ref(name) if name in made else None


def _reachable(definitions: dict[str, Schema], root: str) -> dict[str, Schema]:
    """Return the definitions that the root reaches through references."""
    kept: dict[str, Schema] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = definitions[name]
            waiting += _references(definitions[name])
    return {name: definitions[name] for name in definitions if name in kept}


def _references(value: object) -> list[str]:
    if isinstance(value, list):
        return [name for item in value for name in _references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"].rpartition("/")[2]] if "$ref" in value else []
    return own + [name for item in value.values() for name in _references(item)]
