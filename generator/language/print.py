"""Tree to FASTEXPR text, which BRAIN and our parser read as the same tree."""

import math
from decimal import Decimal
from typing import Final

from generator.language.ast import Call, Field, Node, Number, bounded
from generator.language.errors import ExpressionError

COMPARISONS: Final = {
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}
"""Operators that BRAIN has only as signs."""

_BARE: Final = frozenset({"true", "false", "gaussian", "uniform", "cauchy"})
"""Words that BRAIN accepts without quotes."""
_QUOTES: Final = (('"', '"'), ("'", "'"), ("“", "”"))
_LONGEST_EXPONENT: Final = 30


def show(node: Node) -> str:
    """Return the expression in function form: `rank(ts_delta(close, 5))`.

    Comparisons are written `x < y`, because BRAIN has no calls for them. Raises ExpressionError for a tree beyond the
    bounds, and for a string with a line break or every quote.
    """
    return _show(bounded(node))


def _show(node: Node) -> str:
    if isinstance(node, Call):
        return show_call(node, [_show(arg) for arg in node.args], [(n, _show(v)) for n, v in node.named])
    if isinstance(node, Field):
        return node.name
    return show_number(node.value) if isinstance(node, Number) else show_text(node.value)


def show_call(node: Call, args: list[str], named: list[tuple[str, str]]) -> str:
    """Return a call's text from the texts of its arguments."""
    if _is_infix(node):
        left, right = (_operand(arg, text) for arg, text in zip(node.args, args, strict=True))
        return f"{left} {COMPARISONS[node.name]} {right}"
    return f"{node.name}({', '.join(args + [f'{name}={value}' for name, value in named])})"


def _is_infix(node: Node) -> bool:
    """Return True if the node is printed with a comparison sign; comparisons of another form are printed as calls."""
    return isinstance(node, Call) and node.name in COMPARISONS and len(node.args) == 2 and not node.named  # noqa: PLR2004


def _operand(node: Node, text: str) -> str:
    return f"({text})" if _is_infix(node) else text


def show_number(value: float) -> str:
    """Return the shortest digits that parse to the same number, without an exponent where that is not too long."""
    if math.isnan(value):
        return "nan"
    if value.is_integer() and abs(value) < 1e16:  # noqa: PLR2004 - doubles are exact integers up to here
        return str(int(value))
    digits = repr(value)
    if "e" not in digits:
        return digits
    return format(Decimal(digits), "f") if abs(Decimal(digits).adjusted()) < _LONGEST_EXPONENT else digits


def show_text(value: str) -> str:
    """Return BRAIN's words bare, any other text in the first kind of quotes that it does not contain."""
    if value in _BARE:
        return value
    for left, right in _QUOTES:
        if not any(char in value for char in (left, right, "\n")):
            return f"{left}{value}{right}"
    raise ExpressionError(
        "this text cannot be written in quotes", hint="leave its quotes and line breaks out"
    )
