"""Sums, products and extremes over the last d days, at a cost that does not depend on d.

Days are cut into stretches of d. A window is the end of one stretch and the beginning of the next, so its result is
the suffix of the one combined with the prefix of the other (van Herk 1992, Gil and Werman 1993). Nothing is ever
subtracted: no error builds up, and an infinity is gone when its window is.

Days before the panel's first are missing, as NaN is; a window with no value gives NaN.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel
from generator.backtest.kernels.rows import copy, lanes

Array = Any

SUM, MEAN, PRODUCT, COUNT_NANS, COUNT = range(5)
MAX, MIN, ARG_MAX, ARG_MIN = range(4)
_PRODUCT = PRODUCT
_MEAN = MEAN
_COUNT_NANS = COUNT_NANS
_COUNT = COUNT


@kernel
def _accumulate(row: Array, count: Array, total: Array, mode: int, w: int) -> None:
    if mode == _PRODUCT:
        for j in range(w):
            v = np.float64(row[j])
            ok = v == v  # noqa: PLR0124
            count[j] += 1.0 if ok else 0.0
            total[j] *= v if ok else 1.0
    else:
        for j in range(w):
            v = np.float64(row[j])
            ok = v == v  # noqa: PLR0124
            count[j] += 1.0 if ok else 0.0
            total[j] += v if ok else 0.0


@kernel
def _finish(out: Array, count: Array, total: Array, mode: int, days: int, w: int) -> None:
    if mode == _COUNT_NANS:
        for j in range(w):
            out[j] = days - count[j]
    elif mode == _COUNT:
        for j in range(w):
            out[j] = count[j]
    elif mode == _MEAN:
        for j in range(w):
            out[j] = total[j] / count[j]
    else:
        for j in range(w):
            out[j] = total[j] if count[j] > 0.0 else math.nan


@kernel
def rolling_total(x: Array, out: Array, d: int, mode: int) -> None:
    """Write SUM, MEAN, PRODUCT, COUNT_NANS or COUNT of the last d days for the columns c0 to c1."""
    days = x.shape[0]
    w = x.shape[1]
    span = min(d, days)
    start = 1.0 if mode == _PRODUCT else 0.0
    wide = lanes(w)
    suffix_count = np.empty((span, wide))
    suffix_total = np.empty((span, wide))
    count = np.empty(wide)
    total = np.empty(wide)
    row_count = np.empty(wide)
    row_total = np.empty(wide)
    for b in range(0, days, d):
        if b > 0:
            count[:] = 0.0
            total[:] = start
            for q in range(d - 1):
                _accumulate(x[b - 1 - q], count, total, mode, w)
                copy(count, suffix_count[q])
                copy(total, suffix_total[q])
        count[:] = 0.0
        total[:] = start
        for t in range(b, min(b + d, days)):
            _accumulate(x[t], count, total, mode, w)
            q = d - 2 - (t - b)
            if q < 0 or b == 0:
                _finish(out[t], count, total, mode, min(d, t + 1), w)
                continue
            sc = suffix_count[q]
            st = suffix_total[q]
            for j in range(w):
                row_count[j] = count[j] + sc[j]
            if mode == _PRODUCT:
                for j in range(w):
                    row_total[j] = total[j] * st[j]
            else:
                for j in range(w):
                    row_total[j] = total[j] + st[j]
            _finish(out[t], row_count, row_total, mode, d, w)


@kernel
def _raise_max(row: Array, best: Array, w: int) -> None:
    for j in range(w):
        best[j] = row[j] if (row[j] > best[j]) | (best[j] != best[j]) else best[j]


@kernel
def _sink_min(row: Array, best: Array, w: int) -> None:
    for j in range(w):
        best[j] = row[j] if (row[j] < best[j]) | (best[j] != best[j]) else best[j]


@kernel
def _extend(row: Array, best: Array, largest: bool, w: int) -> None:
    if largest:
        _raise_max(row, best, w)
    else:
        _sink_min(row, best, w)


@kernel
def rolling_extreme(x: Array, out: Array, d: int, largest: bool) -> None:
    """Write the largest (or smallest) value of the last d days for the columns c0 to c1."""
    days = x.shape[0]
    w = x.shape[1]
    wide = lanes(w)
    suffix = np.empty((min(d, days), wide), x.dtype)
    best = np.empty(wide, x.dtype)
    for b in range(0, days, d):
        if b > 0:
            best[:] = math.nan
            for q in range(d - 1):
                _extend(x[b - 1 - q], best, largest, w)
                copy(best, suffix[q])
        best[:] = math.nan
        for t in range(b, min(b + d, days)):
            _extend(x[t], best, largest, w)
            o = out[t]
            copy(best, o)
            q = d - 2 - (t - b)
            if q >= 0 and b > 0:
                _extend(suffix[q], o, largest, w)


@kernel
def _place(row: Array, day: Any, best: Array, place: Array, sign: Any, strict: bool, w: int) -> None:
    """Let a row's values take the place of those that they beat; without `strict`, of those they equal too."""
    if strict:
        for j in range(w):
            v = sign * row[j]
            beats = (v > best[j]) | ((v == v) & (best[j] != best[j]))  # noqa: PLR0124
            best[j] = v if beats else best[j]
            place[j] = day if beats else place[j]
    else:
        for j in range(w):
            v = sign * row[j]
            beats = (v >= best[j]) | ((v == v) & (best[j] != best[j]))  # noqa: PLR0124
            best[j] = v if beats else best[j]
            place[j] = day if beats else place[j]


@kernel
def rolling_place(x: Array, out: Array, d: int, largest: bool, newest: bool) -> None:
    """Write how many days ago the extreme of the last d days was; of equal ones the newest, or the oldest."""
    days = x.shape[0]
    w = x.shape[1]
    span = min(d, days)
    number = x.dtype.type  # as narrow as the values are: a day's number fits in both
    sign = number(1.0 if largest else -1.0)
    wide = lanes(w)
    suffix_best = np.empty((span, wide), x.dtype)
    suffix_place = np.empty((span, wide), x.dtype)
    best = np.empty(wide, x.dtype)
    place = np.empty(wide, x.dtype)
    for b in range(0, days, d):
        if b > 0:
            best[:] = math.nan
            place[:] = math.nan
            for q in range(d - 1):
                _place(x[b - 1 - q], number(b - 1 - q), best, place, sign, newest, w)
                copy(best, suffix_best[q])
                copy(place, suffix_place[q])
        best[:] = math.nan
        place[:] = math.nan
        for t in range(b, min(b + d, days)):
            day = number(t)
            _place(x[t], day, best, place, sign, not newest, w)
            o = out[t]
            q = d - 2 - (t - b)
            if q < 0 or b == 0:
                for j in range(w):
                    o[j] = day - place[j]
                continue
            older = suffix_best[q]
            older_place = suffix_place[q]
            for j in range(w):
                wins = (best[j] > older[j]) | ((best[j] == older[j]) & newest) | (older[j] != older[j])
                o[j] = day - (place[j] if wins else older_place[j])


@kernel
def rolling_scale(x: Array, low: Array, high: Array, out: Array, constant: float) -> None:
    """Write (x - low) / (high - low) + constant, NaN where the window is constant."""
    w = x.shape[1]
    for t in range(x.shape[0]):
        a = x[t]
        lo = low[t]
        hi = high[t]
        o = out[t]
        for j in range(w):
            o[j] = (np.float64(a[j]) - lo[j]) / (np.float64(hi[j]) - lo[j]) + constant


@kernel
def delay(x: Array, out: Array, d: int) -> None:
    """Write the value of d days ago."""
    for t in range(x.shape[0]):
        if t < d:
            out[t] = math.nan
        else:
            copy(x[t - d], out[t])


@kernel
def delta(x: Array, out: Array, d: int, sign: float) -> None:
    """Write the difference to the value of d days ago, with a sign."""
    w = x.shape[1]
    same = x.dtype.type(sign)  # a float64 would make all of it float64
    for t in range(x.shape[0]):
        o = out[t]
        if t < d:
            o[:] = math.nan
            continue
        a = x[t]
        b = x[t - d]
        for j in range(w):
            o[j] = same * (a[j] - b[j])


@kernel
def decay_linear(x: Array, out: Array, d: int, dense: bool) -> None:
    """Write the mean of the last d days with weights d, d-1 ... 1 from the newest.

    Sparse: a missing value counts as 0 with its weight. Dense: it is left out with its weight.
    Prefix: with S the sum and A the sum weighted 1, 2 ... from the stretch's first day, weights that reach d today
    give A + (d - k) S on its k-th day. Suffix: one more day back adds 1 to every weight, thus the sum so far.
    """
    days = x.shape[0]
    w = x.shape[1]
    span = min(d, days)
    wide = lanes(w)
    suffix = np.zeros((span, 3, wide))
    state = np.zeros((5, wide))
    full = d * (d + 1) * 0.5
    for b in range(0, days, d):
        if b > 0:
            state[:] = 0.0
            for q in range(d - 1):
                _decay_back(x[b - 1 - q], state, w)
                copy(state[1], suffix[q, 0])
                copy(state[3], suffix[q, 1])
                copy(state[2], suffix[q, 2])
        state[:] = 0.0
        for t in range(b, min(b + d, days)):
            k = t - b + 1
            _decay_on(x[t], state, k, w)
            q = d - 1 - k
            if q < 0 or b == 0:
                _decay_finish(out[t], state, state, float(d - k), 0.0, full, dense, w)
            else:
                _decay_finish(out[t], state, suffix[q], float(d - k), 1.0, full, dense, w)


@kernel
def _decay_on(row: Array, state: Array, k: int, w: int) -> None:
    total = state[0]
    weighted = state[1]
    count = state[2]
    weights = state[3]
    for j in range(w):
        v = np.float64(row[j])
        ok = v == v  # noqa: PLR0124
        u = v if ok else 0.0
        n = 1.0 if ok else 0.0
        total[j] += u
        weighted[j] += k * u
        count[j] += n
        weights[j] += k * n


@kernel
def _decay_back(row: Array, state: Array, w: int) -> None:
    total = state[0]
    weighted = state[1]
    count = state[2]
    weights = state[3]
    for j in range(w):
        v = np.float64(row[j])
        ok = v == v  # noqa: PLR0124
        total[j] += v if ok else 0.0
        count[j] += 1.0 if ok else 0.0
        weighted[j] += total[j]
        weights[j] += count[j]


@kernel
def _decay_finish(
    o: Array, state: Array, older: Array, lift: float, share: float, full: float, dense: bool, w: int
) -> None:
    total = state[0]
    weighted = state[1]
    count = state[2]
    weights = state[3]
    old_weighted = older[0]
    old_weights = older[1]
    old_count = older[2]
    for j in range(w):
        top = weighted[j] + (lift * total[j] if lift > 0.0 else 0.0)
        n = count[j]
        bottom = weights[j] + lift * count[j]
        if share > 0.0:
            top += old_weighted[j]
            n += old_count[j]
            bottom += old_weights[j]
        if not dense:
            bottom = full
        o[j] = top / bottom if n > 0.0 else math.nan
