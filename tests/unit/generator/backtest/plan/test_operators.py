import itertools
import math
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from generator.backtest.panel import Panel
from generator.backtest.plan.operators import OPERATORS
from generator.backtest.plan.primitives import PRIMITIVES, Axis, Primitive
from generator.backtest.plan.schedule import plan
from generator.backtest.run.engine import Engine
from generator.language.ast import Call, Field, Node, Number, Text
from tests.reference import backtest as ref

Matrix = ref.Matrix
NAN = math.nan
DAYS, INSTRUMENTS = 60, 10


def node(value: object) -> Node:
    if isinstance(value, Call | Field):
        return value
    if isinstance(value, bool):
        return Text("true" if value else "false")
    if isinstance(value, int | float):
        return Number(float(value))
    return Text(str(value)[1:]) if str(value).startswith("'") else Field(str(value))


def call(name: str, *args: object, **named: object) -> Call:
    return Call(name, tuple(map(node, args)), tuple((k, node(v)) for k, v in named.items()))


def dates(days: int) -> Any:
    return np.datetime64("2020-01-01") + np.arange(days)


def make_panel(**fields: Matrix) -> Panel:
    days, instruments = next(iter(fields.values())).shape
    rng = np.random.default_rng(5)
    sector = rng.integers(-1, 4, (days, instruments)).astype(np.int32)
    return Panel(
        dates=dates(days),
        symbols=tuple(f"I{i:03d}" for i in range(instruments)),
        fields=fields,
        groups={"sector": sector},
        group_names={"sector": ("a", "b", "c", "d")},
    )


def with_holes(rng: np.random.Generator, x: Matrix, share: float = 0.12) -> Matrix:
    x = x.copy()
    x[rng.random(x.shape) < share] = np.nan
    x[:, 0] = np.nan
    x[: len(x) // 3, 1] = np.nan
    x[len(x) // 2 :, 2] = np.nan
    return x


def smooth(seed: int) -> dict[str, Matrix]:
    rng = np.random.default_rng(seed)
    shape = (DAYS, INSTRUMENTS)
    x = with_holes(rng, rng.normal(size=shape))
    return {"x": x, "y": with_holes(rng, 0.4 * np.nan_to_num(x) + rng.normal(size=shape))}


def walks(seed: int) -> dict[str, Matrix]:
    rng = np.random.default_rng(seed)
    shape = (DAYS, INSTRUMENTS)
    x = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    return {"x": with_holes(rng, x), "y": with_holes(rng, np.exp(rng.normal(14, 2, shape)))}


def ties(seed: int) -> dict[str, Matrix]:
    rng = np.random.default_rng(seed)
    shape = (DAYS, INSTRUMENTS)
    x = np.repeat(rng.integers(-2, 3, (-(-DAYS // 3), INSTRUMENTS)), 3, axis=0).astype(float)
    return {"x": with_holes(rng, x), "y": with_holes(rng, rng.integers(0, 3, shape).astype(float))}


def infinite(seed: int) -> dict[str, Matrix]:
    rng = np.random.default_rng(seed)
    fields = smooth(seed)
    for x in fields.values():
        x[rng.random(x.shape) < 0.02] = np.inf
        x[rng.random(x.shape) < 0.02] = -np.inf
    return fields


def far(seed: int) -> dict[str, Matrix]:
    """Large offsets, small deviations, a level that jumps, and stretches that are constant."""
    rng = np.random.default_rng(seed)
    shape = (DAYS, INSTRUMENTS)
    x = 1e9 + rng.integers(-3, 4, shape).astype(float)
    x[35:] += 1e6
    x[15:28, 3:6] = 0.1
    y = 1e-3 + 1e-9 * rng.normal(size=shape)
    y[30:50, 4:8] = 1 / 3
    return {"x": with_holes(rng, x, 0.05), "y": with_holes(rng, y, 0.05)}


PANELS: dict[str, Callable[[int], dict[str, Matrix]]] = {
    "smooth": smooth,
    "walks": walks,
    "ties": ties,
    "infinite": infinite,
    "far": far,
}

Reference = Callable[[Matrix, Matrix, Any], Matrix]


def where_true(x: Matrix, yes: Matrix, no: Matrix) -> Matrix:
    return np.where((x != 0) & ~np.isnan(x), yes, no)


def chain(f: Callable[[Matrix, Matrix], Matrix], filled: float) -> Reference:
    return lambda x, y, _g: f(np.where(np.isnan(x), filled, x), np.where(np.isnan(y), filled, y))


def windowed(f: Callable[[Matrix], float], d: int) -> Reference:
    return lambda x, _y, _g: ref.by_window(x, d, f)


def daily(f: Callable[[Matrix], Any]) -> Reference:
    return lambda x, _y, _g: ref.by_day(x, f)


def grouped(f: Callable[[Matrix], Any]) -> Reference:
    return lambda x, _y, g: ref.by_group(x, g, f)


def past(f: Callable[[Matrix], float]) -> Reference:
    return lambda x, _y, _g: ref.walk(x, f)


def signed_power(x: Matrix, y: Matrix) -> Matrix:
    return np.sign(x) * np.power(np.abs(x), y)


def edges(*texts: str) -> list[Decimal]:
    return [Decimal(t) for t in texts]


TENTHS = edges(*(f"{i / 10:.1f}" for i in range(11)))

# Options at their ends, constants in place of matrices, and look-backs of one day or beyond the panel.
OPTIONS: list[tuple[Call, Reference]] = [
    (call("multiply", "x", "y", "x", filter=True), chain(lambda x, y: x * y * x, 1.0)),
    (call("add", "x", math.nan, filter=True), lambda x, _y, _g: np.where(np.isnan(x), 0.0, x)),
    (call("max", "x", "y", "x", -0.5), lambda x, y, _g: np.maximum(np.maximum(x, y), -0.5)),
    (call("max", "x", math.nan), lambda x, _y, _g: x * NAN),
    (call("divide", "x", 0), lambda x, _y, _g: x / np.zeros(1)),
    (call("power", 0, "x"), lambda x, _y, _g: np.power(0.0, x)),
    (call("power", "x", math.nan), lambda x, _y, _g: np.power(x, NAN)),
    (call("signed_power", -2, "x"), lambda x, _y, _g: -np.power(2.0, x)),
    *(
        case
        for number in (0, 1, -2)
        for case in (
            (call("equal", "x", number), lambda x, _y, _g, n=number: (x == n) * 1.0),
            (call("not_equal", "x", number), lambda x, _y, _g, n=number: (x != n) * 1.0),
            (call("greater_equal", "x", number), lambda x, _y, _g, n=number: (x >= n) * 1.0),
            (call("less_equal", number, "x"), lambda x, _y, _g, n=number: (n <= x) * 1.0),
            (
                call("and", "x", number),
                lambda x, _y, _g, n=number: where_true(x, np.full(x.shape, float(n != 0)), np.zeros(x.shape)),
            ),
            (
                call("or", number, "x"),
                lambda x, _y, _g, n=number: (
                    np.ones(x.shape) if n else where_true(x, np.ones(x.shape), np.zeros(x.shape))
                ),
            ),
        )
    ),
    (call("if_else", "x", "y", math.nan), lambda x, y, _g: where_true(x, y, np.full(x.shape, NAN))),
    (call("if_else", 1, "x", "y"), lambda x, _y, _g: x),
    (
        call("is_nan", call("if_else", "x", math.nan, 1)),
        lambda x, _y, _g: where_true(x, np.ones(x.shape), np.zeros(x.shape)),
    ),
    *(
        (
            call("ts_regression", "y", "x", d, lag=lag, rettype=k),
            lambda x, y, _g, d=d, lag=lag, k=k: ref.regression(y, x, d, lag, k),
        )
        for k in range(10)
        for d, lag in ((2, 0), (90, 2))
    ),
    *(
        (call("ts_quantile", "x", d, driver=f"'{k}"), windowed(lambda w, k=k: ref.ts_quantile(w, k), d))
        for d in (1, 2, 90)
        for k in ("gaussian", "uniform", "cauchy")
    ),
    (call("ts_rank", "x", 1, constant=2), windowed(lambda w: ref.ts_rank(w) + 2, 1)),
    *(
        (
            call("ts_backfill", "x", d, k=k, ignore=f"'{words}"),
            past(lambda p, d=d, k=k, words=words: ref.backfill_ignoring(p, d, k, tuple(words.split()))),
        )
        for words in ("NAN", "0", "NAN 0")
        for d, k in ((1, 1), (1, 2), (7, 1), (7, 3), (90, 2))
    ),
    *(
        (
            call("kth_element", "x", d, k, ignore=f"'{words}"),
            past(lambda p, d=d, k=k, words=words: ref.kth(p, d, k, tuple(words.split()))),
        )
        for words in ("NAN", "0", "NAN 0")
        for d, k in ((1, 1), (2, 3), (9, 9), (90, 4))
    ),
    *((call("hump", "x", hump=share), lambda x, _y, _g, share=share: ref.hump(x, share)) for share in (0, 1)),
    (call("trade_when", 1, "x", 0), lambda x, _y, _g: ref.trade_when(np.ones(x.shape), x, np.zeros(x.shape))),
    (call("trade_when", 0, "x", "y"), lambda x, y, _g: ref.trade_when(np.zeros(x.shape), x, y)),
    (call("trade_when", "x", math.nan, "y"), lambda x, y, _g: ref.trade_when(x, np.full(x.shape, NAN), y)),
    (call("normalize", "x", useStd=True), daily(lambda v: ref.normalize(v, True, 0.0))),
    (call("normalize", "x", limit=0.3), daily(lambda v: ref.normalize(v, False, 0.3))),
    (call("winsorize", "x", std=0), daily(lambda v: ref.winsorize(v, 0))),
    *((call("truncate", "x", maxPercent=p), daily(lambda v, p=p: ref.truncate(v, p))) for p in (0, 1)),
    (call("scale", "x", scale=0), daily(lambda v: ref.scale(v, 0))),
    (call("scale", "x", longscale=2), daily(lambda v: ref.scale_sides(v, 2, 1))),
    (call("scale", "x", scale=5, shortscale=0), daily(lambda v: ref.scale_sides(v, 1, 0))),
    (call("quantile", "x"), daily(lambda v: ref.quantile(v, "gaussian", 1.0))),
    (call("quantile", "x", sigma=0), daily(lambda v: ref.quantile(v, "gaussian", 0.0))),
    *(
        (
            call("bucket", "x", **written, **flags),
            lambda x, _y, _g, bounds=bounds, flags=flags: ref.bucket(
                x,
                bounds,
                begin=flags.get("skipBegin", flags.get("skipBoth", False)),
                end=flags.get("skipEnd", flags.get("skipBoth", False)),
                nan_group=flags.get("NaNGroup", False),
            ),
        )
        for written, bounds in (
            ({"range": "'-1,1,0.3"}, edges("-1", "-0.7", "-0.4", "-0.1", "0.2", "0.5", "0.8")),
            ({"range": "'0,1,0.25"}, edges("0", "0.25", "0.5", "0.75", "1")),
            ({"buckets": "'0"}, edges("0")),
        )
        for flags in (
            {},
            {"skipBegin": True},
            {"skipBegin": True, "NaNGroup": True},
            {"skipEnd": True, "NaNGroup": True},
            {"skipBoth": True},
        )
    ),
    (call("group_backfill", "x", "sector", 1), lambda x, _y, g: ref.group_backfill(x, g, 1, 4.0)),
    (call("group_backfill", "x", "sector", 90, std=0), lambda x, _y, g: ref.group_backfill(x, g, 90, 0.0)),
    (call("group_mean", "x", 0, "sector"), lambda x, _y, g: ref.group_mean(x, np.zeros(x.shape), g)),
    (call("group_mean", "x", call("reverse", "y"), "sector"), lambda x, y, g: ref.group_mean(x, -y, g)),
    (call("ts_decay_exp_window", "x", 5), windowed(lambda w: ref.decay_exp(w, 1.0), 5)),
    (call("ts_decay_exp_window", "x", 5, factor=0), windowed(lambda w: ref.decay_exp(w, 0.0), 5)),
    (
        call("ts_min_max_diff", "x", 5),
        windowed(lambda w: float(w[-1] - 0.5 * (np.nanmin(w) + np.nanmax(w))), 5),
    ),
    (
        call("ts_min_max_cps", "x", 5, f=0),
        windowed(lambda w: float(np.nanmin(w) + np.nanmax(w)) + 0 * w[-1], 5),
    ),
    (call("tail", "x", lower=1, upper=-1, newval=9), lambda x, _y, _g: x),
    (call("to_nan", "x", value=1), lambda x, _y, _g: np.where(x == 1, NAN, x)),
    (call("right_tail", "x", minimum=1), lambda x, _y, _g: np.where(x < 1, NAN, x)),
    (call("left_tail", "x"), lambda x, _y, _g: np.where(x > 0, NAN, x)),
    (call("scale_down", "x"), daily(lambda v: (v - v.min()) / (v.max() - v.min()))),
    (call("group_normalize", "x", "sector"), grouped(lambda v: v / np.abs(v).sum())),
]

CASES: list[tuple[Call, Reference]] = [
    (call("abs", "x"), lambda x, _y, _g: np.abs(x)),
    (call("add", "x", "y"), lambda x, y, _g: x + y),
    (call("add", "x", "y", "x"), lambda x, y, _g: x + y + x),
    (call("add", "x", 2.5), lambda x, _y, _g: x + 2.5),
    (call("add", "x", "y", filter=True), chain(lambda x, y: x + y, 0.0)),
    (call("subtract", "x", "y"), lambda x, y, _g: x - y),
    (call("subtract", 1, "y"), lambda _x, y, _g: 1 - y),
    (call("subtract", "x", "y", "y", filter=True), chain(lambda x, y: x - y - y, 0.0)),
    (call("multiply", "x", "y"), lambda x, y, _g: x * y),
    (call("multiply", "x", "y", filter=True), chain(lambda x, y: x * y, 1.0)),
    (call("divide", "x", "y"), lambda x, y, _g: x / y),
    (call("divide", 1, "x"), lambda x, _y, _g: 1 / x),
    (call("inverse", "x"), lambda x, _y, _g: 1 / x),
    (call("log", "x"), lambda x, _y, _g: np.log(x)),
    (call("sqrt", "x"), lambda x, _y, _g: np.sqrt(x)),
    (call("sign", "x"), lambda x, _y, _g: np.sign(x)),
    (call("reverse", "x"), lambda x, _y, _g: -x),
    (call("max", "x", "y", 0.5), lambda x, y, _g: np.maximum(np.maximum(x, y), 0.5)),
    (call("min", "x", "y"), lambda x, y, _g: np.minimum(x, y)),
    (call("power", "x", "y"), lambda x, y, _g: np.power(x, y)),
    *((call("power", "x", e), lambda x, _y, _g, e=e: np.power(x, float(e))) for e in (0, 0.5, 1, 2, 3, -1)),
    (call("power", 2, "x"), lambda x, _y, _g: np.power(2.0, x)),
    (call("signed_power", "x", "y"), lambda x, y, _g: signed_power(x, y)),
    *((call("signed_power", "x", e), lambda x, _y, _g, e=e: signed_power(x, e)) for e in (0.5, 1, 2, 3, -1)),
    (call("less", "x", "y"), lambda x, y, _g: (x < y) * 1.0),
    (call("less", "x", 0), lambda x, _y, _g: (x < 0) * 1.0),
    (call("less", 0, "x"), lambda x, _y, _g: (x > 0) * 1.0),
    (call("less_equal", "x", "y"), lambda x, y, _g: (x <= y) * 1.0),
    (call("greater", "x", "y"), lambda x, y, _g: (x > y) * 1.0),
    (call("greater_equal", "x", "y"), lambda x, y, _g: (x >= y) * 1.0),
    (call("equal", "x", "y"), lambda x, y, _g: (x == y) * 1.0),
    (call("not_equal", "x", "y"), lambda x, y, _g: (x != y) * 1.0),
    (call("and", "x", "y"), lambda x, y, _g: where_true(x, where_true(y, 1.0, 0.0), 0.0)),
    (call("or", "x", "y"), lambda x, y, _g: where_true(x, 1.0, where_true(y, 1.0, 0.0))),
    (call("not", "x"), lambda x, _y, _g: where_true(x, 0.0, 1.0)),
    (call("is_nan", "x"), lambda x, _y, _g: np.isnan(x) * 1.0),
    (call("if_else", call("greater", "x", "y"), "x", 7), lambda x, y, _g: np.where(x > y, x, 7.0)),
    *(
        case
        for d in (1, 2, 7, 20, 90)
        for case in (
            (
                call("ts_sum", "x", d),
                windowed(
                    lambda w: (
                        math.fsum(ref.known(w)) if np.isfinite(ref.known(w)).all() else float(np.nansum(w))
                    ),
                    d,
                ),
            ),
            (call("ts_mean", "x", d), windowed(lambda w: ref.exact_mean(ref.known(w)), d)),
            (call("ts_product", "x", d), windowed(lambda w: float(np.prod(ref.known(w))), d)),
            (call("ts_max", "x", d), windowed(lambda w: float(np.nanmax(w)), d)),
            (call("ts_min", "x", d), windowed(lambda w: float(np.nanmin(w)), d)),
            (call("ts_arg_max", "x", d), windowed(lambda w: ref.ts_arg(w, np.nanmax(w)), d)),
            (call("ts_arg_min", "x", d), windowed(lambda w: ref.ts_arg(w, np.nanmin(w)), d)),
            (call("ts_std_dev", "x", d), windowed(lambda w: ref.std(ref.known(w)), d)),
            (call("ts_av_diff", "x", d), windowed(ref.minus_mean, d)),
            (
                call("ts_zscore", "x", d),
                windowed(lambda w: ref.ratio(ref.minus_mean(w), ref.std(ref.known(w))), d),
            ),
            (call("ts_rank", "x", d), windowed(ref.ts_rank, d)),
            (call("ts_decay_linear", "x", d), windowed(lambda w, d=d: ref.decay(w, d, dense=False), d)),
            (
                call("ts_decay_linear", "x", d, dense=True),
                windowed(lambda w, d=d: ref.decay(w, d, dense=True), d),
            ),
            (
                call("ts_scale", "x", d),
                windowed(lambda w: ref.ratio(w[-1] - np.nanmin(w), np.nanmax(w) - np.nanmin(w)), d),
            ),
            (
                call("ts_count_nans", "x", d),
                lambda x, _y, _g, d=d: ref.walk(x, lambda p: float(np.isnan(p[-d:]).sum())),
            ),
            (call("ts_backfill", "x", d), past(lambda p, d=d: ref.backfill(p, d, 1))),
            (call("last_diff_value", "x", d), past(lambda p, d=d: ref.last_different(p, d))),
            (
                call("ts_delay", "x", d),
                lambda x, _y, _g, d=d: ref.delay(x, d),
            ),
            (
                call("ts_delta", "x", d),
                lambda x, _y, _g, d=d: x - ref.delay(x, d),
            ),
        )
    ),
    *(
        case
        for d in (2, 7, 20, 90)
        for case in (
            (call("ts_corr", "x", "y", d), lambda x, y, _g, d=d: ref.by_pair(x, y, d, ref.corr)),
            (call("ts_covariance", "y", "x", d), lambda x, y, _g, d=d: ref.by_pair(x, y, d, ref.cov)),
        )
    ),
    (call("ts_rank", "x", 10, constant=1), windowed(lambda w: ref.ts_rank(w) + 1, 10)),
    (
        call("ts_scale", "x", 10, 2),
        windowed(lambda w: ref.ratio(w[-1] - np.nanmin(w), np.nanmax(w) - np.nanmin(w)) + 2, 10),
    ),
    *(
        (call("ts_quantile", "x", 12, driver=f"'{k}"), windowed(lambda w, k=k: ref.ts_quantile(w, k), 12))
        for k in ("gaussian", "uniform", "cauchy")
    ),
    *(
        (
            call("ts_regression", "y", "x", d, lag=lag, rettype=k),
            lambda x, y, _g, d=d, lag=lag, k=k: ref.regression(y, x, d, lag, k),
        )
        for k in range(10)
        for d, lag in ((15, 0), (8, 3))
    ),
    (call("ts_backfill", "x", 10, k=2), past(lambda p: ref.backfill(p, 10, 2))),
    *(
        (
            call("ts_backfill", "x", 10, k=2, ignore=f"'{k}"),
            past(lambda p, k=k: ref.backfill_ignoring(p, 10, 2, tuple(k.split()))),
        )
        for k in ("NAN", "0", "NAN 0")
    ),
    (call("kth_element", "x", 6, 2), past(lambda p: ref.kth(p, 6, 2, ("NAN",)))),
    (call("kth_element", "x", 6, 1, ignore="'NAN 0"), past(lambda p: ref.kth(p, 6, 1, ("NAN", "0")))),
    (call("days_from_last_change", "x"), past(ref.days_from_last_change)),
    (call("hump", "x", hump=0.05), lambda x, _y, _g: ref.hump(x, 0.05)),
    (call("hump", "x"), lambda x, _y, _g: ref.hump(x, 0.01)),
    (call("ts_step", 1), lambda x, _y, _g: np.cumsum(np.ones(x.shape), axis=0)),
    (
        call("trade_when", call("greater", "x", 0.5), "y", call("less", "x", -1)),
        lambda x, y, _g: ref.trade_when((x > 0.5) * 1.0, y, (x < -1) * 1.0),
    ),
    (call("trade_when", "x", "y", -1), lambda x, y, _g: ref.trade_when(x, y, x * 0 - 1)),
    (call("rank", "x"), daily(ref.unit_ranks)),
    (call("rank", "x", rate=0), daily(ref.unit_ranks)),
    (call("zscore", "x"), daily(ref.zscore)),
    (call("normalize", "x"), daily(ref.demean)),
    (call("normalize", "x", True, 0.8), daily(lambda v: ref.normalize(v, True, 0.8))),
    (call("winsorize", "x", std=1.2), daily(lambda v: ref.winsorize(v, 1.2))),
    (call("winsorize", "x"), daily(lambda v: ref.winsorize(v, 4))),
    (call("truncate", "x"), daily(lambda v: ref.truncate(v, 0.01))),
    (call("truncate", "x", maxPercent=0.2), daily(lambda v: ref.truncate(v, 0.2))),
    (call("scale", "x"), daily(lambda v: ref.scale(v, 1))),
    (call("scale", "x", scale=20), daily(lambda v: ref.scale(v, 20))),
    (call("scale", "x", longscale=2, shortscale=3), daily(lambda v: ref.scale_sides(v, 2, 3))),
    *(
        (call("quantile", "x", driver=f"'{k}", sigma=0.5), daily(lambda v, k=k: ref.quantile(v, k, 0.5)))
        for k in ("gaussian", "uniform", "cauchy")
    ),
    (
        call("bucket", call("rank", "x"), range="'0, 1, 0.1"),
        lambda x, _y, _g: ref.bucket(
            ref.by_day(x, ref.unit_ranks), TENTHS, begin=False, end=False, nan_group=False
        ),
    ),
    (
        call("bucket", "x", buckets="'-1,0.5,2", skipBoth=True, NaNGroup=True),
        lambda x, _y, _g: ref.bucket(x, edges("-1", "0.5", "2"), begin=True, end=True, nan_group=True),
    ),
    (
        call("bucket", "x", buckets="'-1,0.5,2", skipEnd=True),
        lambda x, _y, _g: ref.bucket(x, edges("-1", "0.5", "2"), begin=False, end=True, nan_group=False),
    ),
    (call("densify", "sector"), lambda _x, _y, g: ref.densify(g)),
    (call("group_neutralize", "x", "sector"), grouped(ref.demean)),
    (call("group_neutralize", "x", "market"), daily(ref.demean)),
    (call("group_zscore", "x", "sector"), grouped(ref.zscore)),
    (call("group_rank", "x", "sector"), grouped(ref.unit_ranks)),
    (call("group_rank", "x", call("densify", "sector")), grouped(ref.unit_ranks)),
    (
        call("group_rank", "y", call("bucket", "x", buckets="'-1,0.5,2")),
        lambda x, y, _g: ref.by_group(
            y,
            ref.bucket(
                np.where(np.isnan(x), np.nan, x),
                edges("-1", "0.5", "2"),
                begin=False,
                end=False,
                nan_group=False,
            ),
            ref.unit_ranks,
        ),
    ),
    (call("group_scale", "x", "sector"), grouped(lambda v: (v - v.min()) / (v.max() - v.min()))),
    (call("group_mean", "x", "y", "sector"), ref.group_mean),
    (call("group_mean", "x", 1, "sector"), lambda x, _y, g: ref.group_mean(x, np.ones(x.shape), g)),
    (call("purify", "x"), lambda x, _y, _g: np.where(np.isinf(x), np.nan, x)),
    (call("pasteurize", "x"), lambda x, _y, _g: np.where(np.isinf(x), np.nan, x)),
    (call("sigmoid", "x"), lambda x, _y, _g: 1 / (1 + np.exp(-x))),
    (call("tanh", "x"), lambda x, _y, _g: np.tanh(x)),
    (call("to_nan", "x"), lambda x, _y, _g: np.where(x == 0, np.nan, x)),
    (call("to_nan", "x", value=7, reverse=True), lambda x, _y, _g: np.where(np.isnan(x), 7, x)),
    (call("left_tail", "x", maximum=0.5), lambda x, _y, _g: np.where(x > 0.5, np.nan, x)),
    (call("right_tail", "x"), lambda x, _y, _g: np.where(x < 0, np.nan, x)),
    (call("tail", "x", lower=-1, upper=1, newval=9), lambda x, _y, _g: np.where((x > -1) & (x < 1), 9, x)),
    *(
        case
        for d in (1, 5, 20)
        for case in (
            (call("ts_median", "x", d), windowed(lambda w: float(np.median(ref.known(w))), d)),
            (call("ts_skewness", "x", d), windowed(lambda w: ref.moment(w, 3), d)),
            (call("ts_kurtosis", "x", d), windowed(lambda w: ref.moment(w, 4) - 3, d)),
            (call("ts_decay_exp_window", "x", d, factor=0.7), windowed(lambda w: ref.decay_exp(w, 0.7), d)),
            (
                call("ts_ir", "x", d),
                windowed(lambda w: ref.ratio(ref.exact_mean(ref.known(w)), ref.std(ref.known(w))), d),
            ),
            (
                call("ts_returns", "x", d),
                lambda x, _y, _g, d=d: x / ref.delay(x, d) - 1,
            ),
            (
                call("ts_returns", "x", d, mode=2),
                lambda x, _y, _g, d=d: (x - ref.delay(x, d)) / ((x + ref.delay(x, d)) / 2),
            ),
            (call("ts_max_diff", "x", d), windowed(lambda w: float(w[-1] - np.nanmax(w)), d)),
            (call("ts_min_diff", "x", d), windowed(lambda w: float(w[-1] - np.nanmin(w)), d)),
            (
                call("ts_min_max_cps", "x", d),
                windowed(lambda w: float(np.nanmin(w) + np.nanmax(w) - 2 * w[-1]), d),
            ),
            (
                call("ts_min_max_diff", "x", d, f=0.4),
                windowed(lambda w: float(w[-1] - 0.4 * (np.nanmin(w) + np.nanmax(w))), d),
            ),
        )
    ),
    (call("vector_neut", "x", "y"), lambda x, y, _g: ref.by_two(x, y, ref.vector_neut)),
    (call("vector_proj", "x", "y"), lambda x, y, _g: ref.by_two(x, y, ref.vector_proj)),
    (call("regression_neut", "x", "y"), lambda x, y, _g: ref.by_two(x, y, ref.line_rest)),
    (call("regression_proj", "x", "y"), lambda x, y, _g: ref.by_two(x, y, ref.line)),
    (call("scale_down", "x", constant=2), daily(lambda v: (v - v.min()) / (v.max() - v.min()) - 2)),
    (call("group_count", "x", "sector"), lambda x, _y, g: ref.group_count(x, g)),
    (call("group_sum", "x", "sector"), grouped(lambda v: v.sum())),
    (call("group_max", "x", "sector"), grouped(lambda v: v.max())),
    (call("group_min", "x", "sector"), grouped(lambda v: v.min())),
    (call("group_std_dev", "x", "sector"), grouped(ref.std)),
    (call("group_median", "x", "sector"), grouped(np.median)),
    (call("group_normalize", "x", "sector", scale=3), grouped(lambda v: 3 * v / np.abs(v).sum())),
    (
        call("group_normalize", "x", "sector", constantCheck=True, tolerance=2.5),
        grouped(
            lambda v: np.where(
                (v.max() == v.min()) | (v.max() - v.min() < 2.5 * abs(v.min())), np.nan, v / np.abs(v).sum()
            )
        ),
    ),
    (call("group_extra", "x", "y", "sector"), ref.group_extra),
    (
        call(
            "group_rank", "x", call("group_cartesian_product", "sector", call("bucket", "y", buckets="'0,1"))
        ),
        lambda x, y, g: ref.by_group(x, ref.crossed(g, y, edges("0", "1")), ref.unit_ranks),
    ),
    (call("group_backfill", "x", "sector", 4, std=1.5), lambda x, _y, g: ref.group_backfill(x, g, 4, 1.5)),
    *OPTIONS,
]


def label(tree: Node) -> str:
    if isinstance(tree, Call):
        named = [f"{k}={label(v)}" for k, v in tree.named]
        return f"{tree.name}({','.join([*map(label, tree.args), *named])})"
    return (
        f"{tree.value:g}" if isinstance(tree, Number) else getattr(tree, "name", getattr(tree, "value", ""))
    )


def differences(found: Matrix, wanted: Matrix, tolerance: float) -> list[tuple[int, ...]]:
    """Return where the two disagree: |a - b| <= tolerance * max(|b|, 1e-6 max|b|), NaN and infinities alike."""
    wanted = np.asarray(wanted, dtype=float)
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    finite = np.isfinite(wanted) & np.isfinite(found)
    largest = np.abs(wanted[finite]).max(initial=0.0)
    with np.errstate(invalid="ignore"):
        near = np.abs(found - wanted) <= tolerance * np.maximum(np.abs(wanted), 1e-6 * largest)
    return [tuple(map(int, place)) for place in np.argwhere(~(same | (finite & near)))]


@pytest.mark.parametrize("kind", PANELS)
def test_every_operator_agrees_with_its_reference(kind: str) -> None:
    fields = PANELS[kind](11)
    panel = make_panel(**fields)
    found = Engine(panel, threads=2).values([tree for tree, _ in CASES])
    wrong = {}
    for (tree, reference), values in zip(CASES, found, strict=True):
        with np.errstate(all="ignore"):
            wanted = reference(fields["x"], fields["y"], panel.groups["sector"])
        places = differences(values, wanted, 1e-9)
        if places:
            place = places[0]
            wrong[label(tree)] = (len(places), place, values[place], np.asarray(wanted, float)[place])
    assert not wrong


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (9, 1), (2, 2), (7, 3)])
@pytest.mark.parametrize("kind", ["normal", "missing", "equal"])
def test_the_smallest_panels(shape: tuple[int, int], kind: str) -> None:
    rng = np.random.default_rng(sum(shape))
    fields = {name: rng.normal(size=shape) for name in "xy"}
    for values in fields.values():
        if kind == "missing":
            values[rng.random(shape) < 0.6] = np.nan
            values[-1] = np.nan
        elif kind == "equal":
            values[:] = 0.1
    panel = make_panel(**fields)
    found = Engine(panel, threads=2).values([tree for tree, _ in CASES])
    wrong = {}
    for (tree, reference), values in zip(CASES, found, strict=True):
        with np.errstate(all="ignore"):
            wanted = reference(fields["x"], fields["y"], panel.groups["sector"])
        places = differences(values, wanted, 1e-9)
        if places:
            wrong[label(tree)] = (places[0], values[places[0]], np.asarray(wanted, float)[places[0]])
    assert not wrong


def names_in(tree: Node) -> set[str]:
    if not isinstance(tree, Call):
        return set()
    return {tree.name}.union(*map(names_in, tree.args))


def test_every_operator_has_a_case() -> None:
    tried = {name for tree, _ in CASES for name in names_in(tree)}
    assert set(OPERATORS) - tried == {"vec_avg", "vec_sum"}


@pytest.mark.slow
def test_float32_agrees_to_four_digits() -> None:
    fields = smooth(3)
    single = {name: x.astype(np.float32) for name, x in fields.items()}
    fields = {name: x.astype(np.float64) for name, x in single.items()}
    exact = Engine(make_panel(**fields)).values([tree for tree, _ in CASES])
    rough = Engine(make_panel(**single), dtype=np.float32).values([tree for tree, _ in CASES])
    wrong = [
        label(tree)
        for (tree, _), a, b in zip(CASES, rough, exact, strict=True)
        if len(differences(a, b, 1e-4)) > 0.002 * a.size  # a residual within the rounding of float32 is 0
    ]
    assert not wrong


def test_no_operator_looks_ahead() -> None:
    fields = walks(2)
    cutoff = 40
    rng = np.random.default_rng(9)
    order = np.concatenate([np.arange(cutoff), cutoff + rng.permutation(DAYS - cutoff)])
    shuffled = {name: np.ascontiguousarray(x[order] * rng.uniform(0.5, 2)) for name, x in fields.items()}
    for name, x in shuffled.items():
        x[:cutoff] = fields[name][:cutoff]
    trees = [tree for tree, _ in CASES]
    before = Engine(make_panel(**fields)).values(trees)
    after = Engine(make_panel(**shuffled)).values(trees)
    changed = [
        label(tree)
        for tree, a, b in zip(trees, before, after, strict=True)
        if not np.array_equal(a[:cutoff], b[:cutoff], equal_nan=True)
    ]
    assert not changed


@pytest.mark.parametrize(("threads", "instruments"), [(1, 5), (2, 200), (3, 131)])
def test_threads_and_blocks_do_not_change_results(threads: int, instruments: int) -> None:
    rng = np.random.default_rng(1)
    fields = {k: with_holes(rng, rng.normal(size=(70, instruments))) for k in "xy"}
    trees = [tree for tree, _ in CASES]
    one = Engine(make_panel(**fields), threads=1).values(trees)
    many = Engine(make_panel(**fields), threads=threads).values(trees)
    alone = [Engine(make_panel(**fields), threads=1).values([tree])[0] for tree in trees[::7]]
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, many, strict=True))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one[::7], alone, strict=True))


def test_a_failed_block_is_raised_once_no_thread_writes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    busy: list[int] = []
    started = threading.Event()

    def fails_first(_x: Matrix, _out: Matrix, first: int, _end: int) -> None:
        if first == 0:
            started.wait(10)
            raise MemoryError("no room")
        started.set()
        busy.append(first)
        time.sleep(0.1)  # the failure comes meanwhile
        busy.remove(first)

    monkeypatch.setitem(PRIMITIVES, "zscore", Primitive(Axis.PAST, fails_first))
    engine = Engine(make_panel(x=np.ones((200, 5))), threads=2)
    with pytest.raises(MemoryError, match="no room"):
        engine.values([call("zscore", "x")])
    assert not busy
    monkeypatch.undo()
    assert engine.values([call("zscore", "x")])[0].shape == (200, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_do_not_depend_on_how_a_panel_is_cut(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    panel = make_panel(x=rng.normal(size=(150, 40)).astype(dtype), y=rng.normal(size=(150, 40)).astype(dtype))
    ranked = call("rank", "x")
    moved = call("ts_delta", ranked, 3)
    trees = [
        call("add", moved, call("rank", call("ts_delay", moved, 2))),
        call(
            "multiply",
            call("rank", call("subtract", "x", "y")),
            call("ts_corr", ranked, call("rank", "y"), 7),
        ),
        call("ts_delta", call("ts_mean", call("ts_delay", call("divide", "x", "y"), 1), 4), 160),
        call("subtract", call("ts_step", 1), call("zscore", call("ts_delta", call("abs", "y"), 1))),
        call("ts_mean", call("rank", call("ts_delta", call("ts_sum", "y", 5), 3)), 4),
    ]
    whole = Engine(panel, threads=1).values(trees)
    monkeypatch.setattr("generator.backtest.run.engine._BLOCK_BYTES", 1)
    monkeypatch.setattr("generator.backtest.run.engine.WIDEST", 7)
    for one, other in zip(whole, Engine(panel, threads=3).values(trees), strict=True):
        assert one.tobytes() == other.tobytes()


def test_what_is_read_beyond_a_block_is_not_overwritten_in_its_phase() -> None:
    engine = Engine(make_panel(x=np.ones((9, 5))))
    compiler = engine.compiler()
    means = [call("ts_mean", call("rank", call("ts_delta", call("ts_sum", "x", n), 3)), n) for n in (2, 3, 4)]
    roots = [compiler.matrix(tree) for tree in [*means, call("ts_max", call("ts_min", means[0], 3), 3)]]
    for chunk in plan(compiler.graph, roots, chunk=2, keep=4, lasting_roots=False).chunks:
        for phase in chunk.phases:
            written = {work.out for work in phase.works}
            for work in phase.works:
                if PRIMITIVES[compiler.graph.steps[work.step].op].axis is not Axis.ROWS:
                    assert written.isdisjoint(work.inputs)


def test_a_result_that_only_its_phase_uses_needs_no_matrix() -> None:
    engine = Engine(make_panel(x=np.ones((9, 5))))
    compiler = engine.compiler()
    root = compiler.matrix(call("rank", call("abs", call("sqrt", call("ts_delta", "x", 2)))))
    scheme = plan(compiler.graph, [root], chunk=2, keep=4, lasting_roots=False)
    assert [phase.axis for phase in scheme.chunks[0].phases] == [Axis.ROWS]
    assert scheme.matrices() == 1


def test_every_day_and_instrument_is_ranked_right_in_wide_rows() -> None:
    rng = np.random.default_rng(4)
    n = 3000
    rows = [
        rng.normal(size=n),
        np.exp(rng.normal(0, 30, n)),
        1e9 + rng.normal(size=n) * 1e-6,
        np.where(rng.random(n) < 0.01, 1e12, rng.normal(size=n)),
        rng.integers(0, 3, n).astype(float),
        np.zeros(n),
        np.where(rng.random(n) < 0.5, -0.0, 0.0),
        np.concatenate([np.full(5, np.inf), np.full(5, -np.inf), rng.normal(size=n - 10)]),
        rng.choice([5e-324, -5e-324, 1e-310, 1.7e308, -1.7e308, 0.0], n),
        np.full(n, np.nan),
        np.where(np.arange(n) == 7, 3.0, np.nan),
    ]
    x = np.array(rows)
    [found] = Engine(make_panel(x=x)).values([call("rank", "x")])
    for row, values in zip(found, x, strict=True):
        there = ~np.isnan(values)
        order = np.sort(values[there])
        low = np.searchsorted(order, values[there], "left")
        high = np.searchsorted(order, values[there], "right")
        wanted = np.full(n, np.nan)
        if there.sum() > 1:
            wanted[there] = (low + high - 1) / 2 / (there.sum() - 1)
        np.testing.assert_allclose(row, wanted, rtol=1e-15)


def test_pairs_of_operators_agree_too() -> None:
    """The result of one operator, with its NaN and infinities, is the input of the next."""
    fields = infinite(8)
    panel = make_panel(**fields)
    outer: list[tuple[str, tuple[object, ...], Callable[[Matrix], Matrix]]] = [
        ("ts_mean", (5,), lambda v: ref.by_window(v, 5, lambda w: ref.exact_mean(ref.known(w)))),
        ("ts_std_dev", (5,), lambda v: ref.by_window(v, 5, lambda w: ref.std(ref.known(w)))),
        ("rank", (), lambda v: ref.by_day(v, ref.unit_ranks)),
        ("ts_rank", (6,), lambda v: ref.by_window(v, 6, ref.ts_rank)),
        ("zscore", (), lambda v: ref.by_day(v, ref.zscore)),
    ]
    inner = [
        call("divide", "x", call("ts_delta", "x", 1)),
        call("log", "x"),
        call("rank", "y"),
        call("ts_corr", "x", "y", 6),
    ]
    between = Engine(panel).values(inner)
    trees = [call(name, tree, *args) for (name, args, _), tree in itertools.product(outer, inner)]
    found = Engine(panel).values(trees)
    for (_, _, reference), values, tree, got in zip(
        [o for o in outer for _ in inner], between * len(outer), trees, found, strict=True
    ):
        assert not differences(got, reference(values), 1e-9), label(tree)
