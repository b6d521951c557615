"""Elementwise operators, of one day and one instrument at a time: numpy's own functions, or else a loop each.

A kernel gets contiguous rows of its operands and of the output matrix.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel

Array = Any


@kernel
def truth(v: float) -> bool:
    """Return True if a value counts as true: a number other than zero; NaN is not."""
    return (v == v) & (v != 0.0)  # noqa: PLR0124 - the NaN test that vectorizes


def _both(x: Any, y: Any, out: Array) -> None:
    np.minimum(np.abs(x), np.abs(y), out=out)  # NaN where one is, and NaN > 0 is false
    np.greater(out, 0.0, out)


def _either(x: Any, y: Any, out: Array) -> None:
    np.fmax(np.abs(x), np.abs(y), out=out)
    np.greater(out, 0.0, out)


def _unordered(x: Any, y: Any, out: Array) -> None:
    np.maximum(x, y, out=out)  # NaN where one is
    np.equal(out, out, out)
    np.divide(0.0, out, out)  # 0 / 0 where it is not equal to itself


def _not(x: Array, out: Array) -> None:
    np.abs(x, out)
    np.greater(out, 0.0, out)
    np.subtract(1.0, out, out)


def _max(x: Any, y: Any, out: Array) -> None:
    np.maximum(x, y, out=out)
    np.add(
        out, 0.0, out
    )  # of two zeros the positive one, so that either order of the operands gives the same sign


def _min(x: Any, y: Any, out: Array) -> None:
    np.minimum(x, y, out=out)
    np.add(out, 0.0, out)


def _sigmoid(x: Array, out: Array) -> None:
    if out.dtype == np.float32:  # the exponentials of less than -87 take long, and it is 1 for more than 17
        x = np.minimum(x, 80.0, out=out)
    np.negative(x, out)
    np.exp(out, out)
    np.add(out, 1.0, out)
    np.reciprocal(out, out)


def _power(x: Any, y: Any, out: Array) -> None:
    """Write x to the power y, from powers of |x|: numpy takes twenty times as long for a negative x.

    A negative x has powers for whole y only; they are negative for an odd y.
    """
    np.abs(x, out)
    np.power(out, y, out)
    if not isinstance(y, float):
        base, exponent = (np.ascontiguousarray(np.broadcast_to(v, out.shape), out.dtype) for v in (x, y))
        _sign_powers(base, exponent, out)
    elif y % 2.0 == 1.0:
        np.copysign(out, x, out)
    elif not y.is_integer() and not math.isinf(y):
        _sign_powers(x, np.full_like(out, y), out)


@kernel
def _sign_powers(x: Array, y: Array, out: Array) -> None:
    for r in range(out.shape[0]):
        for j in range(out.shape[1]):
            v = x[r, j]
            p = y[r, j]
            half = out.dtype.type(0.5) * p
            o = math.copysign(out[r, j], v) if half != np.floor(half) else out[r, j]
            whole = p == np.floor(p)
            signed = o if whole else out[r, j]
            out[r, j] = math.nan if (v < 0.0) & (v > -math.inf) & (not whole) else signed


def _signed_power(x: Any, y: Any, out: Array) -> None:
    np.abs(x, out)
    np.power(out, y, out)
    np.multiply(out, np.sign(x), out)


UNARY: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "inverse": np.reciprocal,
    "log": np.log,
    "reverse": np.negative,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "not": _not,
    "is_nan": np.isnan,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "copy": np.positive,
}
BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": _power,
    "signed_power": _signed_power,
    "max": _max,
    "min": _min,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "and": _both,
    "or": _either,
    "unordered": _unordered,
}


def _with_number(operator: Callable[..., Any]) -> Callable[..., None]:
    def apply(x: Array, out: Array, number: float, first: bool) -> None:
        operator(*((number, x) if first else (x, number)), out)

    return apply


WITH_NUMBER = {name: _with_number(operator) for name, operator in BINARY.items()}
"""The kernels of BINARY for a matrix and a number, which stands first if the last parameter says so."""


@kernel
def fill_nan(x: Array, out: Array, value: float) -> None:
    """Copy, with a number for NaN."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = x[r, c] if x[r, c] == x[r, c] else value


@kernel
def purify(x: Array, out: Array) -> None:
    """Copy, with NaN for infinities."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = x[r, c] if abs(x[r, c]) < math.inf else math.nan


@kernel
def choose(test: Array, yes: Array, no: Array, out: Array) -> None:
    """Take `yes` where `test` is true, `no` elsewhere."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = yes[r, c] if truth(test[r, c]) else no[r, c]


def fill(out: Array, value: float) -> None:
    """Write one number everywhere."""
    out[:] = value


@kernel
def fill_empty(x: Array, count: Array, out: Array) -> None:
    """Copy, with 0 where a window has no value (`count` says how many it has)."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = 0.0 if count[r, c] == 0.0 else x[r, c]


@kernel
def mask_outside(x: Array, inside: Array, out: Array) -> None:
    """Copy x where `inside` is set, NaN elsewhere."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = x[r, c] if inside[r, c] else math.nan
