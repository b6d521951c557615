"""Nested arrays of the typed grammar: to a tree, where any JSON value is accepted or refused, and back."""

import math
from typing import Final

from generator.catalogue.model import Catalogue, Kind, Operator, Parameter
from generator.language.ast import MAX_DEPTH, Call, Field, Node, Number, Text, bounded
from generator.language.errors import (
    ExpressionError,
    suggestion,
    unknown_argument,
    unknown_field,
    unknown_operator,
)

_DATA: Final = frozenset({Kind.MATRIX, Kind.VECTOR, Kind.GROUP, Kind.SYMBOL})


def decode(value: object, catalogue: Catalogue) -> Node:
    """Return the tree of `["ts_mean", ["rank", "close"], 20]`.

    Arguments stand by place, optional ones too; an object at the end holds named ones. Optional arguments of the
    tree are named, because BRAIN requires it. Raises ExpressionError for any other form, for an operator or field
    missing from the catalogue, and for too many arguments. `check` checks the types.
    """
    return bounded(_data(value, catalogue, 1))


def _data(value: object, catalogue: Catalogue, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels", hint="write a simpler expression")
    if isinstance(value, list):
        return _call(value, catalogue, depth)
    if isinstance(value, str):
        return _field(value, catalogue)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    raise ExpressionError(
        f"{_clip(value)} is no expression",
        hint='write ["operator", argument, …] or a field',
        plain="this is no expression",
    )


def _call(value: list[object], catalogue: Catalogue, depth: int) -> Call:
    if not value or not isinstance(value[0], str):
        message = f"{_clip(value)} does not begin with an operator's name"
        raise ExpressionError(message, plain="a list does not begin with an operator's name")
    operator = catalogue.operators.get(value[0])
    if operator is None:
        raise unknown_operator(value[0], catalogue.operators)
    args = value[1:]
    named = _named(operator, args.pop(), catalogue, depth) if args and isinstance(args[-1], dict) else []
    required = args if operator.variadic else args[: len(operator.required)]
    by_place = [
        (parameter.name, _argument(parameter, item, catalogue, depth))
        for parameter, item in _optional(operator, args[len(required) :])
    ]
    last = len(operator.required) - 1
    return Call(
        operator.name,
        tuple(
            _argument(operator.required[min(i, last)], item, catalogue, depth)
            for i, item in enumerate(required)
        ),
        (*by_place, *named),
    )


def _optional(operator: Operator, items: list[object]) -> list[tuple[Parameter, object]]:
    if len(items) > len(operator.optional):
        most = len(operator.parameters)
        message = f"{operator.name} takes at most {most} arguments, not {len(operator.required) + len(items)}"
        raise ExpressionError(message, hint=f"its signature is {operator.signature}")
    return list(zip(operator.optional, items, strict=False))


def _named(operator: Operator, value: object, catalogue: Catalogue, depth: int) -> list[tuple[str, Node]]:
    named: list[tuple[str, Node]] = []
    for name, item in value.items() if isinstance(value, dict) else ():
        parameter = operator.by_name.get(name)
        if parameter is None:
            hint = suggestion(name, operator.by_name) or f"its signature is {operator.signature}"
            raise unknown_argument(operator.name, name, hint=hint)
        named.append((name, _argument(parameter, item, catalogue, depth)))
    return named


def _argument(parameter: Parameter, value: object, catalogue: Catalogue, depth: int) -> Node:
    if parameter.kind in _DATA:
        return _data(value, catalogue, depth + 1)
    if isinstance(value, bool):
        return Text("true" if value else "false")
    if isinstance(value, str):
        return Number(math.nan) if parameter.missing and value == "nan" else Text(value)
    if isinstance(value, int | float):
        return _number(value)
    plain = f"'{parameter.name}' must be a plain value"
    raise ExpressionError(f"{plain}, not {_clip(value)}", plain=plain)


def _field(name: str, catalogue: Catalogue) -> Field | Number:
    if name in catalogue.fields:
        return Field(name)
    if name == "nan":
        return Number(math.nan)
    raise unknown_field(name, catalogue.fields)


def _number(value: float) -> Number:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise ExpressionError("a number must be finite")
    return Number(math.nan if math.isnan(number) else number + 0.0)


def _clip(value: object) -> str:
    """Return the beginning of a value for a message."""
    # A huge number or a deep list costs time to print.
    if isinstance(value, str | int | float | None):
        return repr(value)[:40] if not isinstance(value, int) or abs(value) < 10**20 else "a huge number"
    return "an object" if isinstance(value, dict) else "a list"


def to_array(node: Node, catalogue: Catalogue) -> object:
    """Return the nested array of a well typed expression in canonical form; `decode` reads an equal expression.

    Optional arguments stand by place where all before them have a value, else in an object at the end. Those that the
    typed grammar chooses all together are written all together.
    """
    if isinstance(node, Field):
        return node.name
    if isinstance(node, Number):
        return _plain(node.value)
    if isinstance(node, Text):
        return {"true": True, "false": False}.get(node.value, node.value)
    operator = catalogue.operators[node.name]
    args = [to_array(arg, catalogue) for arg in array_args(operator, node)]
    return [node.name, *args, *array_options(operator, node, catalogue)]


def array_args(operator: Operator, call: Call) -> tuple[Node, ...]:
    """Return the required arguments in the order of the array: of two that commute, a constant is the second."""
    first, *others = call.args
    if operator.commutative and isinstance(first, Number) and not isinstance(others[0], Number):
        return (others[0], first, *others[1:])
    return call.args


def array_options(operator: Operator, call: Call, catalogue: Catalogue) -> list[object]:
    """Return the optional arguments of a call as they stand at the end of its array."""
    given = {name: to_array(value, catalogue) for name, value in call.named}
    if not given:
        return []
    last = max(index for index, parameter in enumerate(operator.optional) if parameter.name in given)
    count = max(last + 1, chosen_together(operator))
    values = [given.get(one.name, _default(one)) for one in operator.optional[:count]]
    return [given] if operator.variadic or None in values else values


def chosen_together(operator: Operator) -> int:
    """Return the number of leading optional parameters with choices: an argument by place needs all before it."""
    chosen = [bool(parameter.choices) for parameter in operator.optional]
    return chosen.index(False) if False in chosen else len(chosen)


def _default(parameter: Parameter) -> object:
    default = parameter.default
    return _plain(default) if isinstance(default, float) else default


def _plain(value: float) -> object:
    if math.isnan(value):
        return "nan"
    return int(value) if value.is_integer() else value
