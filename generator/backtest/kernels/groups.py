"""Operators within the groups of a day. Group codes run from 0 to groups - 1; -1 is no group, and gives NaN."""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel
from generator.backtest.kernels.rows import copy

Array = Any

COUNT, SUM, MAX, MIN, STD_DEV, SIZE = range(6)
_COUNT, _SUM, _MAX, _MIN, _STD_DEV, _SIZE = COUNT, SUM, MAX, MIN, STD_DEV, SIZE


@kernel
def group_means(row: Array, g: Array, base: Array, mean: Array, count: Array) -> None:
    """Write each group's first finite value, its mean less that, and its number of values."""
    count[:] = 0.0
    mean[:] = 0.0
    base[:] = math.nan
    for j in range(row.shape[0]):
        k = g[j]
        v = np.float64(row[j])
        if k >= 0 and v == v:  # noqa: PLR0124
            b = base[k]
            if b != b:  # noqa: PLR0124
                if math.isfinite(v):
                    # values met before it were infinite, so the sum is unaffected by where it starts
                    base[k] = v
                    b = v
                else:
                    b = 0.0
            mean[k] += v - b
            count[k] += 1.0
    for k in range(base.shape[0]):
        mean[k] = mean[k] / count[k]
        if base[k] != base[k]:
            base[k] = 0.0


@kernel
def neutralize(x: Array, group: Array, out: Array, groups: int) -> None:
    """Write x less its group's mean."""
    base = np.empty(groups)
    mean = np.empty(groups)
    count = np.empty(groups)
    for r in range(out.shape[0]):
        row = x[r]
        g = group[r]
        o = out[r]
        group_means(row, g, base, mean, count)
        for j in range(row.shape[0]):
            k = g[j]
            o[j] = (np.float64(row[j]) - base[k]) - mean[k] if k >= 0 else math.nan


@kernel
def zscore(x: Array, group: Array, out: Array, groups: int) -> None:
    """Write (x - group mean) / group deviation, ddof 0."""
    base = np.empty(groups)
    mean = np.empty(groups)
    count = np.empty(groups)
    squares = np.empty(groups)
    for r in range(out.shape[0]):
        row = x[r]
        g = group[r]
        o = out[r]
        group_means(row, g, base, mean, count)
        squares[:] = 0.0
        for j in range(row.shape[0]):
            k = g[j]
            v = np.float64(row[j])
            if k >= 0 and v == v:  # noqa: PLR0124
                u = v - base[k] - mean[k]
                squares[k] += u * u
        for k in range(groups):
            squares[k] = math.sqrt(squares[k] / count[k])
        for j in range(row.shape[0]):
            k = g[j]
            o[j] = ((np.float64(row[j]) - base[k]) - mean[k]) / squares[k] if k >= 0 else math.nan


@kernel
def scale(x: Array, group: Array, out: Array, groups: int) -> None:
    """Write (x - group min) / (group max - group min)."""
    low = np.empty(groups)
    high = np.empty(groups)
    for r in range(out.shape[0]):
        row = x[r]
        g = group[r]
        o = out[r]
        low[:] = math.inf
        high[:] = -math.inf
        for j in range(row.shape[0]):
            k = g[j]
            v = np.float64(row[j])
            if k >= 0 and v == v:  # noqa: PLR0124
                low[k] = min(low[k], v)
                high[k] = max(high[k], v)
        for j in range(row.shape[0]):
            k = g[j]
            o[j] = (np.float64(row[j]) - low[k]) / (high[k] - low[k]) if k >= 0 else math.nan


@kernel
def aggregate(  # noqa: C901  # one pass a mode, no calls in a kernel
    x: Array, group: Array, out: Array, mode: int, groups: int
) -> None:
    """Write COUNT of the group's values to all members.

    Write SUM, MAX, MIN or STD_DEV (ddof 0) to members with a value. SIZE is the sum of |x|.
    """
    base = np.empty(groups)
    middle = np.empty(groups)
    count = np.empty(groups)
    found = np.empty(groups)
    for r in range(out.shape[0]):
        row = x[r]
        g = group[r]
        o = out[r]
        group_means(row, g, base, middle, count)
        found[:] = -math.inf if mode == _MAX else (math.inf if mode == _MIN else 0.0)
        for j in range(row.shape[0]):
            k = g[j]
            v = np.float64(row[j])
            if k < 0 or v != v:  # noqa: PLR0124
                continue
            if mode == _SUM:
                found[k] += v
            elif mode == _SIZE:
                found[k] += abs(v)
            elif mode == _MAX:
                found[k] = max(found[k], v)
            elif mode == _MIN:
                found[k] = min(found[k], v)
            elif mode == _STD_DEV:
                u = v - base[k] - middle[k]
                found[k] += u * u
        for k in range(groups):
            if mode == _STD_DEV:
                found[k] = math.sqrt(found[k] / count[k])
            elif mode == _COUNT:
                found[k] = count[k]
        for j in range(row.shape[0]):
            k = g[j]
            there = k >= 0 and (mode == _COUNT or row[j] == row[j])
            o[j] = found[k] if there else math.nan


@kernel
def median(x: Array, group: Array, out: Array, groups: int) -> None:
    """Write the group's median to each member that has a value."""
    n = x.shape[1]
    start = np.empty(groups + 1, np.int64)
    place = np.empty(groups, np.int64)
    values = np.empty(n)
    middle = np.empty(groups)
    for r in range(out.shape[0]):
        row = x[r]
        g = group[r]
        start[:] = 0
        for j in range(n):
            if g[j] >= 0 and row[j] == row[j]:
                start[g[j] + 1] += 1
        for k in range(groups):
            start[k + 1] += start[k]
            place[k] = start[k]
        for j in range(n):
            if g[j] >= 0 and row[j] == row[j]:
                values[place[g[j]]] = row[j]
                place[g[j]] += 1
        for k in range(groups):
            middle[k] = _middle(values[start[k] : start[k + 1]])
        for j in range(n):
            out[r, j] = middle[g[j]] if g[j] >= 0 and row[j] == row[j] else math.nan


@kernel
def _middle(values: Array) -> float:
    """Sort values and return their median, NaN of none."""
    n = values.shape[0]
    if n == 0:
        return math.nan
    values.sort()
    upper: float = values[n // 2]
    lower: float = values[(n - 1) // 2]
    return upper if n % 2 else 0.5 * (lower + upper)


@kernel
def mean(x: Array, weight: Array, group: Array, out: Array, groups: int, harmonic: bool) -> None:
    """Write the group's weighted mean, plain or harmonic, to each member that has a value."""
    top = np.empty(groups)
    bottom = np.empty(groups)
    for r in range(out.shape[0]):
        row = x[r]
        g = group[r]
        o = out[r]
        ws = weight[r]
        top[:] = 0.0
        bottom[:] = 0.0
        for j in range(row.shape[0]):
            k = g[j]
            v = np.float64(row[j])
            w = np.float64(ws[j])
            if k >= 0 and v == v and w == w:  # noqa: PLR0124
                top[k] += w if harmonic else w * v
                bottom[k] += w / v if harmonic else w
        for k in range(groups):
            top[k] = top[k] / bottom[k]
        for j in range(row.shape[0]):
            k = g[j]
            o[j] = top[k] if k >= 0 and row[j] == row[j] else math.nan


@kernel
def spread(x: Array, group: Array, out: Array, groups: int) -> None:
    """Give the group's value to members that have none (the group's first value, all being equal)."""
    value = np.empty(groups)
    for r in range(out.shape[0]):
        row = x[r]
        g = group[r]
        value[:] = math.nan
        for j in range(row.shape[0]):
            if g[j] >= 0 and row[j] == row[j]:
                value[g[j]] = row[j]
        for j in range(row.shape[0]):
            out[r, j] = value[g[j]] if g[j] >= 0 else math.nan


@kernel
def backfill(x: Array, group: Array, out: Array, r0: int, r1: int, groups: int, d: int, std: float) -> None:
    """Fill NaN with the mean, winsorized at std deviations (ddof 1), of the group's values over the last d days.

    Membership is today's. Infinite values take no part.
    """
    needs = np.empty(groups, np.bool_)
    value = np.empty(groups)
    start = max(0, r0 - d + 1)
    wide = x[start:r1].astype(np.float64)  # once, where each day would turn a window of numbers into float64
    for r in range(r0, r1):
        row = x[r]
        g = group[r]
        o = out[r - r0]
        copy(row, o)
        needs[:] = False
        some = False
        for j in range(row.shape[0]):
            if row[j] != row[j] and g[j] >= 0:
                needs[g[j]] = True
                some = True
        if not some:
            continue
        _winsorized_means(wide, g, r - start, d, std, needs, value)
        for j in range(row.shape[0]):
            if row[j] != row[j] and g[j] >= 0:
                o[j] = value[g[j]]


@kernel
def _winsorized_means(x: Array, g: Array, r: int, d: int, std: float, needs: Array, value: Array) -> None:  # noqa: C901, PLR0912
    groups = needs.shape[0]
    base = np.full(groups, math.nan)
    total = np.zeros(groups)
    count = np.zeros(groups)
    squares = np.zeros(groups)
    clipped = np.zeros(groups)
    first = max(0, r - d + 1)
    n = g.shape[0]
    for i in range(first, r + 1):
        for j in range(n):
            k = g[j]
            v = x[i, j]
            if k >= 0 and needs[k] and math.isfinite(v):
                if count[k] == 0.0:
                    base[k] = v
                total[k] += v - base[k]
                count[k] += 1.0
    for k in range(groups):
        total[k] /= count[k]
    for i in range(first, r + 1):
        for j in range(n):
            k = g[j]
            v = x[i, j]
            if k >= 0 and needs[k] and math.isfinite(v):
                squares[k] += (v - base[k] - total[k]) ** 2
    for k in range(groups):
        squares[k] = std * math.sqrt(squares[k] / (count[k] - 1.0)) if count[k] > 1.0 else 0.0
    for i in range(first, r + 1):
        for j in range(n):
            k = g[j]
            v = x[i, j]
            if k >= 0 and needs[k] and math.isfinite(v):
                u = v - base[k] - total[k]
                clipped[k] += min(max(u, -squares[k]), squares[k])
    for k in range(groups):
        value[k] = base[k] + (total[k] + clipped[k] / count[k])


@kernel
def to_codes(dense: Array, out: Array) -> None:
    """Turn group numbers held as floats into codes."""
    for r in range(out.shape[0]):
        for j in range(dense.shape[1]):
            v = dense[r, j]
            out[r, j] = np.int32(v) if v == v else np.int32(-1)  # noqa: PLR0124


@kernel
def to_numbers(codes: Array, out: Array) -> None:
    """Turn group codes into numbers, NaN for no group."""
    for r in range(out.shape[0]):
        for j in range(codes.shape[1]):
            k = codes[r, j]
            out[r, j] = k if k >= 0 else math.nan
