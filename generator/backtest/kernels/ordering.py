"""Ranks: within a window of days, across instruments, and within groups.

Across instruments a row is sorted through 32-bit keys: the upper bits are a monotone image of the value, the lower
ones the column. numpy sorts such keys in vector instructions. What the image could not tell apart is put right
afterwards by the values themselves, so the order is exact.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.inverse import cdf, inverse_cdf
from generator.backtest.kernels.jit import kernel

Array = Any

_MISSING = np.uint32(0xFFFFFFFF)
_SIGN_CLEARED = np.int64(0x7FFFFFFFFFFFFFFF)
_INFINITE = np.int64(0x7FF0000000000000)
_NEAR_ZERO = 2.0**-16


@kernel
def ts_rank(
    x: Array, out: Array, c0: int, c1: int, d: int, constant: float, lonely: float, sign: float
) -> None:
    """Write (mean rank - 1) / (n - 1) + constant of today among the last d days; `lonely` where n is 1; with a sign.

    Small counters and values as they are stored: so many more fit an instruction.
    """
    days = x.shape[0]
    w = c1 - c0
    twice = np.empty(w, np.int32)
    count = np.zeros(w, np.int32)  # of the values in the d - 1 days before
    for t in range(days):
        today = x[t, c0:c1]
        if t > 0 and d > 1:
            _count_values(x[t - 1, c0:c1], count, np.int32(1))
        if t >= d > 1:
            _count_values(x[t - d, c0:c1], count, np.int32(-1))
        for j in range(w):
            twice[j] = 0
        for i in range(max(0, t - d + 1), t):
            past = x[i, c0:c1]
            for j in range(w):
                v = past[j]
                twice[j] += np.int32(v < today[j]) + np.int32(v <= today[j])
        o = out[t, c0:c1]
        for j in range(w):
            share = 0.5 * twice[j] / count[j] if count[j] > 0 else lonely
            o[j] = sign * (share + constant) if today[j] == today[j] else math.nan


@kernel
def _count_values(row: Array, count: Array, step: Any) -> None:
    for j in range(row.shape[0]):
        count[j] += step if row[j] == row[j] else np.int32(0)


@kernel
def spread_quantile(
    rank: Array, count: Array, out: Array, r0: int, r1: int, c0: int, c1: int, driver: int
) -> None:
    """Squeeze a rank of n values from [0, 1] to [1/n, 1 - 1/n] and write the driver's quantile of it."""
    for r in range(r0, r1):
        for c in range(c0, c1):
            n = np.float64(count[r, c])
            out[r, c] = inverse_cdf(driver, 1.0 / n + rank[r, c] * (1.0 - 2.0 / n))


@kernel
def spread_cdf(x: Array, out: Array, r0: int, r1: int, c0: int, c1: int, driver: int) -> None:
    """Write the driver's distribution function."""
    for r in range(r0, r1):
        for c in range(c0, c1):
            out[r, c] = cdf(driver, np.float64(x[r, c]))


@kernel
def _bits_for(n: int) -> int:
    bits = 1
    while (1 << bits) < n:
        bits += 1
    return bits


@kernel
def _extremes(row: Array) -> tuple[Any, Any, int]:
    """Return the least and the greatest finite value of a row and how many are not NaN.

    The two are returned as the bits of their sizes, with the sign of the value: whole numbers are compared in vectors.
    """
    low = _SIGN_CLEARED
    high = -_SIGN_CLEARED
    count = 0
    for j in range(row.shape[0]):
        bits = np.float64(row[j]).view(np.int64)
        size = bits & _SIGN_CLEARED
        signed = size if bits >= 0 else -size
        finite = size < _INFINITE
        low = min(low, signed if finite else _SIGN_CLEARED)
        high = max(high, signed if finite else -_SIGN_CLEARED)
        count += 1 if size <= _INFINITE else 0
    if low > high:  # nothing is finite
        return np.int64(0), np.int64(0), count
    return low, high, count


@kernel
def _value(signed: Any) -> float:
    """Return the value whose size's bits, with its sign, are given."""
    size: float = np.int64(abs(signed)).view(np.float64)
    return size if signed >= 0 else -size


@kernel
def _image(v: float, floor: float) -> Any:
    """Return a whole number that never falls while v rises: the bits of |v| + floor less floor's, with v's sign."""
    size = np.float64(abs(v) + floor).view(np.int64) - np.float64(floor).view(np.int64)
    return size if np.float64(v).view(np.int64) >= 0 else -size


@kernel
def _pack_rows(x: Array, out: Array, keys: Array, counts: Array, r0: int, r1: int) -> None:
    """Write the sortable keys of the rows r0 to r1 and the number of values in each; set `out` to NaN.

    A row's images are shifted until they leave room for the column.
    """
    n = x.shape[1]
    column_bits = np.uint64(_bits_for(n))
    top = np.int64((1 << (32 - _bits_for(n))) - 4)  # leaves room for both infinities and for _MISSING
    for r in range(r0, r1):
        row = x[r]
        k = keys[r - r0]
        out[r, :] = math.nan
        least, greatest, counts[r - r0] = _extremes(row)
        smallest = _value(least)
        largest = _value(greatest)
        floor = max(abs(smallest), abs(largest)) * _NEAR_ZERO + 1e-300
        low = _image(smallest, floor)
        high = _image(largest, floor)
        shift = np.uint64(0)
        while np.uint64(high - low) >> shift > np.uint64(top):
            shift += np.uint64(1)
        for j in range(n):
            v = np.float64(row[j])
            q = min(max(_image(v, floor), low), high) - low
            q = np.int64(np.uint64(q) >> shift) + 1
            q = 0 if v == -math.inf else (top + 2 if v == math.inf else q)
            packed = np.uint32((np.uint64(q) << column_bits) | np.uint64(j))
            k[j] = packed if v == v else _MISSING  # noqa: PLR0124


@kernel
def _settle(row: Array, order: Array, a: int, b: int) -> None:
    """Sort order[a:b] by the values themselves (Shell's sort: mostly a handful of near-equal values)."""
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
def _unpack(row: Array, keys: Array, count: int, order: Array) -> None:
    """Write the columns of a row's values in their exact order."""
    n = row.shape[0]
    column_bits = _bits_for(n)
    mask = np.uint32((1 << column_bits) - 1)
    for i in range(count):
        order[i] = np.int32(keys[i] & mask)
    i = 0
    while i < count:
        e = i + 1
        image = keys[i] >> np.uint32(column_bits)
        while e < count and keys[e] >> np.uint32(column_bits) == image:
            e += 1
        if e > i + 1:
            _settle(row, order, i, e)
        i = e


@kernel
def _finish_rank(
    x: Array, out: Array, keys: Array, counts: Array, r0: int, r1: int, lonely: float, sign: float
) -> None:
    """Write (mean rank - 1) / (n - 1) with a sign from sorted keys.

    Equal values have equal images, so that a key whose neighbour's image differs has its rank at once.
    """
    n = x.shape[1]
    column_bits = np.uint32(_bits_for(n))
    mask = np.uint32((1 << _bits_for(n)) - 1)
    order = np.empty(n, np.int32)
    for r in range(r0, r1):
        row = x[r]
        o = out[r]
        k = keys[r - r0]
        count = counts[r - r0]
        if count == 1:
            o[k[0] & mask] = sign * lonely
            continue
        last = sign * (count - 1.0)
        i = 0
        while i < count:
            image = k[i] >> column_bits
            e = i + 1
            while e < count and k[e] >> column_bits == image:
                e += 1
            if e == i + 1:
                o[k[i] & mask] = i / last
            else:
                _rank_run(row, o, k, order, i, e, mask, last)
            i = e


@kernel
def _rank_run(
    row: Array, o: Array, keys: Array, order: Array, a: int, b: int, mask: Any, last: float
) -> None:
    """Rank the values a to b of a row's order, which one image stands for; `last` has the sign."""
    for i in range(a, b):
        order[i] = np.int32(keys[i] & mask)
    _settle(row, order, a, b)
    i = a
    while i < b:
        v = row[order[i]]
        e = i + 1
        while e < b and row[order[e]] == v:
            e += 1
        share = 0.5 * (i + e - 1) / last
        for p in range(i, e):
            o[order[p]] = share
        i = e


@kernel
def _finish_quantile(
    x: Array,
    out: Array,
    keys: Array,
    counts: Array,
    r0: int,
    r1: int,
    driver: int,
    sigma: float,
    lonely: float,
) -> None:
    """Write sigma times the driver's quantile of the squeezed rank from sorted keys."""
    _finish_rank(x, out, keys, counts, r0, r1, lonely, 1.0)
    for r in range(r0, r1):
        share = 1.0 / max(1, counts[r - r0])
        for j in range(x.shape[1]):
            p = np.float64(out[r, j])
            if p == p:  # noqa: PLR0124
                out[r, j] = sigma * inverse_cdf(driver, share + p * (1.0 - 2.0 * share))


@kernel
def _finish_dense(x: Array, out: Array, keys: Array, counts: Array, r0: int, r1: int) -> None:
    """Give the different values of each row numbers 0, 1 ... in their order, from sorted keys."""
    order = np.empty(x.shape[1], np.int32)
    for r in range(r0, r1):
        row = x[r]
        count = counts[r - r0]
        _unpack(row, keys[r - r0], count, order)
        number = -1
        for i in range(count):
            if i == 0 or row[order[i]] != row[order[i - 1]]:
                number += 1
            out[r, order[i]] = number


@kernel
def _finish_group_rank(
    x: Array,
    group: Array,
    out: Array,
    keys: Array,
    counts: Array,
    r0: int,
    r1: int,
    groups: int,
    lonely: float,
) -> None:
    """Write (mean rank - 1) / (n - 1) within each group from sorted keys; NaN for members of none."""
    n = x.shape[1]
    order = np.empty(n, np.int32)
    sorted_ = np.empty(n, np.int32)
    start = np.empty(groups + 1, np.int32)
    members = np.empty(groups)
    seen = np.empty(groups)
    latest = np.empty(groups, x.dtype)
    for r in range(r0, r1):
        row = x[r]
        g = group[r]
        o = out[r]
        count = counts[r - r0]
        _unpack(row, keys[r - r0], count, order)
        if _rank_unequal(row, g, order, count, members, seen, latest, lonely, o):
            _by_group(g, order, count, sorted_, start)
            _rank_groups(row, sorted_, start, lonely, o)


@kernel
def _rank_unequal(
    row: Array, g: Array, order: Array, count: int, members: Array, seen: Array, latest: Array, lonely: float, o: Array
) -> bool:  # fmt: skip
    """Rank each value by how many of its group came before it; say whether a group has equal ones, which it ranks wrong."""
    members[:] = 0.0
    seen[:] = 0.0
    latest[:] = math.nan
    for j in range(row.shape[0]):
        if g[j] >= 0 and row[j] == row[j]:
            members[g[j]] += 1.0
    equal = False
    for i in range(count):
        c = order[i]
        k = g[c]
        if k >= 0:
            before = seen[k]
            o[c] = before / (members[k] - 1.0) if members[k] > 1.0 else lonely
            equal |= row[c] == latest[k]
            latest[k] = row[c]
            seen[k] = before + 1.0
    return equal


@kernel
def _rank_groups(row: Array, members: Array, start: Array, lonely: float, o: Array) -> None:
    """Rank the members of each group, start[k] to start[k+1], which are in the order of their values."""
    for k in range(start.shape[0] - 1):
        a = start[k]
        b = start[k + 1]
        if b == a + 1:
            o[members[a]] = lonely
            continue
        last = b - a - 1.0
        i = a
        while i < b:
            v = row[members[i]]
            e = i + 1
            while e < b and row[members[e]] == v:
                e += 1
            share = (0.5 * (i + e - 1) - a) / last
            for p in range(i, e):
                o[members[p]] = share
            i = e


@kernel
def _by_group(g: Array, order: Array, count: int, sorted_: Array, start: Array) -> None:
    """Split an order by group, each group keeping it; start[k] to start[k+1] are the members of k."""
    groups = start.shape[0] - 1
    start[:] = 0
    for i in range(count):
        k = g[order[i]]
        if k >= 0:
            start[k + 1] += 1
    for k in range(groups):
        start[k + 1] += start[k]
    place = start.copy()
    for i in range(count):
        k = g[order[i]]
        if k >= 0:
            sorted_[place[k]] = order[i]
            place[k] += 1


def rank(x: Array, out: Array, r0: int, r1: int, lonely: float, sign: float) -> None:
    """Write the rank across instruments of the rows r0 to r1, with a sign."""
    _finish_rank(x, out, *_sorted_keys(x, out, r0, r1), r0, r1, lonely, sign)


def quantile(x: Array, out: Array, r0: int, r1: int, driver: int, sigma: float, lonely: float) -> None:
    """Write the quantile across instruments of the rows r0 to r1."""
    _finish_quantile(x, out, *_sorted_keys(x, out, r0, r1), r0, r1, driver, sigma, lonely)


def dense(x: Array, out: Array, r0: int, r1: int) -> None:
    """Give the different values of the rows r0 to r1 numbers."""
    _finish_dense(x, out, *_sorted_keys(x, out, r0, r1), r0, r1)


def group_rank(x: Array, group: Array, out: Array, r0: int, r1: int, groups: int, lonely: float) -> None:
    """Write the rank within groups of the rows r0 to r1."""
    _finish_group_rank(x, group, out, *_sorted_keys(x, out, r0, r1), r0, r1, groups, lonely)


def _sorted_keys(x: Array, out: Array, r0: int, r1: int) -> tuple[Array, Array]:
    """Return the sorted keys of the rows r0 to r1 and the number of values in each; set `out` to NaN."""
    keys = np.empty((r1 - r0, x.shape[1]), np.uint32)
    counts = np.empty(r1 - r0, np.int64)
    _pack_rows(x, out, keys, counts, r0, r1)
    keys.sort(axis=1)
    return keys, counts
