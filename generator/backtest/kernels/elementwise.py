"""Operators that look at one day and one instrument at a time: numpy's own where it has them, a loop each elsewhere.

Each is called with its operands and the block to write to, all contiguous; a binary one takes a number for either
operand.
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


@kernel
def _fill_nan(x: Array, out: Array, value: float) -> None:
    a, o = x.reshape(-1), out.reshape(-1)
    for i in range(o.size):
        o[i] = a[i] if a[i] == a[i] else value


@kernel
def _purify(x: Array, out: Array) -> None:
    a, o = x.reshape(-1), out.reshape(-1)
    for i in range(o.size):
        o[i] = a[i] if abs(a[i]) < math.inf else math.nan


def _sigmoid(x: Array, out: Array) -> None:
    np.negative(x, out)
    np.exp(out, out)
    np.add(out, 1.0, out)
    np.reciprocal(out, out)


@kernel
def _sign_power(x: Array, y: Array, out: Array) -> None:
    """Make powers y of |x| those of x: a negative x has one for whole y only, and its sign where y is odd."""
    a, b, o = x.reshape(-1), y.reshape(-1), out.reshape(-1)
    for i in range(o.size):
        half = 0.5 * b[i]
        odd = (b[i] == math.floor(b[i])) & (half != math.floor(half))
        none = (a[i] < 0.0) & (a[i] > -math.inf) & (b[i] != math.floor(b[i]))
        o[i] = math.nan if none else (math.copysign(o[i], a[i]) if odd else o[i])


def _power(x: Any, y: Any, out: Array) -> None:
    """Write x to the power y; numpy's own takes twenty times as long where x is negative."""
    np.abs(x, out)
    np.power(out, y, out)
    base, exponent = (np.ascontiguousarray(np.broadcast_to(v, out.shape), dtype=out.dtype) for v in (x, y))
    _sign_power(base, exponent, out)


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
    "nan_to_zero": lambda x, out: _fill_nan(x, out, 0.0),
    "nan_to_one": lambda x, out: _fill_nan(x, out, 1.0),
    "purify": _purify,
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
    "max": lambda x, y, out: np.maximum(x, y, out=out),
    "min": lambda x, y, out: np.minimum(x, y, out=out),
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


def with_number(operator: Callable[..., Any]) -> Callable[..., None]:
    """Return one of BINARY for a block and a number, which stands first if so asked."""

    def apply(x: Array, out: Array, number: float, number_first: bool) -> None:
        operator(*((number, x) if number_first else (x, number)), out)

    return apply


@kernel
def choose(test: Array, yes: Array, no: Array, out: Array) -> None:
    """Take `yes` where `test` is true, `no` elsewhere."""
    t, a, b, o = test.reshape(-1), yes.reshape(-1), no.reshape(-1), out.reshape(-1)
    for i in range(o.size):
        o[i] = a[i] if truth(t[i]) else b[i]


def fill(out: Array, value: float) -> None:
    """Write one number everywhere."""
    out.fill(value)


def count_days(out: Array, step: float) -> None:
    """Write the day's number, `step` on the first day, rising by `step`."""
    out[:] = (step * np.arange(1, len(out) + 1))[:, None]


def hide_start(x: Array, out: Array, days: int) -> None:
    """Copy, with NaN on the first `days` days."""
    out[:days] = math.nan
    out[days:] = x[days:]


@kernel
def fill_empty(x: Array, count: Array, out: Array) -> None:
    """Copy, with 0 where a window has no value (`count` says how many it has)."""
    a, n, o = x.reshape(-1), count.reshape(-1), out.reshape(-1)
    for i in range(o.size):
        o[i] = 0.0 if n[i] == 0.0 else a[i]


@kernel
def mask_outside(x: Array, inside: Array, out: Array) -> None:
    """Copy x where `inside` is set, NaN elsewhere."""
    a, m, o = x.reshape(-1), inside.reshape(-1), out.reshape(-1)
    for i in range(o.size):
        o[i] = a[i] if m[i] else math.nan
