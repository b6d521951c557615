"""Deviations, z-scores and differences from the mean over the last d days, accurate for any offset of the values.

Sums slide: each day adds the new value and subtracts the old one. Values are taken as differences from a shift, one per
column: squares of prices or volumes would be large. Every d days the sums are formed anew, about the mean of the d days
before. In between, a column whose subtractions lost digits is marked by an infinite result, and summed anew at once,
about its window's own mean. Causes: an outlier or infinity left the window, the mean is far from the shift. A constant
window has a variance of exactly 0.

The sums of all columns are in one array, a row each at constant places. A loop over columns then needs few checks for
overlaps and becomes vector instructions.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel, part
from generator.backtest.kernels.rows import ROW

Array = Any

STD_DEV, ZSCORE, AV_DIFF = range(3)

_STD_DEV = STD_DEV
_ZSCORE = ZSCORE
_SX, _N, _X, _XX, _TOP_XX = (ROW * k for k in range(5))
_ROOM = ROW * 5
_DAYS = 8  # added in one pass: LLVM checks eight rows for overlaps with the sums, not more
_TWENTY_BITS = 2.0**33 + 1.0  # Veltkamp's factor: it splits off a number's first twenty bits
HEAL = 256.0
"""Squares this many times the variance have cost two or three of the sixteen digits."""


@kernel
def begin(s: Array, w: int, shift: int, count: int, total: int) -> None:
    """Take the present means of the windows as shifts, to twenty bits. A mean that is not finite leaves its shift unchanged.

    `shift`, `count` and `total` are the places of their rows in the sums. Twenty bits keep sums of whole numbers, and of
    their squares and products, exact.
    """
    for j in range(w):
        mean = s[shift + j] + s[total + j] / s[count + j]
        high = mean * _TWENTY_BITS
        mean = high - (high - mean)
        s[shift + j] = mean if abs(mean) < math.inf else s[shift + j]


@kernel
def _add(x: Array, c0: int, w: int, first: int, end: int, s: Array) -> None:
    """Add the days from `first` on, before `end`, to the sums."""
    for t in range(first, end, _DAYS):
        for j in range(w):
            n = s[_N + j]
            total = s[_X + j]
            squares = s[_XX + j]
            for k in range(_DAYS):
                v = np.float64(x[min(t + k, end - 1), np.uintp(c0 + j)])
                ok = (v == v) & (t + k < end)  # noqa: PLR0124
                u = v - s[_SX + j] if ok else 0.0
                n += 1.0 if ok else 0.0
                total += u
                squares += u * u
            s[_N + j] = n
            s[_X + j] = total
            s[_XX + j] = squares
            s[_TOP_XX + j] = squares


@part
def _move(
    x: Array, c: Any, t: int, old: int, full: bool, s: Array, j: int
) -> tuple[float, float, float, bool]:
    """Move a column's sums to day t, and subtract day `old` if the window is `full`.

    Return the count, the new value's distance from the mean times the count, and the variance times n squared. The last
    is True if it has lost digits.
    """
    v = np.float64(x[t, c])
    today = v - s[_SX + j]
    ok = v == v  # noqa: PLR0124
    u = today if ok else 0.0
    v = np.float64(x[old, c])
    gone = (v == v) & full  # noqa: PLR0124
    p = v - s[_SX + j] if gone else 0.0
    n = s[_N + j] + ((1.0 if ok else 0.0) - (1.0 if gone else 0.0))
    total = s[_X + j] + (u - p)
    squares = s[_XX + j] + (u * u - p * p)
    s[_N + j] = n
    s[_X + j] = total
    s[_XX + j] = squares
    variance = n * squares - total * total
    return n, today * n - total, variance, not n * (s[_TOP_XX + j] + squares) <= HEAL * variance


@kernel
def _slide_deviation(
    x: Array, out: Array, c0: int, w: int, t: int, old: int, full: bool, s: Array, sign: float
) -> bool:
    """Move the sums to day t; write deviations. Return True if any has lost digits."""
    lost = False
    for j in range(w):
        c = np.uintp(c0 + j)
        n, _, variance, bad = _move(x, c, t, old, full, s, j)
        out[t, c] = math.inf if bad else sign * (math.sqrt(variance) / n)
        lost |= bad
    return lost


@kernel
def _slide_zscore(
    x: Array, out: Array, c0: int, w: int, t: int, old: int, full: bool, s: Array, ddof: float, sign: float
) -> bool:  # fmt: skip
    """Move the sums to day t; write z-scores. Return True if any has lost digits."""
    lost = False
    for j in range(w):
        c = np.uintp(c0 + j)
        n, above, variance, bad = _move(x, c, t, old, full, s, j)
        out[t, c] = math.inf if bad else sign * (above * math.sqrt((n - ddof) / (n * variance)))
        lost |= bad
    return lost


@kernel
def _slide_difference(
    x: Array, out: Array, c0: int, w: int, t: int, old: int, full: bool, s: Array, sign: float
) -> bool:
    """Move the sums to day t; write differences from the mean. Return True if any has lost digits."""
    lost = False
    for j in range(w):
        c = np.uintp(c0 + j)
        n, above, _, bad = _move(x, c, t, old, full, s, j)
        out[t, c] = math.inf if bad else sign * (above / n)
        lost |= bad
    return lost


@kernel
def _mend(
    x: Array, out: Array, c0: int, w: int, t: int, d: int, s: Array, mode: int, ddof: float, sign: float
) -> None:
    """Form the sums anew where digits were lost; write those columns' figures of day t."""
    for j in range(w):
        c = np.uintp(c0 + j)
        if out[t, c] != math.inf:
            continue
        _sum_anew(x, c, max(0, t - d + 1), t + 1, s, j)
        n = s[_N + j]
        above = (np.float64(x[t, c]) - s[_SX + j]) * n - s[_X + j]
        variance = n * s[_XX + j] - s[_X + j] * s[_X + j]
        if mode == _STD_DEV:
            out[t, c] = sign * (math.sqrt(variance) / n)
        elif mode == _ZSCORE:
            out[t, c] = sign * (above * math.sqrt((n - ddof) / (n * variance)))
        else:
            out[t, c] = sign * (above / n)


@kernel
def _sum_anew(x: Array, c: Any, first: int, end: int, s: Array, j: int) -> None:
    """Form a column's sums anew, about the mean of the days from `first` on, before `end`."""
    base = 0.0
    for i in range(first, end):
        if math.isfinite(x[i, c]):
            base = np.float64(x[i, c])
            break
    n = 0.0
    total = 0.0
    for i in range(first, end):
        v = np.float64(x[i, c])
        if v == v:  # noqa: PLR0124
            total += v - base
            n += 1.0
    if math.isfinite(total):
        base += total / n
    total = 0.0
    squares = 0.0
    for i in range(first, end):
        v = np.float64(x[i, c])
        if v == v:  # noqa: PLR0124
            total += v - base
            squares += (v - base) * (v - base)
    s[_SX + j] = base
    s[_N + j] = n
    s[_X + j] = total
    s[_XX + j] = squares
    s[_TOP_XX + j] = squares


@kernel
def rolling_moment(
    x: Array, out: Array, c0: int, c1: int, d: int, mode: int, ddof: float, sign: float
) -> None:
    """Write STD_DEV (ddof 0), ZSCORE or AV_DIFF over the last d days, with a sign."""
    days = x.shape[0]
    w = c1 - c0
    s = np.zeros(_ROOM)
    for b in range(0, days, d):
        begin(s, w, _SX, _N, _X)
        s[_N:] = 0.0
        _add(x, c0, w, max(0, b - d), b, s)
        for t in range(b, min(b + d, days)):
            old, full = max(0, t - d), t >= d
            if mode == _STD_DEV:
                lost = _slide_deviation(x, out, c0, w, t, old, full, s, sign)
            elif mode == _ZSCORE:
                lost = _slide_zscore(x, out, c0, w, t, old, full, s, ddof, sign)
            else:
                lost = _slide_difference(x, out, c0, w, t, old, full, s, sign)
            if lost:
                _mend(x, out, c0, w, t, d, s, mode, ddof, sign)
