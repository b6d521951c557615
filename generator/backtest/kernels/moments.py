"""Variances, covariances and regressions over the last d days, accurate for any offset of the values.

Sums slide: each day adds the new value and subtracts the old one. Values are taken as differences from a shift, one per
column: squares of prices or volumes would be large. Every d days the sums are formed anew, about the mean of the d days
before. In between, a column whose subtractions lost digits is summed anew at once, about its window's own mean. Causes:
an outlier or infinity left the window, the mean is far from the shift, a covariance is near 0. A constant window has a
variance of exactly 0.

The sums of all columns are in one array, a row each at constant places. A loop over columns then needs few checks for
overlaps and becomes vector instructions.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel
from generator.backtest.kernels.rows import ROW, rounding_of

Array = Any

STD_DEV, ZSCORE, AV_DIFF = range(3)
COVARIANCE, CORRELATION = range(2)
REGRESSION = 10  # plus BRAIN's rettype, 0 to 9

_ZSCORE = ZSCORE
_AV_DIFF = AV_DIFF
_COVARIANCE = COVARIANCE
_CORRELATION = CORRELATION
_REGRESSION = REGRESSION

_SX, _SY, _N, _X, _Y, _XX, _YY, _XY, _TOP_XX, _TOP_YY, _VX, _VY, _C, _LOST = (ROW * k for k in range(14))
_ROOM = ROW * 14
_TWENTY_BITS = 2.0**33 + 1.0  # Veltkamp's factor: it splits off a number's first twenty bits
_HEAL = 256.0  # squares this many times the variance have cost two or three of the sixteen digits
_LEAST, _MOST = 1e-280, 1e280  # of a product of variances that loses no digits
_EXACT = 1.0 - 1e-8  # a squared correlation above it leaves a residual of few correct digits
_FAINT = 1e-12  # a covariance below 1e-6 of its bound is mostly the rounding of greater terms


@kernel
def _begin(s: Array, w: int, shift: int, total: int) -> None:
    """Take the windows' present means as shifts, to twenty bits. A mean that is not finite leaves its shift unchanged.

    Twenty bits keep sums of whole numbers, and of their squares and products, exact.
    """
    for j in range(w):
        mean = s[shift + j] + s[total + j] / s[_N + j]
        high = mean * _TWENTY_BITS
        mean = high - (high - mean)
        s[shift + j] = mean if abs(mean) < math.inf else s[shift + j]


@kernel
def _add_one(x: Array, c0: int, w: int, t: int, s: Array) -> None:
    for j in range(w):
        v = np.float64(x[t, np.uintp(c0 + j)])
        ok = v == v  # noqa: PLR0124
        u = v - s[_SX + j] if ok else 0.0
        s[_N + j] += 1.0 if ok else 0.0
        s[_X + j] += u
        s[_XX + j] += u * u


@kernel
def _slide_one(x: Array, c0: int, w: int, t: int, old: int, full: bool, s: Array) -> bool:
    """Move the sums to day t, and write the variances times n squared. Return True if any has lost digits.

    `old` is the day that leaves, if the window is `full`.
    """
    lost = False
    for j in range(w):
        v = np.float64(x[t, np.uintp(c0 + j)])
        ok = v == v  # noqa: PLR0124
        u = v - s[_SX + j] if ok else 0.0
        v = np.float64(x[old, np.uintp(c0 + j)])
        gone = (v == v) & full  # noqa: PLR0124
        p = v - s[_SX + j] if gone else 0.0
        n = s[_N + j] + ((1.0 if ok else 0.0) - (1.0 if gone else 0.0))
        total = s[_X + j] + (u - p)
        squares = s[_XX + j] + (u * u - p * p)
        variance = n * squares - total * total
        s[_N + j] = n
        s[_X + j] = total
        s[_XX + j] = squares
        s[_VX + j] = variance
        bad = not n * (s[_TOP_XX + j] + squares) <= _HEAL * variance
        s[_LOST + j] = 1.0 if bad else 0.0
        lost |= bad
    return lost


@kernel
def _mend_one(x: Array, c0: int, w: int, t: int, d: int, s: Array) -> None:
    """Form the sums anew where `_slide_one` has lost digits, about the mean of the window that ends at t."""
    first = max(0, t - d + 1)
    for j in range(w):
        if s[_LOST + j] == 0.0:
            continue
        base = 0.0
        for i in range(first, t + 1):
            if math.isfinite(x[i, np.uintp(c0 + j)]):
                base = np.float64(x[i, np.uintp(c0 + j)])
                break
        n = 0.0
        total = 0.0
        for i in range(first, t + 1):
            v = np.float64(x[i, np.uintp(c0 + j)])
            if v == v:  # noqa: PLR0124
                total += v - base
                n += 1.0
        if math.isfinite(total):
            base += total / n
        total = 0.0
        squares = 0.0
        for i in range(first, t + 1):
            v = np.float64(x[i, np.uintp(c0 + j)])
            if v == v:  # noqa: PLR0124
                total += v - base
                squares += (v - base) * (v - base)
        s[_SX + j] = base
        s[_N + j] = n
        s[_X + j] = total
        s[_XX + j] = squares
        s[_TOP_XX + j] = squares
        s[_VX + j] = n * squares - total * total


@kernel
def _answer_one(
    x: Array, c0: int, w: int, t: int, s: Array, out: Array, mode: int, ddof: float, sign: float
) -> None:
    for j in range(w):
        n = s[_N + j]
        u = (np.float64(x[t, np.uintp(c0 + j)]) - s[_SX + j]) * n - s[_X + j]
        if mode == _AV_DIFF:
            out[t, np.uintp(c0 + j)] = sign * (u / n)
        else:
            deviation = math.sqrt(s[_VX + j] * (n / (n - ddof)) if ddof > 0.0 else s[_VX + j])
            out[t, np.uintp(c0 + j)] = sign * (u / deviation if mode == _ZSCORE else deviation / n)


@kernel
def rolling_moment(
    x: Array, out: Array, c0: int, c1: int, d: int, mode: int, ddof: float, sign: float
) -> None:
    """Write STD_DEV, ZSCORE or AV_DIFF over the last d days, with a sign."""
    days = x.shape[0]
    w = c1 - c0
    s = np.zeros(_ROOM)
    for b in range(0, days, d):
        _begin(s, w, _SX, _X)
        s[_N:] = 0.0
        for t in range(max(0, b - d), b):
            _add_one(x, c0, w, t, s)
        s[_TOP_XX : _TOP_XX + w] = s[_XX : _XX + w]
        for t in range(b, min(b + d, days)):
            if _slide_one(x, c0, w, t, max(0, t - d), t >= d, s):
                _mend_one(x, c0, w, t, d, s)
            _answer_one(x, c0, w, t, s, out, mode, ddof, sign)


@kernel
def _add_two(x: Array, y: Array, c0: int, w: int, t: int, s: Array) -> None:
    for j in range(w):
        a = np.float64(x[t, np.uintp(c0 + j)])
        b = np.float64(y[t, np.uintp(c0 + j)])
        ok = (a == a) & (b == b)  # noqa: PLR0124
        u = a - s[_SX + j] if ok else 0.0
        v = b - s[_SY + j] if ok else 0.0
        s[_N + j] += 1.0 if ok else 0.0
        s[_X + j] += u
        s[_Y + j] += v
        s[_XX + j] += u * u
        s[_YY + j] += v * v
        s[_XY + j] += u * v


@kernel
def _slide_two(
    x: Array, y: Array, out: Array, c0: int, w: int, t: int, old: int, full: bool, s: Array, mode: int, sign: float
) -> bool:  # fmt: skip
    """Move the sums of pairs to day t; see `_slide_one`.

    Write correlations or covariances, or variances and covariances times n squared.
    """
    lost = False
    exact = _EXACT if mode >= _REGRESSION else math.inf
    for j in range(w):
        a = np.float64(x[t, np.uintp(c0 + j)])
        b = np.float64(y[t, np.uintp(c0 + j)])
        ok = (a == a) & (b == b)  # noqa: PLR0124
        u = a - s[_SX + j] if ok else 0.0
        v = b - s[_SY + j] if ok else 0.0
        a = np.float64(x[old, np.uintp(c0 + j)])
        b = np.float64(y[old, np.uintp(c0 + j)])
        gone = (a == a) & (b == b) & full  # noqa: PLR0124
        p = a - s[_SX + j] if gone else 0.0
        q = b - s[_SY + j] if gone else 0.0
        n = s[_N + j] + ((1.0 if ok else 0.0) - (1.0 if gone else 0.0))
        sx = s[_X + j] + (u - p)
        sy = s[_Y + j] + (v - q)
        xx = s[_XX + j] + (u * u - p * p)
        yy = s[_YY + j] + (v * v - q * q)
        xy = s[_XY + j] + (u * v - p * q)
        s[_N + j] = n
        s[_X + j] = sx
        s[_Y + j] = sy
        s[_XX + j] = xx
        s[_YY + j] = yy
        s[_XY + j] = xy
        vx = n * xx - sx * sx
        vy = n * yy - sy * sy
        c = n * xy - sx * sy
        bad = _is_lost(n * (s[_TOP_XX + j] + xx), n * (s[_TOP_YY + j] + yy), vx, vy, c, exact)
        if mode == _CORRELATION:
            bad |= _is_wild(vx, vy)
            r = c / math.sqrt(vx * vy)
            out[t, np.uintp(c0 + j)] = sign * (1.0 if r > 1.0 else max(r, -1.0))
        elif mode == _COVARIANCE:
            out[t, np.uintp(c0 + j)] = sign * (c / (n * n))
        else:
            s[_VX + j] = vx
            s[_VY + j] = vy
            s[_C + j] = c
        s[_LOST + j] = 1.0 if bad else 0.0
        lost |= bad
    return lost


@kernel
def _is_lost(top_x: float, top_y: float, vx: float, vy: float, c: float, exact: float) -> bool:
    """Return True if sums of squares, once as large as `top_x` and `top_y`, have lost too many digits.

    A squared correlation above `exact` has lost them too.
    """
    lost: bool = (not top_x <= _HEAL * vx) | (not top_y <= _HEAL * vy)
    return lost | (c * c < _FAINT * (top_x * top_y)) | (c * c > exact * (vx * vy))


@kernel
def _is_wild(vx: float, vy: float) -> bool:
    """Return True if the product of two variances is too large or too small to have all its digits."""
    product = vx * vy
    return ((product < _LEAST) & (vx > 0.0) & (vy > 0.0)) | (product > _MOST)


@kernel
def _mend_two(
    x: Array, y: Array, out: Array, c0: int, w: int, t: int, d: int, s: Array, mode: int, sign: float
) -> None:
    """Form the sums anew where `_slide_two` has lost digits, about the means of the window that ends at t."""
    for j in range(w):
        if s[_LOST + j] == 0.0:
            continue
        _sum_anew(x, y, np.uintp(c0 + j), max(0, t - d + 1), t + 1, s, j)
        vx, vy, c = _scaled(s, j)
        if mode == _CORRELATION:
            r = c / (math.sqrt(vx) * math.sqrt(vy) if _is_wild(vx, vy) else math.sqrt(vx * vy))
            out[t, np.uintp(c0 + j)] = sign * (1.0 if r > 1.0 else max(r, -1.0))
        elif mode == _COVARIANCE:
            out[t, np.uintp(c0 + j)] = sign * (c / (s[_N + j] * s[_N + j]))
        s[_VX + j] = vx
        s[_VY + j] = vy
        s[_C + j] = c


@kernel
def _scaled(s: Array, j: int) -> tuple[float, float, float]:
    """Return a column's variances and covariance times n squared."""
    n = s[_N + j]
    sx = s[_X + j]
    sy = s[_Y + j]
    return n * s[_XX + j] - sx * sx, n * s[_YY + j] - sy * sy, n * s[_XY + j] - sx * sy


@kernel
def _sum_anew(x: Array, y: Array, c: Any, first: int, end: int, s: Array, j: int) -> None:
    base_x = math.nan
    base_y = math.nan
    n = 0.0
    sx = 0.0
    sy = 0.0
    for i in range(first, end):
        a = np.float64(x[i, c])
        b = np.float64(y[i, c])
        if a == a and b == b:  # noqa: PLR0124
            base_x = a if n == 0.0 else base_x
            base_y = b if n == 0.0 else base_y
            sx += a - base_x
            sy += b - base_y
            n += 1.0
    s[_SX + j] = base_x + sx / n
    s[_SY + j] = base_y + sy / n
    for row in (_X, _Y, _XX, _YY, _XY):
        s[row + j] = 0.0
    for i in range(first, end):
        a = np.float64(x[i, c])
        b = np.float64(y[i, c])
        if a == a and b == b:  # noqa: PLR0124
            u = a - s[_SX + j]
            v = b - s[_SY + j]
            s[_X + j] += u
            s[_Y + j] += v
            s[_XX + j] += u * u
            s[_YY + j] += v * v
            s[_XY + j] += u * v
    s[_N + j] = n
    s[_TOP_XX + j] = s[_XX + j]
    s[_TOP_YY + j] = s[_YY + j]


@kernel
def _least_residual(s: Array, j: int, slope: float, like: Array) -> float:
    """Return the size up to which a window's residual is rounding error; no term exceeds its root of squares."""
    n = s[_N + j]
    x = math.sqrt(s[_VX + j] / n) + abs(s[_SX + j]) + abs(s[_X + j] / n)
    y = math.sqrt(s[_VY + j] / n) + abs(s[_SY + j]) + abs(s[_Y + j] / n)
    return rounding_of(y + abs(slope) * x, like)


@kernel
def _line(s: Array, j: int) -> tuple[float, float, float]:
    """Return a column's slope, and the means of x and y above their shifts."""
    n = s[_N + j]
    slope = s[_C + j] / s[_VX + j] if s[_VX + j] > 0.0 else math.nan
    return slope, s[_X + j] / n, s[_Y + j] / n


@kernel
def _regress(x: Array, y: Array, c0: int, w: int, t: int, s: Array, out: Array, wanted: int) -> None:
    """Write one result of the regression of y on x over the window that ends at t (BRAIN's rettype)."""
    if wanted == 0:
        for j in range(w):
            slope, mean_x, mean_y = _line(s, j)
            u = (np.float64(x[t, np.uintp(c0 + j)]) - s[_SX + j]) - mean_x
            v = (np.float64(y[t, np.uintp(c0 + j)]) - s[_SY + j]) - mean_y
            e = v - slope * u
            out[t, np.uintp(c0 + j)] = 0.0 if abs(e) <= _least_residual(s, j, slope, y) else e
    elif wanted == 2:  # noqa: PLR2004 - BRAIN's numbers, here and below
        for j in range(w):
            out[t, np.uintp(c0 + j)] = s[_C + j] / s[_VX + j] if s[_VX + j] > 0.0 else math.nan
    else:
        for j in range(w):
            slope, mean_x, mean_y = _line(s, j)
            u = (np.float64(x[t, np.uintp(c0 + j)]) - s[_SX + j]) - mean_x
            value = (mean_y + s[_SY + j]) + slope * u
            if wanted == 1:
                value = (mean_y + s[_SY + j]) - slope * (mean_x + s[_SX + j])
            elif wanted == 5:  # noqa: PLR2004
                value = s[_VY + j] / s[_N + j]
            elif wanted == 6:  # noqa: PLR2004
                value = slope * (s[_C + j] / s[_VY + j])
            out[t, np.uintp(c0 + j)] = value


@kernel
def _regress_residuals(
    x: Array, y: Array, c0: int, w: int, t: int, d: int, s: Array, out: Array, wanted: int
) -> None:
    """Write a result that sums squared residuals one by one: the short formula would cancel where the fit is good."""
    for j in range(w):
        n = s[_N + j]
        slope = s[_C + j] / s[_VX + j] if s[_VX + j] > 0.0 else math.nan
        mean_x = s[_X + j] / n
        mean_y = s[_Y + j] / n
        sse = 0.0 * slope
        least = _least_residual(s, j, slope, y)
        for i in range(max(0, t - d + 1), t + 1):
            a = np.float64(x[i, np.uintp(c0 + j)])
            b = np.float64(y[i, np.uintp(c0 + j)])
            if a == a and b == b:  # noqa: PLR0124
                e = (b - s[_SY + j] - mean_y) - slope * (a - s[_SX + j] - mean_x)
                sse += e * e if abs(e) > least else 0.0
        mse = sse / (n - 2.0) if n > 2.0 else math.nan  # noqa: PLR2004
        sxx = s[_VX + j] / n
        mean = mean_x + s[_SX + j]
        if wanted == 4:  # noqa: PLR2004
            out[t, np.uintp(c0 + j)] = sse
        elif wanted == 7:  # noqa: PLR2004
            out[t, np.uintp(c0 + j)] = mse
        elif wanted == 8:  # noqa: PLR2004
            out[t, np.uintp(c0 + j)] = math.sqrt(mse / sxx)
        else:
            out[t, np.uintp(c0 + j)] = math.sqrt(mse * (1.0 / n + mean * mean / sxx))


@kernel
def rolling_pair(x: Array, y: Array, out: Array, c0: int, c1: int, d: int, mode: int, sign: float) -> None:
    """Write COVARIANCE, CORRELATION or REGRESSION + rettype over the days on which both have a value.

    The first two are given a sign.
    """
    days = x.shape[0]
    w = c1 - c0
    s = np.zeros(_ROOM)
    for b in range(0, days, d):
        _begin(s, w, _SX, _X)
        _begin(s, w, _SY, _Y)
        s[_N:] = 0.0
        for t in range(max(0, b - d), b):
            _add_two(x, y, c0, w, t, s)
        s[_TOP_XX : _TOP_XX + w] = s[_XX : _XX + w]
        s[_TOP_YY : _TOP_YY + w] = s[_YY : _YY + w]
        for t in range(b, min(b + d, days)):
            if _slide_two(x, y, out, c0, w, t, max(0, t - d), t >= d, s, mode, sign):
                _mend_two(x, y, out, c0, w, t, d, s, mode, sign)
            if mode >= _REGRESSION:
                if mode - _REGRESSION in (4, 7, 8, 9):
                    _regress_residuals(x, y, c0, w, t, d, s, out, mode - _REGRESSION)
                else:
                    _regress(x, y, c0, w, t, s, out, mode - _REGRESSION)
