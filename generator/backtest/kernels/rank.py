"""Ranks: within a window of days, across instruments, and within groups.

Across instruments a row is sorted through 32-bit keys: the upper bits are a monotone image of the value, the lower
ones the column. numpy sorts such keys in vector instructions. What the image could not tell apart is put right
afterwards by the values themselves, so the order is exact.
"""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.distributions import cdf, inverse_cdf
from generator.backtest.kernels.jit import kernel
from generator.backtest.kernels.rows import copy

Array = Any

_NEAR_ZERO = np.float32(2.0**-10)
_TINY = np.float32(1e-37)


@kernel
def ts_rank(
    x: Array, out: Array, c0: int, c1: int, d: int, constant: float, lonely: float, sign: float
) -> None:
    """Write (mean rank - 1) / (n - 1) + constant of today among the last d days; `lonely` where n is 1; with a sign."""
    w = c1 - c0
    twice = np.empty(w, np.int32)
    count = np.zeros(w, np.int32)  # of the values in the d - 1 days before
    for t in range(x.shape[0]):
        if t > 0 and d > 1:
            _count_values(x, c0, t - 1, count, np.int32(1))
        if t >= d > 1:
            _count_values(x, c0, t - d, count, np.int32(-1))
        twice[:] = 0
        for i in range(max(0, t - d + 1), t):
            for j in range(w):
                v = x[i, np.uintp(c0 + j)]
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
def spread_quantile(rank: Array, count: Array, out: Array, r0: int, r1: int, driver: int) -> None:
    """Squeeze a rank of n values from [0, 1] to [1/n, 1 - 1/n] and write the driver's quantile of it."""
    for r in range(r0, r1):
        for c in range(out.shape[1]):
            n = np.float64(count[r, c])
            out[r, c] = inverse_cdf(driver, 1.0 / n + rank[r, c] * (1.0 - 2.0 / n))


@kernel
def spread_cdf(x: Array, out: Array, r0: int, r1: int, driver: int) -> None:
    """Write the driver's distribution function."""
    for r in range(r0, r1):
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
    """Return the bits of a number as a whole one; those of positive numbers rise with them."""
    return np.float32(v).view(np.int32)


@kernel
def _pack_rows(x: Array, keys: Array, counts: Array) -> None:
    """Write the sortable keys of all rows and the number of values in each.

    The image of a value is made of its difference from the row's first finite one: its size's bits, with its sign.
    Sizes below a 1024th of the greatest need no bits of their own; a floor that is added keeps their bits out.
    """
    n = x.shape[1]
    column_bits = _bits_for(n)
    missing = np.uint32((1 << (32 - column_bits)) - 1)
    infinite = np.float32(math.inf)
    for r in range(x.shape[0]):
        base = x[r, 0]
        for j in range(n):
            if abs(x[r, j]) < infinite:
                base = x[r, j]
                break
        greatest = np.int32(0)
        count: Any = 0
        for j in range(n):
            size = _bits(abs(x[r, j] - base))
            greatest = max(greatest, size if size < _bits(infinite) else np.int32(0))
            count += np.int64(x[r, j] == x[r, j])
        counts[r] = count
        largest = np.int32(greatest).view(np.float32)
        floor = np.float32(largest * _NEAR_ZERO + _TINY)
        low = _bits(floor)
        most = np.int64(_bits(np.float32(largest + floor)) - low)
        shift = 0
        while (2 * (most + (1 << shift))) >> shift >= np.int64(missing):
            shift += 1
        beyond = np.int32(most + (1 << shift))
        for j in range(n):
            u = np.float32(x[r, j] - base)
            size = min(np.int32(_bits(np.float32(abs(u) + floor)) - low), beyond)
            image = np.uint32(
                np.int32(beyond + (size if u >= np.float32(0.0) else np.int32(-size)))
            ) >> np.uint32(shift)
            image = image if u == u else missing  # noqa: PLR0124
            keys[r, j] = np.uint32(image << np.uint32(column_bits)) | np.uint32(j)


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
def _finish_rank(x: Array, out: Array, keys: Array, counts: Array, lonely: float, sign: float) -> None:
    """Write (mean rank - 1) / (n - 1) with a sign from sorted keys.

    Equal values have equal images, so that a key whose neighbours' images differ has its rank at once.
    """
    n = x.shape[1]
    mask = np.uint32((1 << _bits_for(n)) - 1)
    order = np.empty(n, np.int32)
    equal = np.empty(n + 1, np.int64)
    shares = np.empty(n)
    o = np.empty(n, out.dtype)  # in the cache, as a row of a matrix is not: a sorted order jumps about in it
    known = -1
    for r in range(x.shape[0]):
        count = counts[r]
        last = sign * (count - 1.0)
        if count != known:
            known = count
            for i in range(n):
                shares[i] = i / last
            shares[0] = shares[0] if count > 1 else sign * lonely
        m: Any = 0
        before = ~keys[r, 0]
        for i in range(count):
            key = keys[r, i]
            o[key & mask] = shares[i]
            equal[m] = i
            m += np.int64((key ^ before) <= mask)
            before = key
        for i in range(count, n):
            o[keys[r, i] & mask] = math.nan
        equal[m] = -1
        first = 0
        for i in range(m):
            if i == 0 or equal[i] != equal[i - 1] + 1:
                first = equal[i] - 1
            if equal[i + 1] != equal[i] + 1:
                _rank_run(x[r], o, keys[r], order, first, equal[i] + 1, mask, last)
        copy(o, out[r])


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
    x: Array, out: Array, keys: Array, counts: Array, driver: int, sigma: float, lonely: float
) -> None:
    """Write sigma times the driver's quantile of the squeezed rank from sorted keys."""
    _finish_rank(x, out, keys, counts, lonely, 1.0)
    for r in range(x.shape[0]):
        share = 1.0 / max(1, counts[r])
        for j in range(x.shape[1]):
            p = np.float64(out[r, j])
            if p == p:  # noqa: PLR0124
                out[r, j] = sigma * inverse_cdf(driver, share + p * (1.0 - 2.0 * share))


@kernel
def _finish_dense(x: Array, out: Array, keys: Array, counts: Array) -> None:
    """Give the different values of each row numbers 0, 1 ... in their order, from sorted keys."""
    order = np.empty(x.shape[1], np.int32)
    out[:] = math.nan
    for r in range(x.shape[0]):
        row = x[r]
        count = counts[r]
        _unpack(row, keys[r], count, order)
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
    out[:] = math.nan
    for r in range(x.shape[0]):
        row = x[r]
        g = group[r]
        o = out[r]
        count = counts[r]
        _unpack(row, keys[r], count, order)
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
    """Write the rank across instruments, with a sign."""
    _finish_rank(x[r0:r1], out[r0:r1], *_sorted_keys(x[r0:r1]), lonely, sign)


def quantile(x: Array, out: Array, r0: int, r1: int, driver: int, sigma: float, lonely: float) -> None:
    """Write the quantile across instruments."""
    _finish_quantile(x[r0:r1], out[r0:r1], *_sorted_keys(x[r0:r1]), driver, sigma, lonely)


def dense(x: Array, out: Array, r0: int, r1: int) -> None:
    """Give the different values of each row numbers."""
    _finish_dense(x[r0:r1], out[r0:r1], *_sorted_keys(x[r0:r1]))


def group_rank(x: Array, group: Array, out: Array, r0: int, r1: int, groups: int, lonely: float) -> None:
    """Write the rank within groups."""
    _finish_group_rank(x[r0:r1], group[r0:r1], out[r0:r1], *_sorted_keys(x[r0:r1]), groups, lonely)


def _sorted_keys(x: Array) -> tuple[Array, Array]:
    """Return the sorted keys of each row and the number of values in it."""
    keys = np.empty(x.shape, np.uint32)
    counts = np.empty(len(x), np.int64)
    _pack_rows(x, keys, counts)
    keys.sort(axis=1)
    return keys, counts
