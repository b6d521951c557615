"""Constant folding for arguments that are plain numbers: `ts_mean(close, 5 * 4)`."""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add, mul, sub
from typing import Final

from generator.language.ast import Call, Node, Number

_EXACT: Final = 2.0**53


def _divide(values: Sequence[float]) -> float | None:
    return values[0] / values[1] if values[1] else None


def _power(values: Sequence[float]) -> float | None:
    """Return the power of whole numbers if it is exact; other powers depend on the mathematics library."""
    base, exponent = values
    if not (base.is_integer() and exponent.is_integer() and 0 <= exponent <= 64):  # noqa: PLR2004 - 2**64 is past _EXACT
        return None
    result = int(base) ** int(exponent) if abs(base) < _EXACT else 0
    return float(result) if 0 < abs(result) <= _EXACT else None


_FOLDS: Final[dict[str, tuple[int, Callable[[Sequence[float]], float | None]]]] = {
    "abs": (1, lambda v: abs(v[0])),
    "add": (0, lambda v: reduce(add, v)),
    "divide": (2, _divide),
    "inverse": (1, lambda v: _divide((1.0, v[0]))),
    "max": (0, max),
    "min": (0, min),
    "multiply": (0, lambda v: reduce(mul, v)),
    "power": (2, _power),
    "reverse": (1, lambda v: -v[0]),
    "sign": (1, lambda v: float((v[0] > 0) - (v[0] < 0))),
    "subtract": (0, lambda v: reduce(sub, v)),
}
"""Operator to its number of arguments (0: two or more) and its function, which returns None for an inexact value."""


def constant_text(text: str) -> float | None:
    """Return the finite number in a text, as in `k="1"`; None for any other text."""
    try:
        return constant(Number(float(text)))
    except ValueError:
        return None


def constant(node: Node) -> float | None:
    """Return the value of a tree of constants such as `5 * 4`; None for any other tree."""
    if isinstance(node, Number):
        return node.value + 0.0 if math.isfinite(node.value) else None
    if not isinstance(node, Call) or node.named:
        return None
    count, function = _FOLDS.get(node.name, (-1, None))
    known = [value for value in map(constant, node.args) if value is not None]
    fits = len(known) == count if count else len(known) > 1
    if function is None or not fits or len(known) < len(node.args):
        return None
    result = function(known)
    return None if result is None or not math.isfinite(result) else result + 0.0
