"""Binds a call's arguments to its operator's parameters: data as trees, settings as plain values.

The only binder: the checker, the canonical form and the engine read a call in the same way.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from generator.catalogue.model import Kind, Operator, Parameter
from generator.language.ast import Call, Node, Number, Text, brief
from generator.language.constants import constant, constant_text
from generator.language.errors import ExpressionError, suggestion, unknown_argument
from generator.language.forms import canonical_string, expected_string

Value: TypeAlias = Node | float | bool | str
"""A parameter's value: a tree for data, else a number, a truth value or a string in canonical spelling."""

_DATA: Final = frozenset({Kind.MATRIX, Kind.VECTOR, Kind.GROUP, Kind.SYMBOL})
"""The kinds whose arguments are expressions."""
_PLAIN: Final = (float, bool, str)
_NUMBERS: Final = frozenset({Kind.NUMBER, Kind.INTEGER})
_TRUTHS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound call: values of required arguments (and repeats) by place, of given optional ones in order."""

    call: Call
    operator: Operator
    required: tuple[Value, ...]
    optional: tuple[tuple[Parameter, Value], ...] = ()

    def has(self, name: str) -> bool:
        """Return True if an optional argument was given."""
        return any(parameter.name == name for parameter, _ in self.optional)

    def node(self, name: str) -> Node:
        """Return the tree of a data argument."""
        value = self._value(name)
        assert value is not None
        assert not isinstance(value, _PLAIN)
        return value

    def nodes(self) -> tuple[Node, ...]:
        """Return the trees of all data arguments, in order."""
        return tuple(node for _, node in self.data())

    def data(self) -> Iterator[tuple[Parameter, Node]]:
        """Yield each data argument with its parameter."""
        for index, value in enumerate(self.required):
            if not isinstance(value, _PLAIN):
                yield _parameter_at(self.operator, index), value
        for parameter, value in self.optional:
            if not isinstance(value, _PLAIN):
                yield parameter, value

    def number(self, name: str) -> float:
        """Return a number; without an argument, the parameter's default."""
        value = self._value(name)
        assert isinstance(value, float | int)
        return float(value)

    def integer(self, name: str) -> int:
        """Return a whole number."""
        return int(self.number(name))

    def flag(self, name: str) -> bool:
        """Return a truth value."""
        value = self._value(name)
        assert isinstance(value, bool)
        return value

    def text(self, name: str) -> str:
        """Return a string."""
        value = self._value(name)
        assert isinstance(value, str)
        return value

    def _value(self, name: str) -> Value | None:
        for parameter, value in zip(self.operator.required, self.required, strict=False):
            if parameter.name == name:
                return value
        given = {parameter.name: value for parameter, value in self.optional}
        return given[name] if name in given else self.operator.by_name[name].default


def bind(operator: Operator, call: Call) -> Bound:
    """Bind a call's arguments; `check` checks the kinds of data.

    Any parameter may be given by name, an optional one by place too, although BRAIN requires its name. Raises
    ExpressionError for too many or too few arguments, and for one that is unknown, repeated or out of bounds.
    """
    if not call.named and len(call.args) == len(operator.required):
        bound = Bound(call, operator, _values(operator, call.args))
    else:
        bound = _bind(operator, call)
    if operator.one_of:
        _one_of(bound)
    return bound


def _bind(operator: Operator, call: Call) -> Bound:
    places = operator.required + (() if operator.variadic else operator.optional)
    if len(call.args) > len(places) and not operator.variadic:
        raise _wrong_count(operator, call)
    by_place = places[: len(call.args)]
    given = {parameter.name: arg for parameter, arg in zip(by_place, call.args, strict=False)}
    given |= _by_name(operator, call, by_place)
    missing = [parameter.name for parameter in operator.required if parameter.name not in given]
    if missing:
        raise _wrong_count(operator, call, f"{', '.join(missing)} missing")
    repeats = call.args[len(operator.required) :] if operator.variadic else ()
    required = _values(operator, (*(given[p.name] for p in operator.required), *repeats))
    optional = tuple((p, _value(operator, p, given[p.name])) for p in operator.optional if p.name in given)
    return Bound(call, operator, required, optional)


def _parameter_at(operator: Operator, index: int) -> Parameter:
    """Return the parameter of the required argument at a place; repeats belong to the last parameter."""
    return operator.required[min(index, len(operator.required) - 1)]


def _by_name(operator: Operator, call: Call, by_place: tuple[Parameter, ...]) -> dict[str, Node]:
    given: dict[str, Node] = {}
    for name, value in call.named:
        if name not in operator.by_name:
            hint = suggestion(name, operator.by_name) or f"its signature is {operator.signature}"
            raise unknown_argument(operator.name, name, value.position, hint)
        if name in given or operator.by_name[name] in by_place:
            raise ExpressionError(f"{operator.name} is given '{name}' twice", value.position)
        given[name] = value
    return given


def _values(operator: Operator, args: tuple[Node, ...]) -> tuple[Value, ...]:
    return tuple(_value(operator, _parameter_at(operator, i), arg) for i, arg in enumerate(args))


def _value(operator: Operator, parameter: Parameter, arg: Node) -> Value:
    """Return an argument's value; raise ExpressionError unless the parameter accepts it."""
    kind = parameter.kind
    if kind in _DATA:
        return arg
    if kind in _NUMBERS:
        return _number(operator, parameter, arg)
    value: Value | None = _truth(arg) if kind is Kind.BOOLEAN else _word(parameter, arg)
    if value is None:
        message = f"{operator.name}: '{parameter.name}' must be {_words(parameter)}, not {brief(arg)}"
        raise ExpressionError(message, arg.position)
    return value


def _number(operator: Operator, parameter: Parameter, arg: Node) -> float:
    value = _plain_number(arg)
    if value is None and parameter.missing and isinstance(arg, Number) and math.isnan(arg.value):
        return math.nan
    whole = parameter.kind is Kind.INTEGER
    least, most = parameter.minimum, parameter.maximum
    low = value is None or (least is not None and value < least)
    high = value is None or (most is not None and value > most)
    if value is None or low or high or (whole and not value.is_integer()):
        what = "a whole number" if whole else "a number"
        between = _between(least, most)
        message = f"{operator.name}: '{parameter.name}' must be {what}{between}, not {brief(arg)}"
        hint = "it counts trading days back from today" if parameter.lookback else ""
        if hint and value is None and not isinstance(arg, Number):
            hint = f"its signature is {operator.signature}, and {parameter.name} {hint.removeprefix('it ')}"
        raise ExpressionError(message, arg.position, hint=hint)
    return value


def _plain_number(node: Node) -> float | None:
    """Return the value of a number, of constants combined, or of a quoted number as in `k="1"`; else None."""
    return constant_text(node.value) if isinstance(node, Text) else constant(node)


def _truth(node: Node) -> bool | None:
    """Return the value of a boolean argument, true and false or 1 and 0; None for any other."""
    if isinstance(node, Text):
        return _TRUTHS.get(node.value)
    return {1.0: True, 0.0: False}.get(node.value) if isinstance(node, Number) else None


def _word(parameter: Parameter, arg: Node) -> str | None:
    if isinstance(arg, Number) and math.isnan(arg.value):
        arg = Text("nan")
    if not isinstance(arg, Text):
        return None
    if parameter.kind is Kind.ENUM:
        return arg.value if arg.value in parameter.values else None
    return canonical_string(parameter.form, arg.value)


def _one_of(bound: Bound) -> None:
    operator = bound.operator
    given = sum(bound.has(name) for name in operator.one_of)
    if given != 1:
        names = " or ".join(operator.one_of)
        message = f"{operator.name} takes exactly one of {names}, and is given {given}"
        raise ExpressionError(message, bound.call.position, hint=f"its signature is {operator.signature}")


def _wrong_count(operator: Operator, call: Call, detail: str = "") -> ExpressionError:
    least, most = len(operator.required), len(operator.parameters)
    wanted = (
        f"{least} or more" if operator.variadic else str(least) if least == most else f"{least} to {most}"
    )
    count = len(call.args) + len(call.named)
    message = f"{operator.name} takes {wanted} argument{'' if wanted == '1' else 's'}, not {count}"
    return ExpressionError(
        f"{message}: {detail}" if detail else message,
        call.position,
        hint=f"its signature is {operator.signature}",
    )


def _words(parameter: Parameter) -> str:
    if parameter.kind is Kind.BOOLEAN:
        return "true or false"
    if parameter.kind is Kind.ENUM:
        return " or ".join(parameter.values)
    return expected_string(parameter.form)


def _between(least: float | None, most: float | None) -> str:
    if least is None:
        return "" if most is None else f" up to {most:g}"
    return f" from {least:g}" + ("" if most is None else f" to {most:g}")
