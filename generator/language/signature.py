"""Which argument of a call belongs to which parameter of its operator."""

from dataclasses import dataclass
from typing import Final

from generator.catalogue.model import Kind, Operator, Parameter
from generator.language.ast import Call, Node
from generator.language.errors import ExpressionError, suggestion


@dataclass(frozen=True, slots=True)
class Bound:
    """A call's arguments settled: the required ones (and repeats) by place, the others by name."""

    required: tuple[Node, ...]
    optional: tuple[tuple[Parameter, Node], ...] = ()


_MATRIX: Final = Kind.MATRIX


def bind(operator: Operator, call: Call) -> Bound:
    """Settle a call's arguments.

    Any parameter may be given by its name, an optional one by its place too (BRAIN asks for the name; the
    canonical form gives it). Raises ExpressionError for an argument too many or too few, unknown, or given
    twice.
    """
    if not call.named and len(call.args) == len(operator.required):
        return Bound(call.args)
    if operator.variadic and len(call.args) >= len(operator.required):
        return Bound(call.args, _in_order(operator, _by_name(operator, call, operator.required)))
    return _bind(operator, call)


def parameter_at(operator: Operator, index: int) -> Parameter:
    """Return the parameter of the required argument at a place; repeats belong to the last."""
    return operator.required[min(index, len(operator.required) - 1)]


def _bind(operator: Operator, call: Call) -> Bound:
    places = operator.required + (() if operator.variadic else operator.optional)
    if len(call.args) > len(places):
        raise _wrong_count(operator, call)
    taken = places[: len(call.args)]
    given = {parameter.name: arg for parameter, arg in zip(taken, call.args, strict=True)}
    given |= _by_name(operator, call, taken)
    missing = [parameter.name for parameter in operator.required if parameter.name not in given]
    if missing:
        raise _wrong_count(operator, call, f"{', '.join(missing)} missing")
    return Bound(tuple(given[p.name] for p in operator.required), _in_order(operator, given))


def _by_name(operator: Operator, call: Call, taken: tuple[Parameter, ...]) -> dict[str, Node]:
    given: dict[str, Node] = {}
    for name, value in call.named:
        if name not in operator.by_name:
            hint = suggestion(name, operator.by_name) or f"its signature is {operator.signature}"
            message = f"{operator.name} has no argument named '{name[:64]}'"
            raise ExpressionError(message, value.position, hint=hint)
        if name in given or operator.by_name[name] in taken:
            raise ExpressionError(f"{operator.name} is given '{name}' twice", value.position)
        given[name] = value
    return given


def _in_order(operator: Operator, given: dict[str, Node]) -> tuple[tuple[Parameter, Node], ...]:
    return tuple((p, given[p.name]) for p in operator.optional if p.name in given)


def _wrong_count(operator: Operator, call: Call, detail: str = "") -> ExpressionError:
    least, most = len(operator.required), len(operator.parameters)
    wanted = (
        f"{least} or more" if operator.variadic else str(least) if least == most else f"{least} to {most}"
    )
    count = len(call.args) + len(call.named)
    message = f"{operator.name} takes {wanted} arguments, not {count}"
    return ExpressionError(
        f"{message}: {detail}" if detail else message,
        call.position,
        hint=f"its signature is {operator.signature}",
    )
