"""Types: that each argument is of the kind its operator takes, and the whole is an alpha."""

from typing import Final

from generator.catalogue.model import Catalogue, Kind, Operator, Parameter
from generator.language.ast import Call, Field, Node, Number, Text
from generator.language.constants import constant
from generator.language.errors import ExpressionError, suggestion
from generator.language.forms import expected, settle_form
from generator.language.limits import bounded
from generator.language.signature import Bound, bind, parameter_at

_DATA: Final = frozenset({Kind.MATRIX, Kind.VECTOR, Kind.GROUP, Kind.SYMBOL})
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
        reason = _REASONS[kind].format(name=_name(node))
        raise ExpressionError(f"an alpha must be a matrix, and '{_name(node)}' {reason}", node.position)
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
            hint = suggestion(node.name, catalogue.fields)
            raise ExpressionError(f"unknown field '{node.name[:64]}'", node.position, hint=hint)
        return field.kind
    if isinstance(node, Text):
        return Kind.STRING
    if constant(node) is None:
        raise ExpressionError("a number must be finite", node.position)
    return Kind.NUMBER


def _call(call: Call, catalogue: Catalogue) -> Kind:
    operator = catalogue.operators.get(call.name)
    if operator is None:
        hint = suggestion(call.name, catalogue.operators)
        raise ExpressionError(f"unknown operator '{call.name[:64]}'", call.position, hint=hint)
    bound = bind(operator, call)
    for index, arg in enumerate(bound.required):
        _argument(operator, parameter_at(operator, index), arg, catalogue)
    for parameter, arg in bound.optional:
        _argument(operator, parameter, arg, catalogue)
    if operator.one_of:
        _one_of(operator, call, bound)
    return operator.result


def _argument(operator: Operator, parameter: Parameter, arg: Node, catalogue: Catalogue) -> None:
    wanted = parameter.kind
    if wanted in _DATA:
        found = kind_of(arg, catalogue)
        if found is not wanted and not (wanted is Kind.MATRIX and found is Kind.NUMBER):
            raise _wrong_kind(operator, parameter, arg, found, catalogue)
    elif wanted is Kind.INTEGER or wanted is Kind.NUMBER:
        _number(operator, parameter, arg)
    elif not _is_word(parameter, arg):
        message = f"{operator.name}: '{parameter.name}' must be {_words(parameter)}, not {_name(arg)}"
        raise ExpressionError(message, arg.position)


def _number(operator: Operator, parameter: Parameter, arg: Node) -> None:
    value = plain_number(arg)
    whole = parameter.kind is Kind.INTEGER
    least, most = parameter.minimum, parameter.maximum
    low = value is None or (least is not None and value < least)
    high = value is None or (most is not None and value > most)
    if value is None or low or high or (whole and not value.is_integer()):
        what = "a whole number" if whole else "a number"
        between = _between(least, most)
        message = f"{operator.name}: '{parameter.name}' must be {what}{between}, not {_name(arg)}"
        hint = "it counts trading days back from today" if parameter.lookback else ""
        raise ExpressionError(message, arg.position, hint=hint)


def plain_number(node: Node) -> float | None:
    """Return a constant argument's value: a number, constants combined, or as in `k="1"` in quotes."""
    if isinstance(node, Text):
        try:
            return constant(Number(float(node.value)))
        except ValueError:
            return None
    return constant(node)


def _is_word(parameter: Parameter, arg: Node) -> bool:
    if parameter.kind is Kind.BOOLEAN:
        return truth_value(arg) is not None
    if not isinstance(arg, Text):
        return False
    if parameter.kind is Kind.ENUM:
        return arg.value in parameter.values
    return settle_form(parameter.form, arg.value) is not None


def truth_value(node: Node) -> bool | None:
    """Return what a boolean argument says: true and false, or 1 and 0; None where it is neither."""
    if isinstance(node, Text):
        return {"true": True, "false": False}.get(node.value)
    return {1.0: True, 0.0: False}.get(node.value) if isinstance(node, Number) else None


def _one_of(operator: Operator, call: Call, bound: Bound) -> None:
    given = [parameter.name for parameter, _ in bound.optional if parameter.name in operator.one_of]
    if len(given) != 1:
        names = " or ".join(operator.one_of)
        message = f"{operator.name} takes exactly one of {names}, and is given {len(given)}"
        hint = f"its signature is {operator.signature}"
        raise ExpressionError(message, call.position, hint=hint)


def _wrong_kind(
    operator: Operator, parameter: Parameter, arg: Node, found: Kind, catalogue: Catalogue
) -> ExpressionError:
    message = f"{operator.name}: '{parameter.name}' must be a {parameter.kind}, and '{_name(arg)}' "
    if parameter.kind is Kind.GROUP:
        groups = ", ".join(catalogue.fields_of(Kind.GROUP)[:8])
        return ExpressionError(
            f"{message}is a {found}",
            arg.position,
            hint=f"groupings are {groups} and bucket(…)" if groups else "",
        )
    reason = _REASONS.get(found) if parameter.kind is Kind.MATRIX else None
    tail = reason.format(name=_name(arg)) if reason else f"is a {found}"
    hint = "give optional arguments by name" if found is Kind.STRING else ""
    return ExpressionError(message + tail, arg.position, hint=hint)


def _words(parameter: Parameter) -> str:
    if parameter.kind is Kind.BOOLEAN:
        return "true or false"
    if parameter.kind is Kind.ENUM:
        return " or ".join(parameter.values)
    return expected(parameter.form)


def _between(least: float | None, most: float | None) -> str:
    if least is None:
        return "" if most is None else f" up to {most:g}"
    return f" from {least:g}" + ("" if most is None else f" to {most:g}")


def _name(node: Node) -> str:
    if isinstance(node, Call):
        return f"{node.name}(…)"
    text = (
        f"{node.value:g}" if isinstance(node, Number) else node.value if isinstance(node, Text) else node.name
    )
    return text[:64]


def _reads_data(node: Node) -> bool:
    if isinstance(node, Call):
        return any(map(_reads_data, node.args)) or any(_reads_data(value) for _, value in node.named)
    return isinstance(node, Field)
