"""Sums, products and extremes over the last d days, at a cost that does not depend on d.

Days are cut into stretches of d. A window is the end of one stretch and the beginning of the next. Its result combines
the first one's suffix with the second one's prefix (van Herk 1992, Gil and Werman 1993). No value is ever subtracted:
no error accumulates, and an infinity ends with its windows.

Days before the panel's first are missing, as NaN is; a window with no value gives NaN.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel
from generator.backtest.kernels.rows import ROW, copy, keep

Array = Any

SUM, MEAN, PRODUCT, COUNT_NANS, COUNT = range(5)
MAX, MIN, ARG_MAX, ARG_MIN = range(4)
_PRODUCT = PRODUCT
_MEAN = MEAN
_COUNT_NANS = COUNT_NANS
_COUNT = COUNT
_N, _SUM, _WEIGHTED, _WEIGHTS = (ROW * k for k in range(4))


@kernel
def _add(x: Array, c0: int, w: int, t: int, s: Array, product: bool) -> None:
    for j in range(w):
        v = np.float64(x[t, np.uintp(c0 + j)])
        ok = v == v  # noqa: PLR0124
        s[_N + j] += 1.0 if ok else 0.0
        if product:
            s[_SUM + j] *= v if ok else 1.0
        else:
            s[_SUM + j] += v if ok else 0.0


@kernel
def _finish(
    out: Array, c0: int, w: int, t: int, s: Array, suffix: Array, q: int, mode: int, days: int
) -> None:
    """Write a window's figure from the sums of its newer part and those of the q days before."""
    for j in range(w):
        n = s[_N + j] + suffix[q, _N + j]
        total = s[_SUM + j] * suffix[q, _SUM + j] if mode == _PRODUCT else s[_SUM + j] + suffix[q, _SUM + j]
        if mode == _COUNT_NANS:
            out[t, np.uintp(c0 + j)] = days - n
        elif mode == _COUNT:
            out[t, np.uintp(c0 + j)] = n
        elif mode == _MEAN:
            out[t, np.uintp(c0 + j)] = total / n
        else:
            out[t, np.uintp(c0 + j)] = total if n > 0.0 else math.nan


@kernel
def rolling_total(x: Array, out: Array, c0: int, c1: int, d: int, mode: int) -> None:
    """Write SUM, MEAN, PRODUCT, COUNT_NANS or COUNT of the last d days."""
    days = x.shape[0]
    w = c1 - c0
    product = mode == _PRODUCT
    start = np.zeros(2 * ROW)
    start[_SUM:] = 1.0 if product else 0.0
    s = start.copy()
    suffix = np.empty((min(d, days), 2 * ROW))  # row q: the q days before the stretch
    copy(start, suffix[0])
    for b in range(0, days, d):
        copy(start, s)
        for q in range(1, d if b > 0 else 0):
            _add(x, c0, w, b - q, s, product)
            keep(s, suffix, q, 2, w)
        copy(start, s)
        for t in range(b, min(b + d, days)):
            _add(x, c0, w, t, s, product)
            _finish(out, c0, w, t, s, suffix, d - 1 - (t - b) if b > 0 else 0, mode, min(d, t + 1))


@kernel
def _extend(x: Array, c0: int, w: int, t: int, best: Array, largest: bool) -> None:
    """Let day t's values take the places of lesser ones, or of greater ones."""
    if largest:
        for j in range(w):
            v = x[t, np.uintp(c0 + j)]
            best[j] = v if (v > best[j]) | (best[j] != best[j]) else best[j]
    else:
        for j in range(w):
            v = x[t, np.uintp(c0 + j)]
            best[j] = v if (v < best[j]) | (best[j] != best[j]) else best[j]


@kernel
def _answer_extreme(
    out: Array, c0: int, w: int, t: int, best: Array, suffix: Array, q: int, largest: bool
) -> None:
    for j in range(w):
        v = suffix[q, j]
        beats = ((v > best[j]) & largest) | ((v < best[j]) & (not largest)) | (best[j] != best[j])
        out[t, np.uintp(c0 + j)] = v if beats else best[j]


@kernel
def rolling_extreme(x: Array, out: Array, c0: int, c1: int, d: int, largest: bool) -> None:
    """Write the largest (or smallest) value of the last d days."""
    days = x.shape[0]
    w = c1 - c0
    nothing = np.full(ROW, math.nan, x.dtype)
    best = nothing.copy()
    suffix = np.empty((min(d, days), ROW), x.dtype)  # row q: the q days before the stretch
    copy(nothing, suffix[0])
    for b in range(0, days, d):
        copy(nothing, best)
        for q in range(1, d if b > 0 else 0):
            _extend(x, c0, w, b - q, best, largest)
            keep(best, suffix, q, 1, w)
        copy(nothing, best)
        for t in range(b, min(b + d, days)):
            _extend(x, c0, w, t, best, largest)
            _answer_extreme(out, c0, w, t, best, suffix, d - 1 - (t - b) if b > 0 else 0, largest)


@kernel
def _place(x: Array, c0: int, w: int, t: int, s: Array, sign: Any, ties: bool) -> None:
    """Let day t's values take the places of those that they beat, and with `ties` of those they equal."""
    day = x.dtype.type(t)
    for j in range(w):
        v = sign * x[t, np.uintp(c0 + j)]
        best = s[_N + j]
        beats = (v > best) | ((v == best) & ties) | ((v == v) & (best != best))  # noqa: PLR0124
        s[_N + j] = v if beats else best
        s[_SUM + j] = day if beats else s[_SUM + j]


@kernel
def _answer_place(out: Array, c0: int, w: int, t: int, s: Array, suffix: Array, q: int, newest: bool) -> None:
    day = out.dtype.type(t)
    for j in range(w):
        best = s[_N + j]
        older = suffix[q, _N + j]
        wins = (best > older) | ((best == older) & newest) | (older != older)  # noqa: PLR0124
        out[t, np.uintp(c0 + j)] = day - (s[_SUM + j] if wins else suffix[q, _SUM + j])


@kernel
def rolling_place(x: Array, out: Array, c0: int, c1: int, d: int, largest: bool, newest: bool) -> None:
    """Write the age in days of the last d days' extreme; of equal extremes the newest or the oldest."""
    days = x.shape[0]
    w = c1 - c0
    sign = x.dtype.type(1.0 if largest else -1.0)
    nothing = np.full(2 * ROW, math.nan, x.dtype)  # as narrow as the values are: a day's number fits in both
    s = nothing.copy()
    suffix = np.empty((min(d, days), 2 * ROW), x.dtype)
    copy(nothing, suffix[0])
    for b in range(0, days, d):
        copy(nothing, s)
        for q in range(1, d if b > 0 else 0):
            _place(x, c0, w, b - q, s, sign, not newest)
            keep(s, suffix, q, 2, w)
        copy(nothing, s)
        for t in range(b, min(b + d, days)):
            _place(x, c0, w, t, s, sign, newest)
            _answer_place(out, c0, w, t, s, suffix, d - 1 - (t - b) if b > 0 else 0, newest)


@kernel
def rolling_scale(x: Array, low: Array, high: Array, out: Array, c0: int, c1: int, constant: float) -> None:
    """Write (x - low) / (high - low) + constant, NaN where the window is constant."""
    for t in range(x.shape[0]):
        for j in range(c0, c1):
            c = np.uintp(j)
            least = np.float64(low[t, c])
            out[t, c] = (np.float64(x[t, c]) - least) / (np.float64(high[t, c]) - least) + constant


def delay(x: Array, out: Array, r0: int, r1: int, d: int) -> None:
    """Write the values of d days before the days r0 to r1."""
    first = min(max(d - r0, 0), r1 - r0)
    out[:first] = math.nan
    out[first:] = x[r0 + first - d : r1 - d]


def delta(x: Array, out: Array, r0: int, r1: int, d: int, sign: float) -> None:
    """Write the differences of the days r0 to r1 to the values of d days before, with a sign."""
    first = min(max(d - r0, 0), r1 - r0)
    out[:first] = math.nan
    np.subtract(x[r0 + first : r1], x[r0 + first - d : r1 - d], out[first:])
    if sign < 0.0:
        np.negative(out, out)


def hide_start(x: Array, out: Array, c0: int, c1: int, days: int) -> None:
    """Copy, with NaN on the first `days` days."""
    out[:, c0:c1] = x[:, c0:c1]
    out[:days, c0:c1] = math.nan


def count_days(out: Array, r0: int, r1: int, step: float) -> None:
    """Write the numbers of the days r0 to r1, `step` on the panel's first day, rising by `step`."""
    out[:] = (step * np.arange(r0 + 1, r1 + 1))[:, None]


@kernel
def decay_linear(x: Array, out: Array, c0: int, c1: int, d: int, dense: bool) -> None:
    """Write the mean of the last d days with weights d, d-1 ... 1 from the newest.

    Sparse: a missing value counts as 0 with its weight. Dense: it is left out with its weight. Newer part: S is the
    sum, and A the sum weighted 1, 2 ... from the stretch's first day. Weights that reach d today give A + (d - k) S on
    its k-th day. Older part: one more day back adds 1 to every weight, thus the sum so far.
    """
    days = x.shape[0]
    w = c1 - c0
    s = np.empty(4 * ROW)
    suffix = np.zeros((min(d, days), 4 * ROW))
    full = 0.0 if dense else d * (d + 1) * 0.5
    for b in range(0, days, d):
        s[:] = 0.0
        for q in range(1, d if b > 0 else 0):
            _decay_back(x, c0, w, b - q, s)
            keep(s, suffix, q, 4, w)
        s[:] = 0.0
        for t in range(b, min(b + d, days)):
            k = t - b + 1
            _decay_on(x, c0, w, t, s, float(k))
            _decay_finish(out, c0, w, t, s, suffix, d - k if b > 0 else 0, float(d - k), full)


@kernel
def _decay_on(x: Array, c0: int, w: int, t: int, s: Array, k: float) -> None:
    for j in range(w):
        v = np.float64(x[t, np.uintp(c0 + j)])
        ok = v == v  # noqa: PLR0124
        u = v if ok else 0.0
        n = 1.0 if ok else 0.0
        s[_SUM + j] += u
        s[_WEIGHTED + j] += k * u
        s[_N + j] += n
        s[_WEIGHTS + j] += k * n


@kernel
def _decay_back(x: Array, c0: int, w: int, t: int, s: Array) -> None:
    for j in range(w):
        v = np.float64(x[t, np.uintp(c0 + j)])
        ok = v == v  # noqa: PLR0124
        s[_SUM + j] += v if ok else 0.0
        s[_N + j] += 1.0 if ok else 0.0
        s[_WEIGHTED + j] += s[_SUM + j]
        s[_WEIGHTS + j] += s[_N + j]


@kernel
def _decay_finish(
    out: Array, c0: int, w: int, t: int, s: Array, suffix: Array, q: int, lift: float, full: float
) -> None:
    """Write sums over weights: those of the values there are, or `full` if that is not 0."""
    for j in range(w):
        # an infinite sum times 0 would be NaN
        top = s[_WEIGHTED + j] + (lift * s[_SUM + j] if lift > 0.0 else 0.0) + suffix[q, _WEIGHTED + j]
        n = s[_N + j] + suffix[q, _N + j]
        weights = s[_WEIGHTS + j] + lift * s[_N + j] + suffix[q, _WEIGHTS + j]
        out[t, np.uintp(c0 + j)] = top / (full if full > 0.0 else weights) if n > 0.0 else math.nan
