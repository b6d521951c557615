"""Variances, covariances and regressions over the last d days, accurate whatever the values' offset.

As in `rolling`, a window is a suffix of one stretch of d days and a prefix of the next. Values are taken as differences
from a shift, one per column and pair of stretches: the last finite value before the boundary. Squares of differences
are small where squares of prices or volumes are not, so little is lost when the mean's square is subtracted. Where
much would be lost all the same (the window's mean lies far from the shift, in its own deviations, or a covariance is
next to nothing) the window is computed again in two passes about a shift of its own. A constant window has a
variance of exactly 0.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel
from generator.backtest.kernels.rows import add, copy, copy_all, lanes, rounding_of

Array = Any

STD_DEV, ZSCORE, AV_DIFF = range(3)
COVARIANCE, CORRELATION = range(2)
REGRESSION = 10  # plus BRAIN's rettype, 0 to 9

_STD_DEV = STD_DEV
_ZSCORE = ZSCORE
_AV_DIFF = AV_DIFF
_COVARIANCE = COVARIANCE
_CORRELATION = CORRELATION
_REGRESSION = REGRESSION
_HEAL = 256.0  # a squared mean this many times the variance costs two or three of the sixteen digits
_LEAST, _MOST = 1e-280, 1e280  # of a product of variances that loses no digits
_FAINT = 1e-10  # a covariance below 1e-5 of what it could be is mostly the rounding of greater terms
_EXACT = 1.0 - 1e-8  # a squared correlation above it leaves a residual of which little is true


@kernel
def choose_shift(x: Array, c0: int, w: int, b: int, d: int, shift: Array) -> None:  # noqa: C901  # one pass over the row, no calls in a kernel
    """Take for each column the last finite value of the stretch before b, else the first of the stretch from b."""
    days = x.shape[0]
    if b > 0:
        for j in range(w):
            shift[j] = x[b - 1, c0 + j]
    else:
        for j in range(w):
            shift[j] = x[0, c0 + j]
    for j in range(w):
        if math.isfinite(shift[j]):
            continue
        shift[j] = 0.0
        found = False
        for t in range(b - 1, b - d, -1):
            v = x[t, c0 + j] if t >= 0 else math.nan
            if math.isfinite(v):
                shift[j] = v
                found = True
                break
        if not found:
            for t in range(b, min(b + d, days)):
                v = x[t, c0 + j]
                if math.isfinite(v):
                    shift[j] = v
                    break


@kernel
def _add_one(row: Array, shift: Array, n: Array, s: Array, ss: Array, w: int) -> None:
    for j in range(w):
        v = np.float64(row[j])
        ok = v == v  # noqa: PLR0124
        u = v - shift[j] if ok else 0.0
        n[j] += 1.0 if ok else 0.0
        s[j] += u
        ss[j] += u * u


@kernel
def _figure(v: float, shift: float, n: float, m: float, variance: float, mode: int, ddof: float) -> float:
    """Return what is wanted of today's value and the window's number, mean above the shift, and variance."""
    if mode == _AV_DIFF:
        return (v - shift) - m
    deviation = math.sqrt(variance * (n / (n - ddof)))
    return ((v - shift) - m) / deviation if mode == _ZSCORE else deviation


@kernel
def _sum_up(
    one: Array, other: Array, row: Array, shift: Array, out: Array, mode: int, ddof: float, sign: float, w: int
) -> bool:  # fmt: skip
    """Write what the sums of two stretches make together; say whether any of it lost too much.

    Where it did, `_mend_one` computes that again.
    """
    lost = False
    for j in range(w):
        n = one[0, j] + other[0, j]
        share = 1.0 / n
        m = (one[1, j] + other[1, j]) * share
        v = (one[2, j] + other[2, j]) * share - m * m
        lost |= m * m > _HEAL * v
        out[j] = sign * _figure(np.float64(row[j]), shift[j], n, m, v, mode, ddof)
    return lost


@kernel
def _mend_one(
    x: Array, c0: int, t: int, d: int, one: Array, other: Array, out: Array, mode: int, ddof: float, sign: float, w: int
) -> None:  # fmt: skip
    """Write again what `_sum_up` lost, from two passes over its window, about the window's own first value."""
    first = max(0, t - d + 1)
    for j in range(w):
        share = 1.0 / (one[0, j] + other[0, j])
        m = (one[1, j] + other[1, j]) * share
        if not m * m > _HEAL * ((one[2, j] + other[2, j]) * share - m * m):
            continue
        base = math.nan
        n = 0.0
        s = 0.0
        for i in range(first, t + 1):
            v = np.float64(x[i, c0 + j])
            if v == v:  # noqa: PLR0124
                if n == 0.0:
                    base = v
                s += v - base
                n += 1.0
        m = s / n
        ss = 0.0
        for i in range(first, t + 1):
            v = np.float64(x[i, c0 + j])
            if v == v:  # noqa: PLR0124
                ss += (v - base - m) * (v - base - m)
        out[j] = sign * _figure(np.float64(x[t, c0 + j]), base, n, m, ss / n, mode, ddof)


@kernel
def rolling_moment(
    x: Array, out: Array, c0: int, c1: int, d: int, mode: int, ddof: float, sign: float
) -> None:
    """Write STD_DEV, ZSCORE or AV_DIFF over the last d days for the columns c0 to c1, with a sign."""
    days = x.shape[0]
    w = c1 - c0
    wide = lanes(w)
    suffix = np.empty((min(d, days), 3, wide))
    sums = np.empty((3, wide))
    nothing = np.zeros((3, wide))
    shift = np.empty(wide)
    for b in range(0, days, d):
        choose_shift(x, c0, w, b, d, shift)
        if b > 0:
            sums[:] = 0.0
            for q in range(d - 1):
                _add_one(x[b - 1 - q, c0:c1], shift, sums[0], sums[1], sums[2], w)
                copy_all(sums, suffix[q])
        sums[:] = 0.0
        for t in range(b, min(b + d, days)):
            row = x[t, c0:c1]
            _add_one(row, shift, sums[0], sums[1], sums[2], w)
            q = d - 2 - (t - b)
            older = suffix[q] if q >= 0 and b > 0 else nothing
            o = out[t, c0:c1]
            if _sum_up(sums, older, row, shift, o, mode, ddof, sign, w):
                _mend_one(x, c0, t, d, sums, older, o, mode, ddof, sign, w)


@kernel
def _add_two(rx: Array, ry: Array, sx: Array, sy: Array, before: Array, after: Array, w: int) -> None:
    """Write six sums: those before and a day's number, values, squares and product, as far as both are there."""
    for j in range(w):
        a = np.float64(rx[j])
        b = np.float64(ry[j])
        ok = a == a and b == b  # noqa: PLR0124
        u = a - sx[j] if ok else 0.0
        v = b - sy[j] if ok else 0.0
        after[0, j] = before[0, j] + (1.0 if ok else 0.0)
        after[1, j] = before[1, j] + u
        after[2, j] = before[2, j] + v
        after[3, j] = before[3, j] + u * u
        after[4, j] = before[4, j] + v * v
        after[5, j] = before[5, j] + u * v


@kernel
def _moments(one: Array, other: Array, j: int) -> tuple[float, float, float, float, float]:
    """Return the means above the shifts, the variances and the covariance of what two stretches hold together."""
    share = 1.0 / (one[0, j] + other[0, j])
    mx = (one[1, j] + other[1, j]) * share
    my = (one[2, j] + other[2, j]) * share
    vx = (one[3, j] + other[3, j]) * share - mx * mx
    vy = (one[4, j] + other[4, j]) * share - my * my
    return mx, my, vx, vy, (one[5, j] + other[5, j]) * share - mx * my


@kernel
def _relate(one: Array, other: Array, out: Array, mode: int, sign: float, w: int) -> bool:
    """Write what the sums of two stretches make together; say whether any of it lost too much.

    Where it did, `_mend_two` computes that again.
    """
    lost = False
    for j in range(w):
        mx, my, vx, vy, c = _moments(one, other, j)
        both = mx * my
        p = vx * vy
        lost |= (mx * mx > _HEAL * vx) | (my * my > _HEAL * vy) | (c * c < _FAINT * (both * both + p))
        # The root of the product, where the product can be written, is as good as that of each.
        lost |= ((p < _LEAST) & (vx > 0.0) & (vy > 0.0)) | (p > _MOST)
        if mode == _CORRELATION:
            r = c / math.sqrt(p)
            out[j] = sign * (1.0 if r > 1.0 else max(r, -1.0))
        else:
            out[j] = sign * (c + 0.0 * vx + 0.0 * vy)
    return lost


@kernel
def _two_moments(sums: Array, m: Array, w: int) -> bool:
    """Turn six sums into means (m[0], m[1]), variances (m[2], m[3]) and the covariance (m[4])."""
    n = sums[0]
    lost = False
    for k in range(2):
        s = sums[1 + k]
        ss = sums[3 + k]
        mean = m[k]
        variance = m[2 + k]
        for j in range(w):
            share = 1.0 / n[j]
            mu = s[j] * share
            v = ss[j] * share - mu * mu
            mean[j] = mu
            variance[j] = v
            lost |= mu * mu > _HEAL * v
    xy = sums[5]
    mx = m[0]
    my = m[1]
    cov = m[4]
    vx = m[2]
    vy = m[3]
    for j in range(w):
        both = mx[j] * my[j]
        c = xy[j] * (1.0 / n[j]) - both
        cov[j] = c
        lost |= (c * c < _FAINT * (both * both + vx[j] * vy[j])) | (c * c > _EXACT * vx[j] * vy[j])
    return lost


@kernel
def _is_lost(m: Array, j: int) -> bool:
    both = m[0, j] * m[1, j]
    lost: bool = (
        m[0, j] * m[0, j] > _HEAL * m[2, j]
        or m[1, j] * m[1, j] > _HEAL * m[3, j]
        or m[4, j] * m[4, j] < _FAINT * (both * both + m[2, j] * m[3, j])
        or m[4, j] * m[4, j] > _EXACT * m[2, j] * m[3, j]
    )
    return lost


@kernel
def _two_passes(
    x: Array, y: Array, c: int, first: int, t: int
) -> tuple[float, float, float, float, float, float, float]:
    """Return a column's base in x and in y, the means above these, both variances and the covariance of a window."""
    n = 0.0
    bx = 0.0
    by = 0.0
    tx = 0.0
    ty = 0.0
    for i in range(first, t + 1):
        a = np.float64(x[i, c])
        b = np.float64(y[i, c])
        if a == a and b == b:  # noqa: PLR0124
            if n == 0.0:
                bx = a
                by = b
            tx += a - bx
            ty += b - by
            n += 1.0
    mx = tx / n
    my = ty / n
    xx = 0.0
    yy = 0.0
    xy = 0.0
    for i in range(first, t + 1):
        a = np.float64(x[i, c])
        b = np.float64(y[i, c])
        if a == a and b == b:  # noqa: PLR0124
            u = a - bx - mx
            v = b - by - my
            xx += u * u
            yy += v * v
            xy += u * v
    return bx, by, mx, my, xx / n, yy / n, xy / n


@kernel
def _mend_two(
    x: Array, y: Array, c0: int, t: int, d: int, one: Array, other: Array, out: Array, mode: int, sign: float, w: int
) -> None:  # fmt: skip
    """Write again what `_relate` lost, from two passes over its window or with a root for each variance."""
    first = max(0, t - d + 1)
    for j in range(w):
        mx, my, vx, vy, c = _moments(one, other, j)
        both = mx * my
        lost = mx * mx > _HEAL * vx or my * my > _HEAL * vy or c * c < _FAINT * (both * both + vx * vy)
        if not lost and not _is_wild(vx, vy):
            continue
        if lost:
            _, _, _, _, vx, vy, c = _two_passes(x, y, c0 + j, first, t)
        if mode == _CORRELATION:
            r = c / (math.sqrt(vx) * math.sqrt(vy) if _is_wild(vx, vy) else math.sqrt(vx * vy))
            out[j] = sign * (1.0 if r > 1.0 else max(r, -1.0))
        else:
            out[j] = sign * (c + 0.0 * vx + 0.0 * vy)


@kernel
def _is_wild(vx: float, vy: float) -> bool:
    """Tell whether the product of two variances cannot be written with all its digits."""
    p = vx * vy
    wild: bool = (p < _LEAST and vx > 0.0 and vy > 0.0) or p > _MOST
    return wild


@kernel
def _heal_two(x: Array, y: Array, c0: int, t: int, d: int, sx: Array, sy: Array, m: Array, w: int) -> None:
    """Compute again in two passes what lost too much, about the window's own first values, the new shifts."""
    first = max(0, t - d + 1)
    for j in range(w):
        if _is_lost(m, j):
            sx[j], sy[j], m[0, j], m[1, j], m[2, j], m[3, j], m[4, j] = _two_passes(x, y, c0 + j, first, t)


@kernel
def _regress(
    x: Array,
    y: Array,
    c0: int,
    t: int,
    d: int,
    n: Array,
    sx: Array,
    sy: Array,
    m: Array,
    out: Array,
    wanted: int,
    w: int,
) -> None:
    """Write one result of the regression of y on x over the window that ends at t (BRAIN's rettype)."""
    for j in range(w):
        # a variance is NaN where the window holds an infinity, and so is all that follows from it
        slope = m[4, j] / m[2, j] + 0.0 * m[3, j] if m[2, j] > 0.0 else math.nan
        u = (np.float64(x[t, c0 + j]) - sx[j]) - m[0, j]
        v = (np.float64(y[t, c0 + j]) - sy[j]) - m[1, j]
        value = v - slope * u
        if wanted == 0:
            value = 0.0 if abs(value) <= _least_residual(n[j], sx[j], sy[j], m[:, j], slope, y) else value
        elif wanted == 1:
            value = (m[1, j] + sy[j]) - slope * (m[0, j] + sx[j])
        elif wanted == 2:  # noqa: PLR2004 - BRAIN's numbers, here and below
            value = slope
        elif wanted == 3:  # noqa: PLR2004
            value = (m[1, j] + sy[j]) + slope * u
        elif wanted == 5:  # noqa: PLR2004
            value = n[j] * m[3, j]
        elif wanted == 6:  # noqa: PLR2004
            value = (m[4, j] / m[2, j]) * (m[4, j] / m[3, j]) if m[2, j] > 0.0 else math.nan
        elif wanted in (4, 7, 8, 9):
            value = _residual_figure(x, y, c0 + j, t, d, n[j], sx[j], sy[j], m[:, j], slope, wanted)
        out[j] = value


@kernel
def _least_residual(n: float, sx: float, sy: float, m: Array, slope: float, like: Array) -> float:
    """Return the size up to which a residual of a window is rounding; no term is larger than its root of squares."""
    x = math.sqrt(n * m[2]) + abs(sx) + abs(m[0])
    y = math.sqrt(n * m[3]) + abs(sy) + abs(m[1])
    return rounding_of(y + abs(slope) * x, like)


@kernel
def _residual_figure(
    x: Array,
    y: Array,
    c: int,
    t: int,
    d: int,
    n: float,
    sx: float,
    sy: float,
    m: Array,
    slope: float,
    wanted: int,
) -> float:
    """Sum the squared residuals one by one: the short formula would cancel where the fit is good."""
    sse = 0.0
    least = _least_residual(n, sx, sy, m, slope, y)
    for i in range(max(0, t - d + 1), t + 1):
        a = np.float64(x[i, c])
        b = np.float64(y[i, c])
        if a == a and b == b:  # noqa: PLR0124
            e = (b - sy - m[1]) - slope * (a - sx - m[0])
            sse += e * e if abs(e) > least else 0.0
    if n == 0.0 or slope != slope:  # noqa: PLR0124
        return math.nan
    if wanted == 4:  # noqa: PLR2004
        return sse
    mse = sse / (n - 2.0) if n > 2.0 else math.nan  # noqa: PLR2004
    if wanted == 7:  # noqa: PLR2004
        return mse
    sxx = n * m[2]
    if wanted == 8:  # noqa: PLR2004
        return math.sqrt(mse / sxx)
    mean = m[0] + sx
    return math.sqrt(mse * (1.0 / n + mean * mean / sxx))


@kernel
def rolling_pair(x: Array, y: Array, out: Array, c0: int, c1: int, d: int, mode: int, sign: float) -> None:
    """Write COVARIANCE, CORRELATION or REGRESSION + rettype over the days on which both have a value.

    The first two are given a sign.
    """
    days = x.shape[0]
    w = c1 - c0
    wide = lanes(w)
    suffix = np.empty((min(d, days), 6, wide))
    sums = np.empty((2, 6, wide))
    nothing = np.zeros((6, wide))
    both = np.empty((6, wide))
    m = np.empty((5, wide))
    sx = np.empty(wide)
    sy = np.empty(wide)
    own = np.empty((2, wide))
    for b in range(0, days, d):
        choose_shift(x, c0, w, b, d, sx)
        choose_shift(y, c0, w, b, d, sy)
        if b > 0:
            for q in range(d - 1):
                before = suffix[q - 1] if q > 0 else nothing
                _add_two(x[b - 1 - q, c0:c1], y[b - 1 - q, c0:c1], sx, sy, before, suffix[q], w)
        for t in range(b, min(b + d, days)):
            before = sums[(t - 1) % 2] if t > b else nothing
            newer = sums[t % 2]
            _add_two(x[t, c0:c1], y[t, c0:c1], sx, sy, before, newer, w)
            q = d - 2 - (t - b)
            older = suffix[q] if q >= 0 and b > 0 else nothing
            o = out[t, c0:c1]
            if mode < _REGRESSION:
                if _relate(newer, older, o, mode, sign, w):
                    _mend_two(x, y, c0, t, d, newer, older, o, mode, sign, w)
                continue
            for k in range(6):
                add(newer[k], older[k], both[k])
            ax = sx
            ay = sy
            if _two_moments(both, m, w):
                copy(sx, own[0])
                copy(sy, own[1])
                ax = own[0]
                ay = own[1]
                _heal_two(x, y, c0, t, d, ax, ay, m, w)
            _regress(x, y, c0, t, d, both[0], ax, ay, m, o, mode - _REGRESSION, w)
