"""From an alpha's values to positions and to each day's figures."""

import math
from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel, plus
from generator.backtest.kernels.rows import copy

Array = Any

PNL, TRADED, LONGS, SHORTS, LARGEST, PART_PNL = range(6)
FIGURES = 6
"""Of the whole book but the last, which is the sub-universe's."""
_PNL, _TRADED, _LONGS, _SHORTS, _LARGEST, _PART_PNL = PNL, TRADED, LONGS, SHORTS, LARGEST, PART_PNL
_NOTHING = 1e-12  # positions that cancel out in a decay leave rounding error, far below the least share a decay gives


@kernel
def _unit(size: float, least: float) -> float:
    """Return the factor that scales a book of this size to size 1: 1 / size above `least`, else 0."""
    return 1.0 / size if size > least else 0.0


@kernel
def _less_mean(v: Array, g: Array, w: Array) -> float:
    """Write v less the mean of the one group's members; 0 for NaN, infinities and members of no group.

    Return the sum of the sizes.
    """
    n = v.shape[0]
    base = 0.0
    for j in range(n):
        if g[j] >= 0 and abs(v[j]) < math.inf:
            base = v[j]
            break
    total = 0.0
    count: Any = 0
    for j in range(n):
        ok = (g[j] >= 0) & (abs(v[j]) < math.inf)
        total = plus(total, v[j] - base if ok else 0.0)
        count += np.int64(ok)
    mean = total / count if count > 0 else 0.0
    size = 0.0
    for j in range(n):
        ok = (g[j] >= 0) & (abs(v[j]) < math.inf)
        u = (v[j] - base) - mean if ok else 0.0
        w[j] = u
        size = plus(size, abs(u))
    return size


@kernel
def _by_group(g: Array, known: Array, order: Array, start: Array) -> None:
    """Write the instruments in the order of their groups, and the start of each group.

    `known` are the codes ordered last. Groups seldom change: on most days only the comparison with `known` runs.
    """
    groups = start.shape[0] - 1
    changes = 0
    for j in range(g.shape[0]):
        changes |= g[j] ^ known[j]
    if changes == 0:
        return
    copy(g, known)
    place = np.zeros(groups + 1, np.int64)
    for j in range(g.shape[0]):
        if g[j] >= 0:
            place[g[j] + 1] += 1
    for k in range(groups):
        place[k + 1] += place[k]
    start[:] = place
    for j in range(g.shape[0]):
        if g[j] >= 0:
            order[place[g[j]]] = j
            place[g[j]] += 1


@kernel
def _less_means(v: Array, order: Array, start: Array, w: Array, ordered: Array) -> float:
    """Write v less its group's mean; 0 for NaN, infinities and members of no group. Return the sum of the sizes.

    `ordered` is scratch memory for the values by group, a group's side by side.
    """
    groups = start.shape[0] - 1
    last = np.uint64(start[groups])
    for i in range(last):
        ordered[i] = v[order[i]]
    size = 0.0
    for k in range(groups):
        members = ordered[start[k] : start[k + 1]]
        base = 0.0
        for i in range(members.shape[0]):
            if abs(members[i]) < math.inf:
                base = members[i]
                break
        total = 0.0
        count: Any = 0
        for i in range(members.shape[0]):
            ok = abs(members[i]) < math.inf
            total = plus(total, members[i] - base if ok else 0.0)
            count += np.int64(ok)
        mean = total / count if count > 0 else 0.0
        for i in range(members.shape[0]):
            u = (members[i] - base) - mean if abs(members[i]) < math.inf else 0.0
            members[i] = u
            size = plus(size, abs(u))
    w[:] = 0.0
    for i in range(last):
        w[order[i]] = ordered[i]
    return size


@kernel
def _positions(
    v: Array, g: Array, w: Array, known: Array, order: Array, start: Array, ordered: Array
) -> float:
    """Write positions for a day's values less their group's mean (0 groups: nothing is subtracted).

    Return the factor that scales their book to size 1. `start` has one place more than there are groups. `start`,
    `known` (-2 at first) and `order` are kept from day to day.
    """
    groups = start.shape[0] - 1
    if groups > 1:
        _by_group(g, known, order, start)
        return _unit(_less_means(v, order, start, w, ordered), 0.0)
    if groups == 1:
        return _unit(_less_mean(v, g, w), 0.0)
    size = 0.0
    for j in range(v.shape[0]):
        u = v[j] if abs(v[j]) < math.inf else 0.0
        w[j] = u
        size = plus(size, abs(u))
    return _unit(size, 0.0)


@kernel
def _clip(w: Array, limit: float) -> float:
    """Clip to +-limit, and return the sum of the sizes."""
    size = 0.0
    for j in range(w.shape[0]):
        u = limit if w[j] > limit else max(w[j], -limit)
        w[j] = u
        size = plus(size, abs(u))
    return size


@kernel
def weigh(x: Array, group: Array, out: Array, groups: int) -> None:
    """Write a day's positions: x less its group's mean, over the sum of the sizes; 0 is no position.

    With `groups` 0 no mean is subtracted. NaN, infinities and members of no group have no position. A day on which
    every value equals its group's mean has no positions either: only rounding error is left.
    """
    n = x.shape[1]
    v = np.empty(n)
    w = np.empty(n)
    known = np.full(n, -2, np.int32)
    order = np.empty(n, np.uint32)
    start = np.empty(groups + 1, np.int64)
    ordered = np.empty(n)
    for r in range(out.shape[0]):
        copy(x[r], v)
        factor = _positions(v, group[r], w, known, order, start, ordered)
        o = out[r]
        for j in range(n):
            o[j] = w[j] * factor


@kernel
def truncate(x: Array, out: Array, limit: float, rescale: bool) -> None:
    """Clip positions to +-limit (0: no limit).

    With `rescale` scale them to a unit book again, except for rounding error.
    """
    n = x.shape[1]
    for r in range(out.shape[0]):
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
        if rescale:
            factor = 1.0 / size if size > _NOTHING else 0.0
            for j in range(n):
                o[j] *= factor


@kernel
def most_traded(size: Array, market: Array, out: Array, share: float) -> None:
    """Write the market's codes of the share of instruments with the largest `size` rank, -1 for all others."""
    for r in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[r, j] = market[r, j] if size[r, j] >= 1.0 - share else np.int32(-1)


@kernel
def _figures(w: Array, factor: float, before: Array, gains: Array, out: Array) -> None:
    """Multiply a day's positions by a factor, and write its figures (PNL to LARGEST).

    PNL is the sum of positions times gains; an instrument without a gain earns nothing. TRADED is the sum of the
    changes since the day before.
    """
    earned = 0.0
    traded = 0.0
    longs: Any = 0
    shorts: Any = 0
    largest = np.int64(0)
    for j in range(w.shape[0]):
        v = w[j] * factor
        w[j] = v
        gain = np.float64(gains[j])
        earned = plus(earned, v * gain if abs(gain) < math.inf else 0.0)
        traded = plus(traded, abs(v - before[j]))
        longs += np.int64(v > 0.0)
        shorts += np.int64(v < 0.0)
        largest = max(largest, np.float64(abs(v)).view(np.int64))  # whole numbers are compared in vectors
    out[_PNL] = earned
    out[_TRADED] = traded
    out[_LONGS] = longs
    out[_SHORTS] = shorts
    out[_LARGEST] = np.int64(largest).view(np.float64)


@kernel
def _earned(w: Array, gains: Array) -> float:
    """Return the PNL of positions, as in `_figures`."""
    earned = 0.0
    for j in range(w.shape[0]):
        gain = np.float64(gains[j])
        earned = plus(earned, w[j] * gain if abs(gain) < math.inf else 0.0)
    return earned


@kernel
def judge(
    x: Array,
    group: Array,
    returns: Array,
    traded: Array,
    out: Array,
    r0: int,
    r1: int,
    delay: int,
    weighed: bool,
    groups: int,
    limit: float,
    rescale: bool,
    parts: int,
) -> None:
    """Write the figures of the days r0 to r1, and the PnL of the most traded part, in one pass.

    Positions earn on the next day; the PnL of the last day is NaN. Values are taken `delay` days late and made
    positions (see `weigh`) unless they are `weighed`. Positions are clipped to +-limit (0: no limit), and with
    `rescale` scaled to a unit book again. `traded` has the groups of the most traded instruments, which are neutralized
    to their means. `parts` is the number of these groups, 0 without such a part. The day before a block is computed
    with it.
    """
    n = x.shape[1]
    v = np.empty(n)
    known = np.full((2, n), -2, np.int32)
    order = np.empty((2, n), np.uint32)
    start = np.empty(groups + 1, np.int64)
    parts_start = np.empty(parts + 1, np.int64)
    ordered = np.empty(n)
    part = np.empty(n)
    books = np.zeros((2, n))  # today's and yesterday's, by turns
    for r in range(max(0, r0 - 1), r1):
        w = books[r % 2]
        before = books[1 - r % 2]
        factor = 1.0
        if r < delay:
            w[:] = 0.0
        elif weighed:
            copy(x[r - delay], w)
        else:
            copy(x[r - delay], v)  # memory is read in order: a group's members are scattered over it
            factor = _positions(v, group[r], w, known[0], order[0], start, ordered)
        last = r + 1 == returns.shape[0]
        gains = returns[r if last else r + 1]
        day = out[max(r - r0, 0)]  # also for the day before the block, until its first day is written
        _figures(w, factor, before, gains, day)
        if limit > 0.0 and (weighed or day[_LARGEST] > limit):  # few books of size 1 have so large a position
            size = _clip(w, limit)
            _figures(w, _unit(size, _NOTHING) if rescale else 1.0, before, gains, day)
        day[_PART_PNL] = math.nan
        if parts > 0 and r >= r0:
            factor = _positions(w, traded[r], part, known[1], order[1], parts_start, ordered)
            day[_PART_PNL] = factor * _earned(part, gains)
        if last:
            day[_PNL] = math.nan
            day[_PART_PNL] = math.nan
