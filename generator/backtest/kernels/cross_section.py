"""Operators across the instruments of a day, without groups.

Means are taken about the row's first finite value. Large offsets cost no digits, and a constant row deviates by exactly
0.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel, plus
from generator.backtest.kernels.rows import copy, rounding_of

Array = Any


@kernel
def row_moments(row: Array) -> tuple[float, float, float, float]:
    """Return base, mean - base, the sum of squared deviations and the number of values."""
    n = row.shape[0]
    base = 0.0
    for j in range(n):
        if math.isfinite(row[j]):
            base = np.float64(row[j])
            break
    total = 0.0
    count = 0.0
    for j in range(n):
        v = np.float64(row[j])
        ok = v == v  # noqa: PLR0124
        total = plus(total, v - base if ok else 0.0)
        count = plus(count, 1.0 if ok else 0.0)
    mean = total / count
    squares = 0.0
    for j in range(n):
        u = np.float64(row[j]) - base - mean
        squares = plus(squares, u * u if row[j] == row[j] else 0.0)
    return base, mean, squares, count


@kernel
def zscore(x: Array, out: Array) -> None:
    """Write (x - mean) / deviation, ddof 0."""
    for r in range(out.shape[0]):
        base, mean, squares, count = row_moments(x[r])
        deviation = math.sqrt(squares / count)
        row = x[r]
        o = out[r]
        for j in range(row.shape[0]):
            o[j] = (np.float64(row[j]) - base - mean) / deviation


@kernel
def normalize(x: Array, out: Array, use_std: bool, limit: float) -> None:
    """Write x - mean, over the deviation (ddof 1) with `use_std`, clipped to +-limit unless limit is 0."""
    for r in range(out.shape[0]):
        base, mean, squares, count = row_moments(x[r])
        divisor = math.sqrt(squares / (count - 1.0)) if use_std else 1.0
        row = x[r]
        o = out[r]
        for j in range(row.shape[0]):
            o[j] = (np.float64(row[j]) - base - mean) / divisor
        if limit != 0.0:
            bound = abs(limit)
            for j in range(row.shape[0]):
                o[j] = bound if o[j] > bound else (max(o[j], -bound))


@kernel
def winsorize(x: Array, out: Array, std: float) -> None:
    """Write x clipped to mean +- std deviations (ddof 0)."""
    for r in range(out.shape[0]):
        base, mean, squares, count = row_moments(x[r])
        reach = std * math.sqrt(squares / count)
        low = base + (mean - reach)
        high = base + (mean + reach)
        row = x[r]
        o = out[r]
        if not reach >= 0.0:
            o[:] = math.nan
            continue
        if reach == 0.0 and squares == 0.0:
            copy(row, o)
            continue
        for j in range(row.shape[0]):
            v = np.float64(row[j])
            o[j] = high if v > high else (max(v, low))


@kernel
def scale(x: Array, out: Array, book: float) -> None:
    """Write x times book over the sum of |x|; NaN on a day without one."""
    for r in range(out.shape[0]):
        row = x[r]
        total = 0.0
        for j in range(row.shape[0]):
            v = np.float64(row[j])
            total = plus(total, abs(v) if v == v else 0.0)  # noqa: PLR0124
        factor = book / total if total > 0.0 else math.nan
        o = out[r]
        if math.isinf(total):
            for j in range(row.shape[0]):
                o[j] = np.float64(row[j]) * book / total
            continue
        for j in range(row.shape[0]):
            o[j] = row[j] * factor


@kernel
def scale_sides(x: Array, out: Array, long_book: float, short_book: float) -> None:
    """Scale the positive values to sum to long_book, the negative ones to -short_book."""
    for r in range(out.shape[0]):
        row = x[r]
        longs = 0.0
        shorts = 0.0
        for j in range(row.shape[0]):
            v = np.float64(row[j])
            longs = plus(longs, max(0.0, v))
            shorts = plus(shorts, -min(0.0, v))
        o = out[r]
        for j in range(row.shape[0]):
            v = np.float64(row[j])
            if v > 0.0:
                o[j] = v / longs * long_book
            elif v < 0.0:
                o[j] = v / shorts * short_book
            else:
                o[j] = v


@kernel
def sum_of_sizes(x: Array, out: Array) -> None:
    """Write the sum of |x| over the day's finite values, the same for every instrument."""
    for r in range(out.shape[0]):
        row = x[r]
        total = 0.0
        for j in range(row.shape[0]):
            a = abs(np.float64(row[j]))
            total = plus(total, a if a < math.inf else 0.0)
        out[r, :] = total


@kernel
def bucket(x: Array, out: Array, edges: Array, skip_begin: bool, skip_end: bool, nan_group: bool) -> None:
    """Write the number of the interval (a, b] that holds x, counted from the first that is not skipped.

    Values up to the first edge and beyond the last fall into end buckets; skipped end buckets give NaN. NaN stays NaN,
    or gets the number after the last with `nan_group`.
    """
    last = edges.shape[0]
    stored = edges.astype(x.dtype)  # 0.3 read as an edge is the 0.3 that a matrix holds
    first = 1 if skip_begin else 0
    for r in range(out.shape[0]):
        for j in range(x.shape[1]):
            v = x[r, j]
            if v != v:  # noqa: PLR0124
                end = last if skip_end else last + 1
                out[r, j] = end - first if nan_group else math.nan
                continue
            k = 0
            while k < last and v > stored[k]:
                k += 1
            hidden = (k == 0 and skip_begin) or (k == last and skip_end)
            out[r, j] = math.nan if hidden else k - first


@kernel
def relate(y: Array, x: Array, out: Array, line: bool, rest: bool) -> None:
    """Write the part of y that x explains across a day's instruments with both, or with `rest` the residual.

    With `line` the part is the least-squares line, else the projection on the vector x.
    """
    n = x.shape[1]
    for r in range(out.shape[0]):
        a = x[r]
        b = y[r]
        o = out[r]
        base_x = 0.0
        base_y = 0.0
        mean_x = 0.0
        mean_y = 0.0
        if line:
            base_x, base_y, mean_x, mean_y = _pair_means(a, b)
        xx = 0.0
        xy = 0.0
        for j in range(n):
            u = (np.float64(a[j]) - base_x) - mean_x
            v = (np.float64(b[j]) - base_y) - mean_y
            ok = (u == u) & (v == v)  # noqa: PLR0124
            xx = plus(xx, u * u if ok else 0.0)
            xy = plus(xy, u * v if ok else 0.0)
        slope = xy / xx if math.isfinite(xx) and math.isfinite(xy) else math.nan
        fit = abs(slope) * (2.0 * math.sqrt(xx) + abs(base_x) + abs(mean_x))
        least = rounding_of(abs(base_y) + abs(mean_y) + fit, y)
        for j in range(n):
            u = (np.float64(a[j]) - base_x) - mean_x
            v = (np.float64(b[j]) - base_y) - mean_y
            e = v - slope * u
            if rest:
                o[j] = 0.0 if abs(e) <= least else e
            else:
                o[j] = (base_y + (mean_y + slope * u)) + 0.0 * v


@kernel
def _pair_means(a: Array, b: Array) -> tuple[float, float, float, float]:
    """Return for two rows their first common values and the means of the rest above them."""
    base_a = 0.0
    base_b = 0.0
    total_a = 0.0
    total_b = 0.0
    count = 0.0
    for j in range(a.shape[0]):
        u = np.float64(a[j])
        v = np.float64(b[j])
        if u == u and v == v:  # noqa: PLR0124
            if count == 0.0 and abs(u) < math.inf and abs(v) < math.inf:
                base_a = u
                base_b = v
            total_a += u - base_a
            total_b += v - base_b
            count += 1.0
    return base_a, base_b, total_a / count, total_b / count
