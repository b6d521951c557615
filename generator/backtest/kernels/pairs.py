"""Covariances, correlations and regressions over the last d days, on the days on which both have a value.

Sums slide as in `moments`. They are also formed anew where a covariance is near 0, and where a fit is nearly exact.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel, part
from generator.backtest.kernels.moments import HEAL, begin
from generator.backtest.kernels.rows import ROW, rounding_of

Array = Any

COVARIANCE, CORRELATION = range(2)
REGRESSION = 10  # plus BRAIN's rettype, 0 to 9

_COVARIANCE = COVARIANCE
_CORRELATION = CORRELATION
_REGRESSION = REGRESSION
_SX, _SY, _N, _X, _Y, _XX, _YY, _XY, _TOP_XX, _TOP_YY, _VX, _VY, _C = (ROW * k for k in range(13))
_ROOM = ROW * 13
_DAYS = 4  # of two fields, added in one pass: LLVM checks eight rows for overlaps with the sums, not more
_LEAST, _MOST = 1e-280, 1e280  # of a product of variances that loses no digits
_EXACT = 1.0 - 1e-8  # a squared correlation above it leaves a residual of few correct digits
_FAINT = 1e-12  # a covariance below 1e-6 of its bound is mostly the rounding of greater terms


@kernel
def _add(x: Array, y: Array, c0: int, w: int, first: int, end: int, s: Array) -> None:
    """Add the days from `first` on, before `end`, to the sums."""
    for t in range(first, end, _DAYS):
        for j in range(w):
            n = s[_N + j]
            sx = s[_X + j]
            sy = s[_Y + j]
            xx = s[_XX + j]
            yy = s[_YY + j]
            xy = s[_XY + j]
            for k in range(_DAYS):
                a = np.float64(x[min(t + k, end - 1), np.uintp(c0 + j)])
                b = np.float64(y[min(t + k, end - 1), np.uintp(c0 + j)])
                ok = (a == a) & (b == b) & (t + k < end)  # noqa: PLR0124
                u = a - s[_SX + j] if ok else 0.0
                v = b - s[_SY + j] if ok else 0.0
                n += 1.0 if ok else 0.0
                sx += u
                sy += v
                xx += u * u
                yy += v * v
                xy += u * v
            s[_N + j] = n
            s[_X + j] = sx
            s[_Y + j] = sy
            s[_XX + j] = xx
            s[_YY + j] = yy
            s[_XY + j] = xy
            s[_TOP_XX + j] = xx
            s[_TOP_YY + j] = yy


@part
def _move(x: Array, y: Array, c: Any, t: int, old: int, full: bool, s: Array, j: int) -> None:
    """Move a column's sums of pairs to day t; see `moments`."""
    a = np.float64(x[t, c])
    b = np.float64(y[t, c])
    ok = (a == a) & (b == b)  # noqa: PLR0124
    u = a - s[_SX + j] if ok else 0.0
    v = b - s[_SY + j] if ok else 0.0
    a = np.float64(x[old, c])
    b = np.float64(y[old, c])
    gone = (a == a) & (b == b) & full  # noqa: PLR0124
    p = a - s[_SX + j] if gone else 0.0
    q = b - s[_SY + j] if gone else 0.0
    s[_N + j] += (1.0 if ok else 0.0) - (1.0 if gone else 0.0)
    s[_X + j] += u - p
    s[_Y + j] += v - q
    s[_XX + j] += u * u - p * p
    s[_YY + j] += v * v - q * q
    s[_XY + j] += u * v - p * q


@kernel
def _slide_correlation(
    x: Array, y: Array, out: Array, c0: int, w: int, t: int, old: int, full: bool, s: Array, sign: float
) -> bool:
    """Move the sums to day t; write correlations. Return True if any has lost digits."""
    lost = False
    for j in range(w):
        c = np.uintp(c0 + j)
        _move(x, y, c, t, old, full, s, j)
        vx, vy, together = _scaled(s, j)
        bad = _is_lost(s, j, vx, vy, together, math.inf) | _is_wild(vx, vy)
        r = together / math.sqrt(vx * vy)
        out[t, c] = math.inf if bad else sign * (1.0 if r > 1.0 else max(r, -1.0))
        lost |= bad
    return lost


@kernel
def _slide_covariance(
    x: Array, y: Array, out: Array, c0: int, w: int, t: int, old: int, full: bool, s: Array, sign: float
) -> bool:
    """Move the sums to day t; write covariances. Return True if any has lost digits."""
    lost = False
    for j in range(w):
        c = np.uintp(c0 + j)
        _move(x, y, c, t, old, full, s, j)
        vx, vy, together = _scaled(s, j)
        bad = _is_lost(s, j, vx, vy, together, math.inf)
        out[t, c] = math.inf if bad else sign * (together / (s[_N + j] * s[_N + j]))
        lost |= bad
    return lost


@kernel
def _slide_line(x: Array, y: Array, c0: int, w: int, t: int, old: int, full: bool, s: Array) -> bool:
    """Move the sums to day t, and keep `_scaled`. Return True if any has lost digits."""
    lost = False
    for j in range(w):
        _move(x, y, np.uintp(c0 + j), t, old, full, s, j)
        vx, vy, together = _scaled(s, j)
        bad = _is_lost(s, j, vx, vy, together, _EXACT)
        s[_VX + j] = math.inf if bad else vx
        s[_VY + j] = vy
        s[_C + j] = together
        lost |= bad
    return lost


@part
def _is_lost(s: Array, j: int, vx: float, vy: float, c: float, exact: float) -> bool:
    """Return True if a column's sums of squares have lost too many digits since their greatest.

    A squared correlation above `exact` has lost them too.
    """
    top_x = s[_N + j] * (s[_TOP_XX + j] + s[_XX + j])
    top_y = s[_N + j] * (s[_TOP_YY + j] + s[_YY + j])
    lost: bool = (not top_x <= HEAL * vx) | (not top_y <= HEAL * vy)
    lost |= (c * c < _FAINT * (top_x * top_y)) | (c * c > exact * (vx * vy))
    return lost


@kernel
def _is_wild(vx: float, vy: float) -> bool:
    """Return True if the product of two variances is too large or too small to have all its digits."""
    product = vx * vy
    return ((product < _LEAST) & (vx > 0.0) & (vy > 0.0)) | (product > _MOST)


@kernel
def _mend(
    x: Array, y: Array, out: Array, c0: int, w: int, t: int, d: int, s: Array, mode: int, sign: float
) -> None:
    """Form the sums anew where digits were lost, about the means of the window that ends at t."""
    for j in range(w):
        if (s[_VX + j] if mode >= _REGRESSION else out[t, np.uintp(c0 + j)]) != math.inf:
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


@part
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
        begin(s, w, _SX, _N, _X)
        begin(s, w, _SY, _N, _Y)
        s[_N:] = 0.0
        _add(x, y, c0, w, max(0, b - d), b, s)
        for t in range(b, min(b + d, days)):
            old, full = max(0, t - d), t >= d
            if mode == _CORRELATION:
                lost = _slide_correlation(x, y, out, c0, w, t, old, full, s, sign)
            elif mode == _COVARIANCE:
                lost = _slide_covariance(x, y, out, c0, w, t, old, full, s, sign)
            else:
                lost = _slide_line(x, y, c0, w, t, old, full, s)
            if lost:
                _mend(x, y, out, c0, w, t, d, s, mode, sign)
            if mode >= _REGRESSION:
                if mode - _REGRESSION in (4, 7, 8, 9):
                    _regress_residuals(x, y, c0, w, t, d, s, out, mode - _REGRESSION)
                else:
                    _regress(x, y, c0, w, t, s, out, mode - _REGRESSION)
