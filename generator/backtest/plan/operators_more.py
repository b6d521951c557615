"""Definitions of operators that only some accounts have; see `operators`.

Two kinds of operators are evaluated only on BRAIN. Some depend on how an alpha is traded, such as ts_target_tvr_...,
inst_pnl and inst_tvr. Others have no public definition, such as jump_decay, hump_decay and ts_entropy.
"""

import math

from generator.backtest.plan.operators import StepBuilder, operator, window
from generator.backtest.settings import TruncateTotal
from generator.language.signature import Bound

# --- one value at a time ---------------------------------------------------------------------------------------------


def _mapped(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        return b.emit(name, b.matrix(a.node("x")))


for _name in ("purify", "sigmoid", "tanh"):
    _mapped(_name)


@operator("pasteurize")
def _pasteurize(b: StepBuilder, a: Bound) -> int:
    return b.in_universe(b.emit("purify", b.matrix(a.node("x"))))


def _where(b: StepBuilder, test: int, value: float, x: int) -> int:
    return b.emit("if_else", test, b.emit("fill", params=(value,)), x)


@operator("to_nan")
def _to_nan(b: StepBuilder, a: Bound) -> int:
    x, value = b.matrix(a.node("x")), a.number("value")
    if a.flag("reverse"):
        return _where(b, b.emit("is_nan", x), value, x)
    return _where(b, b.emit("equal:number", x, params=(value, False)), math.nan, x)


@operator("left_tail")
def _left_tail(b: StepBuilder, a: Bound) -> int:
    x = b.matrix(a.node("x"))
    return _where(b, b.emit("greater:number", x, params=(a.number("maximum"), False)), math.nan, x)


@operator("right_tail")
def _right_tail(b: StepBuilder, a: Bound) -> int:
    x = b.matrix(a.node("x"))
    return _where(b, b.emit("less:number", x, params=(a.number("minimum"), False)), math.nan, x)


@operator("tail")
def _tail(b: StepBuilder, a: Bound) -> int:
    x = b.matrix(a.node("x"))
    above = b.emit("greater:number", x, params=(a.number("lower"), False))
    below = b.emit("less:number", x, params=(a.number("upper"), False))
    return _where(b, b.emit("and", above, below), a.number("newval"), x)


# --- time series -----------------------------------------------------------------------------------------------------


def _shape(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        x, d = b.matrix(a.node("x")), a.integer("d")
        less = (b.semantics.kurtosis_of_normal,) if name == "ts_kurtosis" else ()
        return window(b, b.emit(name, x, params=(d, *less)), x, d)


for _name in ("ts_median", "ts_skewness", "ts_kurtosis"):
    _shape(_name)


@operator("ts_decay_exp_window")
def _ts_decay_exp_window(b: StepBuilder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.integer("d")
    return window(b, b.emit("ts_decay_exp_window", x, params=(d, a.number("factor"))), x, d)


@operator("ts_ir")
def _ts_ir(b: StepBuilder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.integer("d")
    mean, deviation = b.emit("ts_mean", x, params=(d,)), b.emit("ts_std_dev", x, params=(d,))
    return window(b, b.emit("divide", mean, deviation), x, d)


@operator("ts_returns")
def _ts_returns(b: StepBuilder, a: Bound) -> int:
    x = b.matrix(a.node("x"))
    before = b.emit("ts_delay", x, params=(a.integer("d"),))
    if a.integer("mode") == 1:
        return b.emit("subtract:number", b.emit("divide", x, before), params=(1.0, False))
    mean = b.emit("divide:number", b.emit("add", x, before), params=(2.0, False))
    return b.emit("divide", b.emit("subtract", x, before), mean)


def _extreme_diff(name: str, extreme: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        x, d = b.matrix(a.node("x")), a.integer("d")
        return window(b, b.emit("subtract", x, b.emit(extreme, x, params=(d,))), x, d)


_extreme_diff("ts_max_diff", "ts_max")
_extreme_diff("ts_min_diff", "ts_min")


def _both_extremes(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        x, d, f = b.matrix(a.node("x")), a.integer("d"), a.number("f")
        both = b.emit("add", b.emit("ts_min", x, params=(d,)), b.emit("ts_max", x, params=(d,)))
        if name == "ts_min_max_cps":
            step = b.emit("subtract", both, b.emit("multiply:number", x, params=(f, False)))
        else:
            step = b.emit("subtract", x, b.emit("multiply:number", both, params=(f, False)))
        return window(b, step, x, d)


_both_extremes("ts_min_max_cps")
_both_extremes("ts_min_max_diff")


# --- across instruments ----------------------------------------------------------------------------------------------


def _related(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        return b.emit(name, *map(b.matrix, a.nodes()))


_related("vector_neut")
_related("vector_proj")
_related("regression_neut")
_related("regression_proj")


@operator("scale_down")
def _scale_down(b: StepBuilder, a: Bound) -> int:
    x, market = b.matrix(a.node("x")), b.grouping("market")
    step = b.emit("group_scale", x, market.step, params=(market.count,))
    return b.emit("subtract:number", step, params=(a.number("constant"), False))


@operator("truncate")
def _truncate(b: StepBuilder, a: Bound) -> int:
    x, share = b.matrix(a.node("x")), a.number("maxPercent")
    if b.semantics.truncate_total is TruncateTotal.SUM:
        market = b.grouping("market")
        total = b.emit("group_sum", x, market.step, params=(market.count,))
        return b.emit("min", x, b.emit("multiply:number", total, params=(share, False)))
    most = b.emit("multiply:number", b.emit("sum_of_sizes", x), params=(share, False))
    return b.emit("max", b.emit("min", x, most), b.emit("reverse", most))


# --- groups ----------------------------------------------------------------------------------------------------------


def _grouped(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        group = b.group(a.node("group"))
        return b.emit(name, b.matrix(a.node("x")), group.step, params=(group.count,))


for _name in ("group_count", "group_sum", "group_max", "group_min", "group_std_dev", "group_median"):
    _grouped(_name)


@operator("group_normalize")
def _group_normalize(b: StepBuilder, a: Bound) -> int:
    group, x = b.group(a.node("group")), b.matrix(a.node("x"))

    def of_group(name: str) -> int:
        return b.emit(name, x, group.step, params=(group.count,))

    step = b.emit("divide", x, of_group("group_size"))
    step = b.emit("multiply:number", step, params=(a.number("scale"), False))
    if not a.flag("constantCheck"):
        return step
    lowest = of_group("group_min")
    spread = b.emit("subtract", of_group("group_max"), lowest)
    least = b.emit("multiply:number", b.emit("abs", lowest), params=(a.number("tolerance"), False))
    constant = b.emit(
        "or", b.emit("equal:number", spread, params=(0.0, False)), b.emit("less", spread, least)
    )
    return _where(b, constant, math.nan, step)


@operator("group_extra")
def _group_extra(b: StepBuilder, a: Bound) -> int:
    group = b.group(a.node("group"))
    x, weight = b.matrix(a.node("x")), b.matrix(a.node("weight"))
    mean = b.emit("group_mean", x, weight, group.step, params=(group.count, False))
    mean = b.emit("group_spread", mean, group.step, params=(group.count,))
    return b.emit("if_else", b.emit("is_nan", x), mean, x)


@operator("group_cartesian_product")
def _group_cartesian_product(b: StepBuilder, a: Bound) -> int:
    first, second = b.group(a.node("g1")), b.group(a.node("g2"))
    left = b.emit("to_numbers", first.step)
    left = b.emit("multiply:number", left, params=(float(second.count), False))
    return b.emit("dense", b.emit("add", left, b.emit("to_numbers", second.step)))
