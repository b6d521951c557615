"""The operators again, slow and obvious: one window, one day or one group at a time, in plain numpy.

Each takes matrices (dates x instruments) and gives one. Written from the operators' meaning in docs/operators.md, with
nothing in common with the kernels.
"""

import itertools
import math
import statistics
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
NAN = math.nan


def by_window(x: Matrix, d: int, f: Callable[[Matrix], float]) -> Matrix:
    """Apply f to each column's last d values (fewer at the start), NaN where none is known."""
    out = np.full(x.shape, NAN)
    for t, c in itertools.product(*map(range, x.shape)):
        window = x[max(0, t - d + 1) : t + 1, c]
        if not np.isnan(window).all():
            with np.errstate(all="ignore"):
                out[t, c] = f(window)
    return out


def known(w: Matrix) -> Matrix:
    return w[~np.isnan(w)]


def exact_mean(v: Matrix) -> float:
    """The mean, summed without rounding."""
    return math.fsum(v) / len(v) if np.isfinite(v).all() else float(np.sum(v) / len(v))


def exact_var(v: Matrix, ddof: int = 0) -> float:
    if not np.isfinite(v).all():
        return NAN
    if (v == v[0]).all():
        return 0.0 if len(v) > ddof else NAN
    centred = v - v[0]
    mean = exact_mean(centred)
    return math.fsum((centred - mean) ** 2) / (len(v) - ddof) if len(v) > ddof else NAN


def std(v: Matrix, ddof: int = 0) -> float:
    return math.sqrt(exact_var(v, ddof))


def minus_mean(w: Matrix) -> float:
    """Today's value less the mean, both about the window's first value."""
    v = known(w)
    if not np.isfinite(v).all():
        return float(w[-1] - exact_mean(v))
    return float((w[-1] - v[0]) - exact_mean(v - v[0]))


def ratio(a: float, b: float) -> float:
    return float(np.divide(np.float64(a), np.float64(b)))


def mean_ranks(v: Matrix) -> Matrix:
    """Ranks from 1, equal values sharing the mean of theirs."""
    return np.array([(v < a).sum() + ((v == a).sum() + 1) / 2 for a in v])


def unit_ranks(v: Matrix) -> Matrix:
    return (mean_ranks(v) - 1) / (len(v) - 1) if len(v) > 1 else np.full(len(v), NAN)


def ts_rank(w: Matrix) -> float:
    return float(unit_ranks(known(w))[-1]) if not np.isnan(w[-1]) else NAN


def ts_arg(w: Matrix, best: float) -> float:
    """How many days ago, the newest of equal ones."""
    return float(next(i for i, v in enumerate(w[::-1]) if v == best))


def decay(w: Matrix, d: int, *, dense: bool) -> float:
    weights = np.arange(d, d - len(w), -1.0)[::-1]
    there = ~np.isnan(w)
    top = sum(a * b for a, b in zip(weights[there], w[there], strict=True))
    return float(top / (weights[there].sum() if dense else d * (d + 1) / 2))


def by_pair(x: Matrix, y: Matrix, d: int, f: Callable[[Matrix, Matrix], float]) -> Matrix:
    """Apply f to each column's last d days on which both are known."""
    out = np.full(x.shape, NAN)
    for t, c in itertools.product(*map(range, x.shape)):
        a, b = x[max(0, t - d + 1) : t + 1, c], y[max(0, t - d + 1) : t + 1, c]
        both = ~(np.isnan(a) | np.isnan(b))
        if both.any():
            with np.errstate(all="ignore"):
                out[t, c] = f(a[both], b[both])
    return out


def cov(a: Matrix, b: Matrix) -> float:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return NAN
    u, v = a - a[0], b - b[0]
    return math.fsum((u - exact_mean(u)) * (v - exact_mean(v))) / len(a)


def corr(a: Matrix, b: Matrix) -> float:
    if exact_var(a) == 0 or exact_var(b) == 0:
        return NAN
    return ratio(cov(a, b), std(a) * std(b))


def regression(y: Matrix, x: Matrix, d: int, lag: int, wanted: int) -> Matrix:
    lagged = delay(x, lag)
    out = np.full(x.shape, NAN)
    for t, c in itertools.product(*map(range, x.shape)):
        a, b = lagged[max(0, t - d + 1) : t + 1, c], y[max(0, t - d + 1) : t + 1, c]
        both = ~(np.isnan(a) | np.isnan(b))
        if both.any():
            with np.errstate(all="ignore"):
                out[t, c] = regress(a[both], b[both], lagged[t, c], y[t, c], wanted)
    return out


def regress(x: Matrix, y: Matrix, x_now: float, y_now: float, wanted: int) -> float:
    n = len(x)
    if wanted == 5:
        return n * exact_var(y)
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or exact_var(x) == 0:
        return NAN
    u, v = x - x[0], y - y[0]
    mx, my = exact_mean(u), exact_mean(v)
    slope = ratio(cov(x, y), exact_var(x))
    residuals = rest((v - my) - slope * (u - mx), y)
    sse = math.fsum(residuals**2)
    mse = sse / (n - 2) if n > 2 else NAN
    error = ((y_now - y[0]) - my) - slope * ((x_now - x[0]) - mx)
    return {
        0: float(rest(np.array(error), y)),
        1: (my + y[0]) - slope * (mx + x[0]),
        2: slope,
        3: (my + y[0]) + slope * ((x_now - x[0]) - mx),
        4: sse,
        6: ratio(cov(x, y) ** 2, exact_var(x) * exact_var(y)),
        7: mse,
        8: math.sqrt(ratio(mse, n * exact_var(x))),
        9: math.sqrt(mse * (1 / n + ratio((mx + x[0]) ** 2, n * exact_var(x)))),
    }[wanted]


def delay(x: Matrix, d: int) -> Matrix:
    out = np.full(x.shape, NAN)
    if d < len(x):
        out[d:] = x[: len(x) - d]
    return out


def walk(x: Matrix, f: Callable[[Matrix], float]) -> Matrix:
    """Apply f to each column's whole past, today last."""
    out = np.empty(x.shape)
    for t, c in itertools.product(*map(range, x.shape)):
        out[t, c] = f(x[: t + 1, c])
    return out


def days_from_last_change(past: Matrix) -> float:
    if np.isnan(past[-1]):
        return NAN
    seen = [i for i, v in enumerate(past) if not np.isnan(v)]
    later = [i for i in seen if all(past[k] == past[-1] for k in seen if k >= i)]
    return float(len(past) - 1 - later[0])


def last_different(past: Matrix, d: int) -> float:
    if np.isnan(past[-1]):
        return NAN
    others = [v for v in past[-d:-1] if not np.isnan(v) and v != past[-1]]
    return float(others[-1]) if others else NAN


def kth(past: Matrix, d: int, k: int, skip: tuple[str, ...]) -> float:
    values = [v for v in past[-d:][::-1] if not (("NAN" in skip and np.isnan(v)) or ("0" in skip and v == 0))]
    return float(values[k - 1]) if len(values) >= k else NAN


def backfill(past: Matrix, d: int, k: int) -> float:
    if not np.isnan(past[-1]):
        return float(past[-1])
    values = known(past[-d:])[::-1]
    return float(values[k - 1]) if len(values) >= k else NAN


def backfill_ignoring(past: Matrix, d: int, k: int, skip: tuple[str, ...]) -> float:
    now = past[-1]
    missing = ("NAN" in skip and np.isnan(now)) or ("0" in skip and now == 0)
    return kth(past, d, k, skip) if missing else float(now)


def hump(x: Matrix, share: float) -> Matrix:
    out = np.full(x.shape, NAN)
    for t in range(len(x)):
        limit = share * sum(abs(v) for v in x[t] if np.isfinite(v))
        for c, v in enumerate(x[t]):
            before = out[t - 1, c] if t else NAN
            if not np.isfinite(v):
                continue
            if np.isnan(before):
                out[t, c] = v
            elif abs(v - before) <= limit:
                out[t, c] = before
            else:
                out[t, c] = before + limit * np.sign(v - before)
    return out


def trade_when(enter: Matrix, value: Matrix, leave: Matrix) -> Matrix:
    out = np.full(value.shape, NAN)
    for t, c in itertools.product(*map(range, value.shape)):
        if leave[t, c] > 0:
            continue
        if enter[t, c] > 0:
            out[t, c] = value[t, c]
        elif t:
            out[t, c] = out[t - 1, c]
    return out


def by_day(x: Matrix, f: Callable[[Matrix], Any]) -> Matrix:
    """Apply f to each day's known values."""
    out = np.full(x.shape, NAN)
    for t, row in enumerate(x):
        there = ~np.isnan(row)
        if there.any():
            with np.errstate(all="ignore"):
                out[t, there] = f(row[there])
    return out


def by_group(x: Matrix, codes: npt.NDArray[Any], f: Callable[[Matrix], Any]) -> Matrix:
    """Apply f to the known values of each group of each day."""
    out = np.full(x.shape, NAN)
    for t, row in enumerate(x):
        for k in set(codes[t]) - {-1}:
            there = ~np.isnan(row) & (codes[t] == k)
            if there.any():
                with np.errstate(all="ignore"):
                    out[t, there] = f(row[there])
    return out


def demean(v: Matrix) -> Matrix:
    if not np.isfinite(v).all():
        return v - v.sum() / len(v)
    return (v - v[0]) - exact_mean(v - v[0])


def zscore(v: Matrix, ddof: int = 0) -> Matrix:
    return demean(v) / (std(v, ddof) if len(v) > ddof else NAN)


def normalize(v: Matrix, use_std: bool, limit: float) -> Matrix:
    out = zscore(v, 1) if use_std else demean(v)
    return np.clip(out, -limit, limit) if limit else out


def winsorize(v: Matrix, k: float) -> Matrix:
    reach = k * std(v)
    if np.isnan(reach):
        return np.full(len(v), NAN)
    middle = v[0] + exact_mean(v - v[0])
    return np.clip(v, middle - reach, middle + reach)


def scale(v: Matrix, book: float) -> Matrix:
    return v * book / np.abs(v).sum()


def truncate(v: Matrix, share: float) -> Matrix:
    most = share * np.abs(v[np.isfinite(v)]).sum()
    return np.clip(v, -most, most)


def scale_sides(v: Matrix, longs: float, shorts: float) -> Matrix:
    out = v.copy()
    out[v > 0] = v[v > 0] / v[v > 0].sum() * longs
    out[v < 0] = v[v < 0] / -v[v < 0].sum() * shorts
    return out


def inverse_cdf(driver: str, p: float) -> float:
    if math.isnan(p):
        return NAN
    if driver == "uniform":
        return p
    if p in (0.0, 1.0):
        return -math.inf if p == 0 else math.inf
    if driver == "gaussian":
        return statistics.NormalDist().inv_cdf(p)
    return math.tan(math.pi * (p - 0.5))


def squeeze(rank: float, n: int) -> float:
    return 1 / n + rank * (1 - 2 / n)


def quantile(v: Matrix, driver: str, sigma: float) -> Matrix:
    mean = 0.5 if driver == "uniform" else 0.0
    return np.array([sigma * (inverse_cdf(driver, squeeze(r, len(v))) - mean) for r in unit_ranks(v)])


def ts_quantile(w: Matrix, driver: str) -> float:
    return inverse_cdf(driver, squeeze(ts_rank(w), len(known(w))))


def bucket(x: Matrix, edges: list[Decimal], *, begin: bool, end: bool, nan_group: bool) -> Matrix:
    """Number the intervals (-inf, a], (a, b] ... (z, inf) from the first that there is."""
    bounds = [-math.inf, *map(float, edges), math.inf]
    bins = list(itertools.pairwise(bounds))
    bins = bins[1 if begin else 0 : len(bins) - (1 if end else 0)]
    out = np.full(x.shape, NAN)
    for place in itertools.product(*map(range, x.shape)):
        v = x[place]
        if np.isnan(v):
            out[place] = len(bins) if nan_group else NAN
        for k, (low, high) in enumerate(bins):
            if low < v <= high or (v == -math.inf and low == -math.inf):
                out[place] = k
    return out


def group_mean(x: Matrix, weight: Matrix, codes: npt.NDArray[Any]) -> Matrix:
    out = np.full(x.shape, NAN)
    for t in range(len(x)):
        for k in set(codes[t]) - {-1}:
            member = (codes[t] == k) & ~np.isnan(x[t])
            used = member & ~np.isnan(weight[t])
            with np.errstate(all="ignore"):
                out[t, member] = np.divide((x[t] * weight[t])[used].sum(), weight[t][used].sum())
    return out


def group_backfill(x: Matrix, codes: npt.NDArray[Any], d: int, k: float) -> Matrix:
    out = x.copy()
    for t, c in itertools.product(*map(range, x.shape)):
        if not np.isnan(x[t, c]) or codes[t, c] < 0:
            continue
        pool = x[max(0, t - d + 1) : t + 1, codes[t] == codes[t, c]]
        pool = pool[np.isfinite(pool)]
        if len(pool):
            reach = k * std(pool, 1) if len(pool) > 1 else 0.0
            middle = exact_mean(pool)
            out[t, c] = exact_mean(np.clip(pool, middle - reach, middle + reach))
    return out


def densify(codes: npt.NDArray[Any]) -> Matrix:
    out = np.full(codes.shape, NAN)
    for t, row in enumerate(codes):
        for number, k in enumerate(sorted(set(row) - {-1})):
            out[t, row == k] = number
    return out


def moment(w: Matrix, power: int) -> float:
    """The standardized central moment of a window, ddof 0."""
    v = known(w)
    if not np.isfinite(v).all():
        return NAN
    centred = v - v[0]
    centred = centred - exact_mean(centred)
    spread = math.fsum(centred**2) / len(v)
    return ratio(math.fsum(centred**power) / len(v), spread ** (power / 2))


def decay_exp(w: Matrix, factor: float) -> float:
    pairs = [(factor**age, v) for age, v in enumerate(w[::-1]) if not np.isnan(v)]
    return ratio(sum(a * v for a, v in pairs), sum(a for a, _ in pairs))


def by_two(x: Matrix, y: Matrix, f: Callable[[Matrix, Matrix], Any]) -> Matrix:
    """Apply f to each day's values of the instruments that have both."""
    out = np.full(x.shape, NAN)
    for t in range(len(x)):
        both = ~(np.isnan(x[t]) | np.isnan(y[t]))
        if both.any():
            with np.errstate(all="ignore"):
                out[t, both] = f(x[t, both], y[t, both])
    return out


def vector_proj(x: Matrix, y: Matrix) -> Matrix:
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.full(len(x), NAN)
    return y * np.divide(math.fsum(x * y), math.fsum(y * y))


def vector_neut(x: Matrix, y: Matrix) -> Matrix:
    return rest(x - vector_proj(x, y), x)


def rest(e: Matrix, y: Matrix) -> Matrix:
    """What a fit leaves: 0 where that is no more than rounding."""
    return np.where(np.abs(e) <= 1e-14 * np.abs(y).max(initial=0.0), 0.0, e)


def line(y: Matrix, x: Matrix) -> Matrix:
    """What the straight line of least squares gives for each x."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or exact_var(x) == 0:
        return np.full(len(x), NAN)
    return (y[0] + exact_mean(y - y[0])) + ratio(cov(x, y), exact_var(x)) * demean(x)


def line_rest(y: Matrix, x: Matrix) -> Matrix:
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or exact_var(x) == 0:
        return np.full(len(x), NAN)
    return rest(demean(y) - ratio(cov(x, y), exact_var(x)) * demean(x), y)


def group_count(x: Matrix, codes: npt.NDArray[Any]) -> Matrix:
    out = np.full(x.shape, NAN)
    for t, c in itertools.product(*map(range, x.shape)):
        if codes[t, c] >= 0:
            out[t, c] = np.count_nonzero(~np.isnan(x[t, codes[t] == codes[t, c]]))
    return out


def group_extra(x: Matrix, weight: Matrix, codes: npt.NDArray[Any]) -> Matrix:
    out = x.copy()
    for t, c in itertools.product(*map(range, x.shape)):
        used = (codes[t] == codes[t, c]) & ~np.isnan(x[t]) & ~np.isnan(weight[t])
        known_in_group = (codes[t] == codes[t, c]) & ~np.isnan(x[t])
        if np.isnan(x[t, c]) and codes[t, c] >= 0 and known_in_group.any():
            with np.errstate(all="ignore"):
                out[t, c] = np.divide((x[t] * weight[t])[used].sum(), weight[t][used].sum())
    return out


def crossed(codes: npt.NDArray[Any], y: Matrix, edges: list[Decimal]) -> npt.NDArray[Any]:
    """Number the pairs of a group and a bucket, -1 where either is missing."""
    bins = bucket(y, edges, begin=False, end=False, nan_group=False)
    return np.where((codes < 0) | np.isnan(bins), -1, codes * 100 + np.nan_to_num(bins)).astype(int)
