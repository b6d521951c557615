"""Type check: each argument has its parameter's kind, and an alpha is a matrix. Also BRAIN's further refusals."""

import math
from collections.abc import Iterator
from typing import Final

from generator.catalogue.model import Catalogue, Kind, Operator, Parameter
from generator.language.ast import (
    BRAIN_OPERATORS,
    Call,
    Field,
    Node,
    Text,
    bounded,
    brief,
    operator_count,
)
from generator.language.errors import ExpressionError, unknown_field, unknown_operator
from generator.language.signature import bind

_REASONS: Final = {
    Kind.VECTOR: "is a vector field: reduce it first, as in vec_avg({name})",
    Kind.GROUP: "is a grouping: only group arguments take it",
    Kind.SYMBOL: "is an identifier: no operator takes it",
    Kind.STRING: "is a text",
}
_UNQUOTED: Final = "fields and expressions stand without quotes"


def check(node: Node, catalogue: Catalogue) -> Kind:
    """Return the kind of an expression: matrix, vector, group, symbol, number or string.

    Raises ExpressionError for an operator or field missing from the catalogue, and for a tree beyond MAX_DEPTH or
    MAX_NODES. Raises it also for wrong arguments, by count, name, kind or bounds.
    """
    return kind_of(bounded(node), catalogue)


def check_alpha(node: Node, catalogue: Catalogue) -> None:
    """Raise ExpressionError unless the expression is a well typed matrix that reads at least one field."""
    check(node, catalogue)
    check_result(node, catalogue)


def check_result(node: Node, catalogue: Catalogue) -> None:
    """Raise ExpressionError unless a well typed expression is an alpha."""
    kind = kind_of(node, catalogue) if not isinstance(node, Call) else catalogue.operators[node.name].result
    if kind in _REASONS:
        reason = _REASONS[kind].format(name=brief(node))
        hint = _UNQUOTED if isinstance(node, Text) and node.value not in catalogue.words else ""
        raise ExpressionError(
            f"an alpha must be a matrix, and '{brief(node)}' {reason}", node.position, hint=hint
        )
    if not reads_data(node):
        raise ExpressionError(
            "the alpha reads no data field", node.position, hint="use a field such as close"
        )


def kind_of(node: Node, catalogue: Catalogue) -> Kind:
    """Return the kind as `check` does, for a tree within the bounds."""
    if isinstance(node, Call):
        return _call(node, catalogue)
    if isinstance(node, Field):
        field = catalogue.fields.get(node.name)
        if field is None:
            raise unknown_field(node.name, catalogue.fields, node.position)
        return field.kind
    if isinstance(node, Text):
        return Kind.STRING
    if math.isinf(node.value):
        raise ExpressionError("a number must be finite", node.position)
    return Kind.NUMBER


def _call(call: Call, catalogue: Catalogue) -> Kind:
    operator = catalogue.operators.get(call.name)
    if operator is None:
        raise unknown_operator(call.name, catalogue.operators, call.position)
    for parameter, arg in bind(operator, call).data():
        _data(operator, parameter, arg, catalogue)
    return operator.result


def _data(operator: Operator, parameter: Parameter, arg: Node, catalogue: Catalogue) -> None:
    wanted, found = parameter.kind, kind_of(arg, catalogue)
    if found is not wanted and not (wanted is Kind.MATRIX and found is Kind.NUMBER):
        raise _wrong_kind(operator, parameter, arg, found, catalogue)


def _wrong_kind(
    operator: Operator, parameter: Parameter, arg: Node, found: Kind, catalogue: Catalogue
) -> ExpressionError:
    message = f"{operator.name}: '{parameter.name}' must be a {parameter.kind}, and '{brief(arg)}' "
    if parameter.kind is Kind.GROUP:
        groups = ", ".join(catalogue.fields_of(Kind.GROUP)[:8])
        return ExpressionError(
            f"{message}is a {found}",
            arg.position,
            hint=f"groupings are {groups} and bucket(…), without quotes" if groups else "",
        )
    reason = _REASONS.get(found) if parameter.kind is Kind.MATRIX else None
    tail = reason.format(name=brief(arg)) if reason else f"is a {found}"
    hint = ""
    if isinstance(arg, Text):
        hint = "give optional arguments by name" if arg.value in catalogue.words else _UNQUOTED
        if arg.value.lower() == "nan":
            hint = "a missing value is written nan"
    return ExpressionError(message + tail, arg.position, hint=hint)


def reads_data(node: Node) -> bool:
    """Return True if an expression reads a data field."""
    if isinstance(node, Call):
        return any(map(reads_data, node.args)) or any(reads_data(value) for _, value in node.named)
    return isinstance(node, Field)


def brain_refusals(node: Node, catalogue: Catalogue) -> list[str]:
    """Return sentences why BRAIN would refuse a well typed expression; empty if it would accept it."""
    notes: list[str] = []
    count = operator_count(node)
    if count > BRAIN_OPERATORS:
        notes.append(f"BRAIN takes at most {BRAIN_OPERATORS} operators, and this has {count}")
    named = sorted({call.name for call in calls_in(node) if _has_options_by_place(call, catalogue)})
    if named:
        notes.append(f"BRAIN takes optional arguments by name only: see {', '.join(named)}")
    return notes


def operator_names(node: Node) -> set[str]:
    """Return the names of the operators in an expression."""
    return {call.name for call in calls_in(node)}


def with_named_options(node: Node, catalogue: Catalogue) -> Node:
    """Return a well typed expression with every optional argument by name, as BRAIN requires."""
    if not isinstance(node, Call):
        return node
    args = tuple(with_named_options(arg, catalogue) for arg in node.args)
    named = tuple((name, with_named_options(value, catalogue)) for name, value in node.named)
    if not _has_options_by_place(node, catalogue):
        return Call(node.name, args, named, node.position)
    operator = catalogue.operators[node.name]
    count = len(operator.required)
    options = tuple((p.name, arg) for p, arg in zip(operator.optional, args[count:], strict=False))
    return Call(node.name, args[:count], (*options, *named), node.position)


def calls_in(node: Node) -> Iterator[Call]:
    """Yield every call in an expression."""
    if isinstance(node, Call):
        yield node
        for part in (*node.args, *(value for _, value in node.named)):
            yield from calls_in(part)


def _has_options_by_place(call: Call, catalogue: Catalogue) -> bool:
    operator = catalogue.operators[call.name]
    return not operator.variadic and len(call.args) > len(operator.required)
