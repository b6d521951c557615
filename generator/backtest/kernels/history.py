"""Operators that walk through one instrument's history: filling, holding, counting."""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel

Array = Any

SKEWNESS, KURTOSIS = range(2)
_SKEWNESS = SKEWNESS


@kernel
def backfill(x: Array, out: Array, c0: int, c1: int, d: int, k: int) -> None:
    """Replace NaN by the k-th most recent value of the last d days, if there are as many."""
    days = x.shape[0]
    for t in range(days):
        for c in range(c0, c1):
            v = x[t, c]
            if v != v:  # noqa: PLR0124
                seen = 0
                for i in range(t - 1, max(-1, t - d), -1):
                    past = x[i, c]
                    if past == past:  # noqa: PLR0124
                        seen += 1
                        if seen == k:
                            v = past
                            break
            out[t, c] = v


@kernel
def kth_element(
    x: Array, out: Array, c0: int, c1: int, d: int, k: int, skip_nan: bool, skip_zero: bool
) -> None:
    """Write the k-th most recent of the last d days' values that are not skipped; NaN for fewer values."""
    for t in range(x.shape[0]):
        for c in range(c0, c1):
            value = math.nan
            seen = 0
            for i in range(t, max(-1, t - d), -1):
                past = x[i, c]
                if (skip_nan and past != past) or (skip_zero and past == 0.0):  # noqa: PLR0124
                    continue
                seen += 1
                if seen == k:
                    value = past
                    break
            out[t, c] = value


@kernel
def last_different(x: Array, out: Array, c0: int, c1: int, d: int) -> None:
    """Write the most recent of the last d days' values that differs from today's; NaN if there is none."""
    for t in range(x.shape[0]):
        for c in range(c0, c1):
            today = x[t, c]
            value = math.nan
            if today == today:  # noqa: PLR0124
                for i in range(t - 1, max(-1, t - d), -1):
                    past = x[i, c]
                    if past == past and past != today:  # noqa: PLR0124
                        value = past
                        break
            out[t, c] = value


@kernel
def days_since_change(x: Array, out: Array, c0: int, c1: int, first: float) -> None:
    """Write the days since the value last changed, `first` on the day of change; NaN where there is no value.

    A missing value is no change; the first value is one.
    """
    for c in range(c0, c1):
        last = math.nan
        changed = 0
        for t in range(x.shape[0]):
            v = np.float64(x[t, c])
            if v != v:  # noqa: PLR0124
                out[t, c] = math.nan
                continue
            if v != last:
                last = v
                changed = t
            out[t, c] = t - changed + first


@kernel
def hump(x: Array, size: Array, out: Array, c0: int, c1: int, share: float) -> None:
    """Let x move by at most share * size a day; smaller moves are not followed at all.

    The first value, and a value after a gap, is taken unchanged. NaN and infinities give NaN.
    """
    for c in range(c0, c1):
        held = math.nan
        for t in range(x.shape[0]):
            v = np.float64(x[t, c])
            if not math.isfinite(v):
                held = math.nan
            elif held != held:  # noqa: PLR0124
                held = v
            else:
                limit = share * np.float64(size[t, c])
                if v - held > limit:
                    held += limit
                elif held - v > limit:
                    held -= limit
            out[t, c] = held


@kernel
def trade_when(enter: Array, value: Array, leave: Array, out: Array, c0: int, c1: int) -> None:
    """Write NaN where `leave` > 0, else `value` where `enter` > 0, else the result of the day before."""
    for c in range(c0, c1):
        held = math.nan
        for t in range(value.shape[0]):
            if leave[t, c] > 0.0:
                held = math.nan
            elif enter[t, c] > 0.0:
                held = np.float64(value[t, c])
            out[t, c] = held


@kernel
def median(x: Array, out: Array, c0: int, c1: int, d: int) -> None:
    """Write the median of the last d days' values, which stay sorted while one leaves and one joins."""
    window = np.empty(min(d, x.shape[0]))
    for c in range(c0, c1):
        n = 0
        for t in range(x.shape[0]):
            gone = np.float64(x[t - d, c]) if t >= d else math.nan
            if gone == gone:  # noqa: PLR0124
                n -= 1
                i = 0
                while window[i] != gone:
                    i += 1
                for p in range(i, n):
                    window[p] = window[p + 1]
            v = np.float64(x[t, c])
            if v == v:  # noqa: PLR0124
                i = n
                while i > 0 and window[i - 1] > v:
                    window[i] = window[i - 1]
                    i -= 1
                window[i] = v
                n += 1
            if n == 0:
                out[t, c] = math.nan
            else:
                upper = window[n // 2]
                out[t, c] = upper if n % 2 else 0.5 * (window[n // 2 - 1] + upper)


@kernel
def shape(x: Array, out: Array, c0: int, c1: int, d: int, mode: int, less: float) -> None:
    """Write SKEWNESS or KURTOSIS (less `less`) of the last d days: quotients of central moments (ddof 0)."""
    window = np.empty(min(d, x.shape[0]))
    for c in range(c0, c1):
        for t in range(x.shape[0]):
            n = 0
            for i in range(max(0, t - d + 1), t + 1):
                v = np.float64(x[i, c])
                if v == v:  # noqa: PLR0124
                    window[n] = v
                    n += 1
            out[t, c] = _shape(window, n, mode, less) if n > 0 else math.nan


@kernel
def _shape(window: Array, n: int, mode: int, less: float) -> float:
    base: float = window[0]
    mean: float = 0.0
    for i in range(n):
        mean += window[i] - base
    mean /= n
    second: float = 0.0
    higher: float = 0.0
    for i in range(n):
        u = (window[i] - base) - mean
        second += u * u
        higher += u * u * u if mode == _SKEWNESS else u * u * u * u
    second /= n
    higher /= n
    return higher / (second * math.sqrt(second)) if mode == _SKEWNESS else higher / (second * second) - less


@kernel
def decay_exponential(x: Array, out: Array, c0: int, c1: int, d: int, factor: float) -> None:
    """Write the mean of the last d days' values with weights 1, factor, factor squared ... from the newest."""
    for c in range(c0, c1):
        for t in range(x.shape[0]):
            total = 0.0
            weights = 0.0
            weight = 1.0
            for i in range(t, max(-1, t - d), -1):
                v = np.float64(x[i, c])
                if v == v:  # noqa: PLR0124
                    total += weight * v
                    weights += weight
                weight *= factor
            out[t, c] = total / weights
