"""From an alpha's values to positions and to each day's figures."""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel

Array = Any

PNL, TRADED, LONGS, SHORTS, LARGEST, BOOK = range(6)
FIGURES = 6
_PNL, _TRADED, _LONGS, _SHORTS, _LARGEST, _BOOK = PNL, TRADED, LONGS, SHORTS, LARGEST, BOOK


@kernel
def weigh(x: Array, group: Array, out: Array, r0: int, r1: int, groups: int) -> None:
    """Write the positions of a day: x less its group's mean, over the sum of the sizes; 0 is no position.

    With `groups` 0 nothing is subtracted. NaN, infinities and members of no group have no position. A day on which
    what is left is rounding error (every value equals its group's mean) has none either.
    """
    n = x.shape[1]
    total = np.zeros(max(1, groups))
    count = np.zeros(max(1, groups))
    base = np.zeros(max(1, groups))
    for r in range(r0, r1):
        row = x[r]
        g = group[r]
        o = out[r]
        if groups > 0:
            total[:] = 0.0
            count[:] = 0.0
            for j in range(n):
                v = np.float64(row[j])
                k = g[j]
                if k >= 0 and abs(v) < math.inf:
                    if count[k] == 0.0:
                        base[k] = v
                    total[k] += v - base[k]
                    count[k] += 1.0
            for k in range(groups):
                total[k] = total[k] / count[k] if count[k] > 0.0 else 0.0
        size = 0.0
        for j in range(n):
            v = np.float64(row[j])
            k = g[j] if groups > 0 else 0
            w = 0.0
            if k >= 0 and abs(v) < math.inf:
                w = v - base[k] - total[k] if groups > 0 else v
            o[j] = w
            size += abs(w)
        factor = 1.0 / size if size > 0.0 else 0.0
        for j in range(n):
            o[j] *= factor


@kernel
def truncate(x: Array, out: Array, r0: int, r1: int, limit: float, rescale: bool) -> None:
    """Clip positions to +-limit (0: no limit) and scale them to a unit book again if asked."""
    n = x.shape[1]
    for r in range(r0, r1):
        row = x[r]
        o = out[r]
        size = 0.0
        for j in range(n):
            v: float = np.float64(row[j])
            v = v if v == v else 0.0  # noqa: PLR0124
            if limit > 0.0:
                v = min(max(v, -limit), limit)
            o[j] = v
            size += abs(v)
        if rescale and size > 0.0:
            factor = 1.0 / size
            for j in range(n):
                o[j] *= factor


@kernel
def keep_largest(x: Array, size: Array, out: Array, r0: int, r1: int, share: float) -> None:
    """Copy x for the given share of the day's instruments with the largest `size` rank, NaN for the others."""
    for r in range(r0, r1):
        for j in range(x.shape[1]):
            out[r, j] = x[r, j] if size[r, j] >= 1.0 - share else math.nan


@kernel
def daily(weights: Array, returns: Array, out: Array, r0: int, r1: int) -> None:
    """Write each day's figures for the positions taken on it (columns PNL to BOOK).

    PNL is what they earn on the next day, NaN on the last one; an instrument without a return earns nothing.
    TRADED is the sum of the changes from the day before.
    """
    days, n = weights.shape
    for r in range(r0, r1):
        row = weights[r]
        pnl = 0.0
        traded = 0.0
        longs = 0.0
        shorts = 0.0
        largest = 0.0
        book = 0.0
        for j in range(n):
            w = np.float64(row[j])
            before = np.float64(weights[r - 1, j]) if r > 0 else 0.0
            traded += abs(w - before)
            longs += 1.0 if w > 0.0 else 0.0
            shorts += 1.0 if w < 0.0 else 0.0
            largest = max(largest, abs(w))
            book += abs(w)
        if r + 1 < days:
            gains = returns[r + 1]
            for j in range(n):
                gain = np.float64(gains[j])
                pnl += row[j] * gain if abs(gain) < math.inf else 0.0
        else:
            pnl = math.nan
        out[r, _PNL] = pnl
        out[r, _TRADED] = traded
        out[r, _LONGS] = longs
        out[r, _SHORTS] = shorts
        out[r, _LARGEST] = largest
        out[r, _BOOK] = book
