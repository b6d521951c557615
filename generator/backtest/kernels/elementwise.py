"""Operators that look at one day and one instrument at a time.

One kernel a shape, with the operator as a number tested outside the inner loop: three compilations serve them all.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel
from generator.backtest.kernels.rows import copy

Array = Any

UNARY = {
    name: code
    for code, name in enumerate(
        (
            "abs",
            "inverse",
            "log",
            "reverse",
            "sign",
            "sqrt",
            "not",
            "is_nan",
            "nan_to_zero",
            "nan_to_one",
            "purify",
            "sigmoid",
            "tanh",
            "copy",
        )
    )
}
BINARY = {
    name: code
    for code, name in enumerate(
        (
            "add",
            "subtract",
            "multiply",
            "divide",
            "power",
            "signed_power",
            "max",
            "min",
            "less",
            "less_equal",
            "greater",
            "greater_equal",
            "equal",
            "not_equal",
            "and",
            "or",
            "unordered",
        )
    )
}

_ABS = UNARY["abs"]
_INVERSE = UNARY["inverse"]
_LOG = UNARY["log"]
_REVERSE = UNARY["reverse"]
_SIGN = UNARY["sign"]
_SQRT = UNARY["sqrt"]
_NOT = UNARY["not"]
_IS_NAN = UNARY["is_nan"]
_NAN_TO_ZERO = UNARY["nan_to_zero"]
_NAN_TO_ONE = UNARY["nan_to_one"]
_PURIFY = UNARY["purify"]
_SIGMOID = UNARY["sigmoid"]
_TANH = UNARY["tanh"]

_ADD = BINARY["add"]
_SUBTRACT = BINARY["subtract"]
_MULTIPLY = BINARY["multiply"]
_DIVIDE = BINARY["divide"]
_POWER = BINARY["power"]
_SIGNED_POWER = BINARY["signed_power"]
_MAX = BINARY["max"]
_MIN = BINARY["min"]
_LESS = BINARY["less"]
_LESS_EQUAL = BINARY["less_equal"]
_GREATER = BINARY["greater"]
_GREATER_EQUAL = BINARY["greater_equal"]
_EQUAL = BINARY["equal"]
_NOT_EQUAL = BINARY["not_equal"]
_AND = BINARY["and"]
_OR = BINARY["or"]
_UNORDERED = BINARY["unordered"]


@kernel
def truth(v: float) -> bool:
    """Say whether a value counts as true: a number other than zero; NaN is not."""
    return (v == v) & (v != 0.0)  # noqa: PLR0124 - the NaN test that vectorizes


@kernel
def unary(x: Array, out: Array, r0: int, r1: int, c0: int, c1: int, op: int) -> None:  # noqa: C901, PLR0912
    """Apply one of UNARY to a block."""
    w = c1 - c0
    for r in range(r0, r1):
        a = x[r, c0:c1]
        o = out[r, c0:c1]
        if op == _ABS:
            for j in range(w):
                o[j] = abs(a[j])
        elif op == _INVERSE:
            for j in range(w):
                o[j] = 1.0 / a[j]
        elif op == _LOG:
            for j in range(w):
                o[j] = math.nan if a[j] < 0.0 else (-math.inf if a[j] == 0.0 else math.log(a[j]))
        elif op == _REVERSE:
            for j in range(w):
                o[j] = -a[j]
        elif op == _SIGN:
            for j in range(w):
                v = a[j]
                o[j] = 1.0 if v > 0.0 else (-1.0 if v < 0.0 else v)
        elif op == _SQRT:
            for j in range(w):
                o[j] = math.sqrt(a[j])
        elif op == _NOT:
            for j in range(w):
                o[j] = 0.0 if truth(a[j]) else 1.0
        elif op == _IS_NAN:
            for j in range(w):
                o[j] = 0.0 if a[j] == a[j] else 1.0
        elif op == _NAN_TO_ZERO:
            for j in range(w):
                o[j] = a[j] if a[j] == a[j] else 0.0
        elif op == _NAN_TO_ONE:
            for j in range(w):
                o[j] = a[j] if a[j] == a[j] else 1.0
        elif op == _PURIFY:
            for j in range(w):
                o[j] = a[j] if abs(a[j]) < math.inf else math.nan
        elif op == _SIGMOID:
            for j in range(w):
                o[j] = 1.0 / (1.0 + math.exp(-np.float64(a[j])))
        elif op == _TANH:
            for j in range(w):
                o[j] = math.tanh(np.float64(a[j]))
        else:
            for j in range(w):
                o[j] = a[j]


@kernel
def apply_rare(op: int, a: float, b: float) -> float:
    """Compute the operators of BINARY that call the mathematics library, one pair at a time."""
    if op == _POWER:
        return math.pow(a, b)
    sign = 1.0 if a > 0.0 else (-1.0 if a < 0.0 else a)
    return sign * math.pow(abs(a), b)


@kernel
def combine(op: int, a: Array, b: Array, o: Array, w: int) -> None:  # noqa: C901, PLR0912
    """Apply one of BINARY to two rows."""
    if op == _ADD:
        for j in range(w):
            o[j] = a[j] + b[j]
    elif op == _SUBTRACT:
        for j in range(w):
            o[j] = a[j] - b[j]
    elif op == _MULTIPLY:
        for j in range(w):
            o[j] = a[j] * b[j]
    elif op == _DIVIDE:
        for j in range(w):
            o[j] = a[j] / b[j]
    elif op == _MAX:
        # Of two zeros their sum, so that either order of the operands gives the same sign.
        for j in range(w):
            o[j] = (
                a[j]
                if (a[j] > b[j]) | (a[j] != a[j])
                else (a[j] + b[j] if (a[j] == 0.0) & (b[j] == 0.0) else b[j])
            )
    elif op == _MIN:
        for j in range(w):
            o[j] = (
                a[j]
                if (a[j] < b[j]) | (a[j] != a[j])
                else (a[j] + b[j] if (a[j] == 0.0) & (b[j] == 0.0) else b[j])
            )
    elif op == _LESS:
        for j in range(w):
            o[j] = 1.0 if a[j] < b[j] else 0.0
    elif op == _LESS_EQUAL:
        for j in range(w):
            o[j] = 1.0 if a[j] <= b[j] else 0.0
    elif op == _GREATER:
        for j in range(w):
            o[j] = 1.0 if a[j] > b[j] else 0.0
    elif op == _GREATER_EQUAL:
        for j in range(w):
            o[j] = 1.0 if a[j] >= b[j] else 0.0
    elif op == _EQUAL:
        for j in range(w):
            o[j] = 1.0 if a[j] == b[j] else 0.0
    elif op == _NOT_EQUAL:
        for j in range(w):
            o[j] = 1.0 if a[j] != b[j] else 0.0
    elif op == _AND:
        for j in range(w):
            o[j] = 1.0 if truth(a[j]) & truth(b[j]) else 0.0
    elif op == _OR:
        for j in range(w):
            o[j] = 1.0 if truth(a[j]) | truth(b[j]) else 0.0
    elif op == _UNORDERED:
        for j in range(w):
            o[j] = math.nan if (a[j] != a[j]) | (b[j] != b[j]) else 0.0
    else:
        for j in range(w):
            o[j] = apply_rare(op, a[j], b[j])


@kernel
def binary(x: Array, y: Array, out: Array, r0: int, r1: int, c0: int, c1: int, op: int) -> None:
    """Apply one of BINARY to a block of two matrices."""
    w = c1 - c0
    for r in range(r0, r1):
        combine(op, x[r, c0:c1], y[r, c0:c1], out[r, c0:c1], w)


@kernel
def with_scalar(
    x: Array, out: Array, r0: int, r1: int, c0: int, c1: int, op: int, scalar: float, scalar_first: bool
) -> None:
    """Apply one of BINARY to a block and a number, which stands first if `scalar_first`."""
    w = c1 - c0
    row = np.full(w, scalar, x.dtype)
    for r in range(r0, r1):
        if scalar_first:
            combine(op, row, x[r, c0:c1], out[r, c0:c1], w)
        else:
            combine(op, x[r, c0:c1], row, out[r, c0:c1], w)


@kernel
def choose(test: Array, yes: Array, no: Array, out: Array, r0: int, r1: int, c0: int, c1: int) -> None:
    """Take `yes` where `test` is true, `no` elsewhere."""
    w = c1 - c0
    for r in range(r0, r1):
        t = test[r, c0:c1]
        a = yes[r, c0:c1]
        b = no[r, c0:c1]
        o = out[r, c0:c1]
        for j in range(w):
            o[j] = a[j] if truth(t[j]) else b[j]


@kernel
def fill(out: Array, r0: int, r1: int, c0: int, c1: int, value: float) -> None:
    """Write one number everywhere."""
    for r in range(r0, r1):
        out[r, c0:c1] = value


@kernel
def count_days(out: Array, r0: int, r1: int, c0: int, c1: int, step: float) -> None:
    """Write the day's number, `step` on the first day, rising by `step`."""
    for r in range(r0, r1):
        out[r, c0:c1] = (r + 1) * step


@kernel
def hide_start(x: Array, out: Array, r0: int, r1: int, c0: int, c1: int, days: int) -> None:
    """Copy, with NaN on the first `days` days."""
    for r in range(r0, r1):
        if r < days:
            out[r, c0:c1] = math.nan
        else:
            copy(x[r, c0:c1], out[r, c0:c1])


@kernel
def fill_empty(x: Array, count: Array, out: Array, r0: int, r1: int, c0: int, c1: int) -> None:
    """Copy, with 0 where a window has no value (`count` says how many it has)."""
    w = c1 - c0
    for r in range(r0, r1):
        a = x[r, c0:c1]
        n = count[r, c0:c1]
        o = out[r, c0:c1]
        for j in range(w):
            o[j] = 0.0 if n[j] == 0.0 else a[j]
