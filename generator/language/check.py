"""Types: that each argument is of the kind its operator takes, and the whole is an alpha."""

import math
from typing import Final

from generator.catalogue.model import Catalogue, Kind, Operator, Parameter
from generator.language.ast import Call, Field, Node, Text, bounded, brief
from generator.language.errors import ExpressionError, suggestion, unknown_field, unknown_operator
from generator.language.signature import bind

_REASONS: Final = {
    Kind.VECTOR: "is a vector field: reduce it first, as in vec_avg({name})",
    Kind.GROUP: "is a grouping: only group arguments take it",
    Kind.SYMBOL: "is an identifier: no operator takes it",
    Kind.STRING: "is a text",
}


def check(node: Node, catalogue: Catalogue) -> Kind:
    """Return the kind of an expression: matrix, vector, group, symbol, number or string.

    Raises ExpressionError for an operator or field that the catalogue has not, wrong arguments (count, names,
    kinds, values out of their bounds), and a tree beyond the bounds of `limits`.
    """
    return kind_of(bounded(node), catalogue)


def check_alpha(node: Node, catalogue: Catalogue) -> None:
    """Raise ExpressionError unless the expression is well typed, a matrix, and reads some data."""
    check(node, catalogue)
    check_result(node, catalogue)


def check_result(node: Node, catalogue: Catalogue) -> None:
    """Raise ExpressionError unless a well typed expression can stand as an alpha."""
    kind = kind_of(node, catalogue) if not isinstance(node, Call) else catalogue.operators[node.name].result
    if kind in _REASONS:
        reason = _REASONS[kind].format(name=brief(node))
        raise ExpressionError(f"an alpha must be a matrix, and '{brief(node)}' {reason}", node.position)
    if not _reads_data(node):
        raise ExpressionError(
            "the alpha reads no data field", node.position, hint="use a field such as close"
        )


def kind_of(node: Node, catalogue: Catalogue) -> Kind:
    """Do as `check` does, for a tree known to be within the bounds."""
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
        hint = suggestion(call.name, catalogue.operators)
        raise unknown_operator(call.name, call.position, hint)
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
            hint=f"groupings are {groups} and bucket(…)" if groups else "",
        )
    reason = _REASONS.get(found) if parameter.kind is Kind.MATRIX else None
    tail = reason.format(name=brief(arg)) if reason else f"is a {found}"
    hint = "give optional arguments by name" if found is Kind.STRING else ""
    if isinstance(arg, Text) and arg.value.lower() == "nan":
        hint = "a missing value is written nan"
    return ExpressionError(message + tail, arg.position, hint=hint)


def _reads_data(node: Node) -> bool:
    if isinstance(node, Call):
        return any(map(_reads_data, node.args)) or any(_reads_data(value) for _, value in node.named)
    return isinstance(node, Field)
