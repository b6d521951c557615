"""Ranks: within a window of days, across instruments, and within groups.

Across instruments a row is sorted through 32-bit keys. The upper bits are a monotone image of the value, the lower bits
the column. numpy sorts such keys in vector instructions. Values with equal images are sorted by themselves afterwards:
the order is exact.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.distributions import cdf, inverse_cdf
from generator.backtest.kernels.jit import kernel

Array = Any

_STRETCH = np.uintp(64)
_BASES = 3
_NEAR_ZERO = np.float32(2.0**-10)
_EIGHT_OCTAVES = np.int64(8 << 23)  # in the bits of a float32
_TINY = np.float32(1e-37)


@kernel
def ts_rank(
    x: Array, out: Array, c0: int, c1: int, d: int, constant: float, lonely: float, sign: float
) -> None:
    """Write sign * ((mean rank - 1) / (n - 1) + constant) of today among the last d days.

    The quotient is `lonely` where n is 1.
    """
    w = c1 - c0
    twice = np.empty(w, np.int32)
    count = np.zeros(w, np.int32)  # of the values in the d - 1 days before
    for t in range(x.shape[0]):
        if t > 0 and d > 1:
            _count_values(x, c0, t - 1, count, np.int32(1))
        if t >= d > 1:
            _count_values(x, c0, t - d, count, np.int32(-1))
        twice[:] = 0
        first = max(0, t - d + 1)
        for i in range(first, t - 1, 2):  # two days at a time halve the memory traffic of the counts
            for j in range(w):
                v = x[i, np.uintp(c0 + j)]
                u = x[i + 1, np.uintp(c0 + j)]
                today = x[t, np.uintp(c0 + j)]
                twice[j] += (
                    np.int32(v < today) + np.int32(v <= today) + np.int32(u < today) + np.int32(u <= today)
                )
        if (t - first) % 2:
            for j in range(w):
                v = x[t - 1, np.uintp(c0 + j)]
                today = x[t, np.uintp(c0 + j)]
                twice[j] += np.int32(v < today) + np.int32(v <= today)
        for j in range(w):
            today = x[t, np.uintp(c0 + j)]
            share = 0.5 * twice[j] / count[j] if count[j] > 0 else lonely
            out[t, np.uintp(c0 + j)] = sign * (share + constant) if today == today else math.nan  # noqa: PLR0124


@kernel
def _count_values(x: Array, c0: int, t: int, count: Array, step: Any) -> None:
    for j in range(count.shape[0]):
        v = x[t, np.uintp(c0 + j)]
        count[j] += step if v == v else np.int32(0)  # noqa: PLR0124


@kernel
def spread_quantile(rank: Array, count: Array, out: Array, driver: int) -> None:
    """Map a rank of n values from [0, 1] to [1/n, 1 - 1/n]; write its quantile under the driver."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            n = np.float64(count[r, c])
            out[r, c] = inverse_cdf(driver, 1.0 / n + rank[r, c] * (1.0 - 2.0 / n))


@kernel
def spread_cdf(x: Array, out: Array, driver: int) -> None:
    """Write the driver's distribution function."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = cdf(driver, np.float64(x[r, c]))


@kernel
def _bits_for(n: int) -> int:
    bits = 1
    while (1 << bits) < n:
        bits += 1
    return bits


@kernel
def _bits(v: Any) -> Any:
    """Return the bits of a number as an integer, which rises with positive numbers."""
    return np.float32(v).view(np.int32)


@kernel
def _pack_rows(x: Array, keys: Array) -> None:
    """Write the sortable keys of all rows; those of missing values are the greatest.

    A value's image is the bits of its difference from a value of the row, with the difference's sign. That value is the
    least in size of the first three finite ones: an outlier as base would leave all others one image.
    Differences below a 1024th of the greatest share the lowest bits: a floor is added to each. An outlier would bring
    all others below it: those more than 256 times the geometric mean share the image of infinity.
    """
    n = x.shape[1]
    column_bits = _bits_for(n)
    missing = np.uint32((1 << (32 - column_bits)) - 1)
    infinite = np.float32(math.inf)
    above = np.empty(n, np.float32)  # the base
    for r in range(x.shape[0]):
        base = x.dtype.type(0.0)
        seen = 0
        for j in range(n):
            v = x[r, j]
            if abs(v) < infinite:
                base = v if seen == 0 or abs(v) < abs(base) else base
                seen += 1
                if seen == _BASES:
                    break
        greatest = np.int32(0)
        total = np.int64(0)
        count = np.int64(0)
        for j in range(n):
            above[j] = np.float32(x[r, j] - base)
            size = _bits(abs(above[j]))
            size = size if size < _bits(infinite) else np.int32(0)
            greatest = max(greatest, size)
            total += size
            count += size > 0
        typical = total // max(count, np.int64(1))
        largest = np.int32(min(np.int64(greatest), typical + _EIGHT_OCTAVES)).view(np.float32)
        floor = np.float32(largest * _NEAR_ZERO + _TINY)
        low = _bits(floor)
        most = np.int64(_bits(np.float32(largest + floor)) - low)
        shift = 0
        while (2 * (most + (1 << shift))) >> shift >= np.int64(missing):
            shift += 1
        beyond = np.int32(most + (1 << shift))
        for j in range(n):
            u = above[j]
            size = min(np.int32(_bits(np.float32(abs(u) + floor)) - low), beyond)
            image = np.uint32(
                np.int32(beyond + (size if u >= np.float32(0.0) else np.int32(-size)))
            ) >> np.uint32(shift)
            image = image if u == u else missing  # noqa: PLR0124
            keys[r, j] = np.uint32(image << np.uint32(column_bits)) | np.uint32(j)


@kernel
def _count(keys: Array, mask: Any) -> Any:
    """Return how many of a row's sorted keys are not those of missing values."""
    n = np.uintp(keys.shape[0])
    while n > 0 and (keys[n - np.uintp(1)] | mask) == ~np.uint32(0):
        n -= np.uintp(1)
    return n


@kernel
def _settle(row: Array, order: Array, a: Any, b: Any) -> None:
    """Sort order[a:b] by the values themselves (Shell's sort: mostly a handful of near-equal values, or equal ones)."""
    ordered = True
    for i in range(a + 1, b):
        ordered &= row[order[i - 1]] <= row[order[i]]
    if ordered:
        return
    gap = 1
    while gap < (b - a) // 3:
        gap = 3 * gap + 1
    while gap >= 1:
        for i in range(a + gap, b):
            c = order[i]
            v = row[c]
            p = i - gap
            while p >= a and row[order[p]] > v:
                order[p + gap] = order[p]
                p -= gap
            order[p + gap] = c
        gap //= 3


@kernel
def _unpack(row: Array, keys: Array, order: Array) -> Any:
    """Write the columns of a row's values in their exact order; return how many there are."""
    mask = np.uint32((1 << _bits_for(row.shape[0])) - 1)
    count = _count(keys, mask)
    i = np.uintp(0)
    while i < count:
        e = i
        while e < count and (keys[e] ^ keys[i]) <= mask:
            order[e] = np.int32(keys[e] & mask)
            e += np.uintp(1)
        if e > i + np.uintp(1):
            _settle(row, order, i, e)
        i = e
    return np.int64(count)


@kernel
def _finish_rank(x: Array, out: Array, keys: Array, lonely: float, sign: float) -> None:
    """Write (mean rank - 1) / (n - 1) with a sign from sorted keys.

    Equal values have equal images: a key whose neighbours have other images has its rank at once. The quotient is a
    product with the inverse, which is held in two parts: the first product is exact, and the second one's error too
    small to reach the sum. Thus it is the quotient's own rounding, in a third of a division's time.
    """
    n = x.shape[1]
    mask = np.uint32((1 << _bits_for(n)) - 1)
    order = np.empty(n, np.int32)
    twice = np.zeros(n, np.int32)  # a value's mean rank less 1, times 2
    for r in range(x.shape[0]):
        sorted_ = keys[r]
        count = _count(sorted_, mask)
        for i in range(count):
            twice[sorted_[np.uintp(i)] & mask] = np.int32(i + i)
        _rank_runs(x[r], twice, sorted_, order, count, mask)
        last = 2.0 * (np.float64(count) - 1.0)
        high = np.float64(np.float32(1.0 / last))
        low = (1.0 - high * last) / last
        for j in range(n):
            rank = np.float64(twice[j])
            share = sign * (rank * high + rank * low)
            out[r, j] = share if x[r, j] == x[r, j] else math.nan
        if count == 1:
            out[r, sorted_[0] & mask] = sign * lonely


@kernel
def _rank_runs(row: Array, twice: Array, keys: Array, order: Array, count: Any, mask: Any) -> None:
    """Rank the values of a row that share their image with another one; stretches without any are passed over."""
    one = np.uintp(1)
    i = np.uintp(0)
    while i + one < count:
        end = min(i + _STRETCH, count - one)
        run = False
        for k in range(i, end):
            run |= (keys[k] ^ keys[k + one]) <= mask
        if not run:
            i = end
        while i < end:
            i = (
                _rank_run(row, twice, keys, order, i, count, mask)
                if (keys[i] ^ keys[i + one]) <= mask
                else i + one
            )


@kernel
def _rank_run(row: Array, twice: Array, keys: Array, order: Array, a: Any, count: Any, mask: Any) -> Any:
    """Rank the values of a row with one image, from the a-th on; return the place after the last."""
    b = a
    while b < count and (keys[b] ^ keys[a]) <= mask:
        order[b] = np.int32(keys[b] & mask)
        b += np.uintp(1)
    _settle(row, order, a, b)
    i = a
    while i < b:
        v = row[order[i]]
        e = i + np.uintp(1)
        while e < b and row[order[e]] == v:
            e += np.uintp(1)
        for p in range(i, e):
            twice[order[p]] = np.int32(i + e - np.uintp(1))
        i = e
    return b


@kernel
def _finish_quantile(x: Array, out: Array, keys: Array, driver: int, sigma: float, lonely: float) -> None:
    """Write sigma times the driver's quantile of the squeezed rank from sorted keys."""
    _finish_rank(x, out, keys, lonely, 1.0)
    mask = np.uint32((1 << _bits_for(x.shape[1])) - 1)
    for r in range(x.shape[0]):
        share = 1.0 / max(1, _count(keys[r], mask))
        for j in range(x.shape[1]):
            p = np.float64(out[r, j])
            if p == p:  # noqa: PLR0124
                out[r, j] = sigma * inverse_cdf(driver, share + p * (1.0 - 2.0 * share))


@kernel
def _finish_dense(x: Array, out: Array, keys: Array) -> None:
    """Give the different values of each row numbers 0, 1 ... in their order, from sorted keys."""
    order = np.empty(x.shape[1], np.int32)
    out[:] = math.nan
    for r in range(x.shape[0]):
        row = x[r]
        count = _unpack(row, keys[r], order)
        number = -1
        for i in range(count):
            if i == 0 or row[order[i]] != row[order[i - 1]]:
                number += 1
            out[r, order[i]] = number


@kernel
def _finish_group_rank(x: Array, group: Array, out: Array, keys: Array, groups: int, lonely: float) -> None:
    """Write (mean rank - 1) / (n - 1) within each group from sorted keys; NaN for members of none."""
    n = x.shape[1]
    order = np.empty(n, np.int32)
    twice = np.zeros(n, np.int32)  # a value's mean rank less 1, times 2
    seen = np.empty(groups + 1, np.int32)  # of each group; the first place is for members of none
    for r in range(x.shape[0]):
        row = x[r]
        g = group[r]
        count = _unpack(row, keys[r], order)
        seen[:] = 0
        _rank_in_groups(row, g, order, count, seen, twice)
        for j in range(n):
            members = seen[np.uintp(g[j] + 1)]
            last = out.dtype.type(2 * (members - 1))
            share = out.dtype.type(twice[j]) / last if members > 1 else out.dtype.type(lonely)
            ok = (g[j] >= 0) & (row[j] == row[j])
            out[r, j] = share if ok else out.dtype.type(math.nan)


@kernel
def _rank_in_groups(row: Array, g: Array, order: Array, count: int, seen: Array, twice: Array) -> None:
    """Write twice the ranks less 1 of ordered values in their groups, and how many each group has."""
    before: Any = math.nan
    equal = False
    for i in range(count):
        c = np.uintp(order[i])
        k = np.uintp(g[c] + 1)
        v = row[c]
        twice[c] = 2 * seen[k]
        seen[k] += np.int32(1)
        equal |= v == before
        before = v
    if equal:
        _rank_equal(row, g, order, count, np.empty_like(seen), twice)


@kernel
def _rank_equal(row: Array, g: Array, order: Array, count: int, low: Array, twice: Array) -> None:
    """Give equal values of a group the same rank: the mean of their numbers from either end."""
    i = 0
    while i < count:
        e = i + 1
        while e < count and row[order[e]] == row[order[i]]:
            e += 1
        if e > i + 1:
            for p in range(e - 1, i - 1, -1):
                low[g[order[p]] + 1] = twice[order[p]] // 2
            for p in range(e - 1, i - 1, -1):
                k = g[order[p]] + 1
                twice[order[p]] = twice[order[p]] // 2 + low[k]
                low[k] += np.int32(1)
        i = e


def rank(x: Array, out: Array, lonely: float, sign: float) -> None:
    """Write the rank across instruments, with a sign."""
    _finish_rank(x, out, _sorted_keys(x), lonely, sign)


def quantile(x: Array, out: Array, driver: int, sigma: float, lonely: float) -> None:
    """Write the quantile across instruments."""
    _finish_quantile(x, out, _sorted_keys(x), driver, sigma, lonely)


def dense(x: Array, out: Array) -> None:
    """Give the different values of each row numbers."""
    _finish_dense(x, out, _sorted_keys(x))


def group_rank(x: Array, group: Array, out: Array, groups: int, lonely: float) -> None:
    """Write the rank within groups."""
    _finish_group_rank(x, group, out, _sorted_keys(x), groups, lonely)


def _sorted_keys(x: Array) -> Array:
    """Return the sorted keys of each row."""
    keys = np.empty(x.shape, np.uint32)
    _pack_rows(x, keys)
    keys.sort(axis=1)
    return keys
