"""The typed grammar: a JSON schema whose instances are batches of well typed alphas.

An expression is a nested array, `["ts_mean", ["rank", "close"], 20]`: an operator and its arguments by place. Each kind
has one definition a depth. A definition of depth n refers only to those of depth n - 1, which bounds the nesting.
Operators with the same parameters share one array, which keeps the schema small. Only keywords that llama.cpp turns
into a grammar are used. `decode` reads the instances. A grammar for parents contains them: parts of their calls beyond
the usual offer are added.

Definitions: `a` is an alpha, `v` a vector field, `n` a constant, `d2` a look-back from 2 days. `m3` is a matrix of at
most three nested operators, and `e3` is `m3` or a constant. `c3` is a condition, `x3` a condition or -1, `g3` a
grouping.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from fleet.runtime.errors import GeneratorError
from generator.catalogue.model import Catalogue, Kind, Offer, Operator, Parameter
from generator.language.ast import MAX_DEPTH, Call, Node, Number, Text
from generator.language.check import calls_in, reads_data
from generator.language.nested_json import array_args, array_options, chosen_together, to_array

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
    parents: Sequence[Node] = (),
) -> Schema:
    """Return the `format` of a request for `count` alphas of at most `depth` nested operators.

    Offers the catalogue's matrix, vector and group fields, and its operators. Operators not worth searching are
    offered only with `all_operators`, or if a parent has them. Operators without a possible argument in the catalogue
    are left out. `parents` are alphas in canonical form. They are instances if they have at most `depth` nested
    operators, each of which reads data. Raises GeneratorError if the catalogue allows no alpha, and for a depth or
    count out of bounds.
    """
    if not 1 <= depth < MAX_DEPTH or count < 1:
        raise GeneratorError(
            f"no schema for {count} expressions of depth {depth}", hint="ask for one or more"
        )
    grammar = _Grammar(catalogue, look_backs, constants, parents, all_operators=all_operators)
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
        look_backs: Iterable[int],
        constants: Iterable[float],
        parents: Sequence[Node],
        *,
        all_operators: bool,
    ) -> None:
        usages = [call for parent in parents for call in calls_in(parent)]
        self._catalogue = catalogue
        self._fields = {kind: list(catalogue.fields_of(kind)) for kind in Kind}
        self._look_backs = sorted({*look_backs, *_days_in(usages, catalogue)})
        self._constants = list(dict.fromkeys([*constants, *_constants_in(usages, catalogue)]))
        self._usages: dict[str, list[Call]] = {}
        for call in usages:
            if reads_data(call):  # else an alpha could be made of constants alone
                self._usages.setdefault(call.name, []).append(call)
        offered = [
            operator
            for operator in catalogue.operators.values()
            if operator.search or all_operators or operator.name in self._usages
        ]
        self._series = [o for o in offered if o.result is Kind.MATRIX and not o.truth]
        self._truths = [o for o in offered if o.truth]
        roots = {parent.name for parent in parents if isinstance(parent, Call)}
        self._root_truths = [o for o in self._truths if o.name in roots]
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
        self._define(made, "a", self._arrays(made, [*self._series, *self._root_truths], depth))
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
            own = self._shapes(made, operator, level - 1)
            for key, shape in {repr(shape): shape for shape in own}.items():
                names.setdefault(key, []).append(operator.name)
                shapes[key] = shape
        return [_array([_enum(names[key]) or {}, *shape]) for key, shape in shapes.items()]

    def _shapes(self, made: dict[str, Schema], operator: Operator, below: int) -> Iterator[list[Schema]]:
        """Yield the operator's argument lists: optional ones at their defaults, with their choices, as parents have them."""
        required = [self._argument(made, parameter, below) for parameter in operator.required]
        possible = [argument for argument in required if argument is not None]
        if len(possible) == len(required):
            if not operator.one_of:
                yield possible
            leading = [_choices(one) for one in operator.optional[: chosen_together(operator)]]
            if leading:
                yield possible + leading
        for call in self._usages.get(operator.name, ()):
            args = array_args(operator, call)
            parameters = [operator.required[min(index, len(required) - 1)] for index in range(len(args))]
            own = [self._used(made, *pair, below) for pair in zip(parameters, args, strict=True)]
            if any(map(_is_odd_constant, parameters, args)):  # the other arguments have to read data
                own = [
                    _known(made, f"m{below}")
                    if one.kind is Kind.MATRIX and not isinstance(arg, Number)
                    else made_of
                    for one, arg, made_of in zip(parameters, args, own, strict=True)
                ]
            found = [argument for argument in own if argument is not None]
            if len(found) == len(own):
                yield found + self._used_options(operator, call)

    def _used(self, made: dict[str, Schema], parameter: Parameter, arg: Node, below: int) -> Schema | None:
        """Return the schema of a parameter that accepts a parent's argument, too."""
        offered = self._argument(made, parameter, below)
        if isinstance(arg, Number | Text):
            value = to_array(arg, self._catalogue)
            known = offered is not None and accepts({**offered, "$defs": made}, value)
            return offered if known else {"enum": [value]}
        if parameter.kind is not Kind.MATRIX or self._is_offered(parameter, arg):
            return offered
        return _either(offered, _known(made, f"m{below}"))

    def _is_offered(self, parameter: Parameter, arg: Node) -> bool:
        if parameter.offer in {Offer.SERIES, Offer.EITHER}:
            return True
        is_truth = isinstance(arg, Call) and self._catalogue.operators[arg.name].truth
        return is_truth and parameter.offer is not Offer.CONSTANT

    def _used_options(self, operator: Operator, call: Call) -> list[Schema]:
        values = array_options(operator, call, self._catalogue)
        choices = [_choices(one) for one in operator.optional[: chosen_together(operator)]]
        if len(choices) == len(values) and all(map(accepts, choices, values)):
            return choices
        return [_members(value) if isinstance(value, dict) else {"enum": [value]} for value in values]

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


def _enum(values: Sequence[float | str]) -> Schema | None:
    return {"enum": list(values)} if values else None


def _is_odd_constant(parameter: Parameter, arg: Node) -> bool:
    """Return True for a number where the typed grammar offers none."""
    odd = parameter.kind is Kind.MATRIX and parameter.offer in {Offer.SERIES, Offer.CONDITION}
    return odd and isinstance(arg, Number)


def _choices(parameter: Parameter) -> Schema:
    return {"enum": list(parameter.choices)}


def _members(values: dict[str, object]) -> Schema:
    properties = {name: {"enum": [value]} for name, value in values.items()}
    return {"type": "object", "properties": properties, "required": list(values)}


def _either(offered: Schema | None, other: Schema | None) -> Schema | None:
    if offered is None or other is None:
        return offered or other
    return {"anyOf": [offered, other]}


def _array(items: list[Schema]) -> Schema:
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def accepts(schema: Schema, value: object) -> bool:
    """Return True if a JSON value is an instance of a schema that holds this module's keywords alone."""
    return _accepts(schema, value, schema.get("$defs", {}))


def _accepts(schema: Schema, value: object, definitions: dict[str, Schema]) -> bool:
    if "$ref" in schema:
        return _accepts(definitions[schema["$ref"].rpartition("/")[2]], value, definitions)
    if "anyOf" in schema:
        return any(_accepts(choice, value, definitions) for choice in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        allowed = [schema["const"]] if "const" in schema else schema["enum"]
        return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed)
    if schema["type"] == "object":
        parts = schema["properties"]
        return (
            isinstance(value, dict)
            and set(schema["required"]) <= value.keys() <= parts.keys()
            and all(_accepts(parts[name], part, definitions) for name, part in value.items())
        )
    if not isinstance(value, list) or not schema["minItems"] <= len(value) <= schema["maxItems"]:
        return False
    items = schema.get("prefixItems") or [schema["items"]] * len(value)
    return all(_accepts(item, part, definitions) for item, part in zip(items, value, strict=True))


def _numbers(calls: Iterable[Call], catalogue: Catalogue) -> Iterator[tuple[Parameter, float]]:
    """Yield the numbers among the calls' required arguments, with their parameters."""
    for call in calls:
        required = catalogue.operators[call.name].required
        for index, arg in enumerate(call.args):
            if isinstance(arg, Number) and math.isfinite(arg.value):
                yield required[min(index, len(required) - 1)], arg.value


def _days_in(calls: Iterable[Call], catalogue: Catalogue) -> set[int]:
    return {int(value) for parameter, value in _numbers(calls, catalogue) if parameter.lookback}


def _constants_in(calls: Iterable[Call], catalogue: Catalogue) -> list[float]:
    return [value for parameter, value in _numbers(calls, catalogue) if parameter.offer is Offer.EITHER]


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
