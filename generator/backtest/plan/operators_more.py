"""The operators that only some accounts have, as far as a panel can say what they mean; see `operators`.

Those that depend on how an alpha is traded (ts_target_tvr_..., inst_pnl, inst_tvr ...) or that no public source defines
(jump_decay, hump_decay, ts_entropy ...) are left to BRAIN.
"""

import math

from generator.backtest.errors import EvaluationError
from generator.backtest.plan.binding import Bound, Kind, Parameter
from generator.backtest.plan.operators import Builder, Definition, flag, matrix, number, operator, window

_X = matrix("x")
_Y = matrix("y")
_D = Parameter("d", Kind.DAYS)
_GROUP = Parameter("group", Kind.GROUP)


# --- one value at a time ---------------------------------------------------------------------------------------------


def _mapped(name: str) -> None:
    @operator(name, _X)
    def define(b: Builder, a: Bound) -> int:
        return b.emit(name, b.matrix(a.node("x")))


for _name in ("purify", "sigmoid", "tanh"):
    _mapped(_name)


@operator("pasteurize", _X)
def _pasteurize(b: Builder, a: Bound) -> int:
    return b.inside(b.emit("purify", b.matrix(a.node("x"))))


def _where(b: Builder, test: int, value: float, x: int) -> int:
    return b.emit("if_else", test, b.emit("fill", params=(value,)), x)


@operator("to_nan", _X, number("value", 0.0), flag("reverse"))
def _to_nan(b: Builder, a: Bound) -> int:
    x, value = b.matrix(a.node("x")), a.number("value")
    if a.flag("reverse"):
        return _where(b, b.emit("is_nan", x), value, x)
    return _where(b, b.emit("equal:number", x, params=(value, False)), math.nan, x)


@operator("left_tail", _X, number("maximum", 0.0))
def _left_tail(b: Builder, a: Bound) -> int:
    x = b.matrix(a.node("x"))
    return _where(b, b.emit("greater:number", x, params=(a.number("maximum"), False)), math.nan, x)


@operator("right_tail", _X, number("minimum", 0.0))
def _right_tail(b: Builder, a: Bound) -> int:
    x = b.matrix(a.node("x"))
    return _where(b, b.emit("less:number", x, params=(a.number("minimum"), False)), math.nan, x)


@operator("tail", _X, number("lower", 0.0), number("upper", 0.0), number("newval", 0.0))
def _tail(b: Builder, a: Bound) -> int:
    x = b.matrix(a.node("x"))
    above = b.emit("greater:number", x, params=(a.number("lower"), False))
    below = b.emit("less:number", x, params=(a.number("upper"), False))
    return _where(b, b.emit("and", above, below), a.number("newval"), x)


# --- time series -----------------------------------------------------------------------------------------------------


def _shape(name: str) -> None:
    @operator(name, _X, _D)
    def define(b: Builder, a: Bound) -> int:
        x, d = b.matrix(a.node("x")), a.days("d")
        less = (b.semantics.kurtosis_of_normal,) if name == "ts_kurtosis" else ()
        return window(b, b.emit(name, x, params=(d, *less)), x, d)


for _name in ("ts_median", "ts_skewness", "ts_kurtosis"):
    _shape(_name)


@operator("ts_decay_exp_window", _X, _D, number("factor", 1.0))
def _ts_decay_exp_window(b: Builder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.days("d")
    return window(b, b.emit("ts_decay_exp_window", x, params=(d, a.number("factor"))), x, d)


@operator("ts_ir", _X, _D)
def _ts_ir(b: Builder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.days("d")
    mean, deviation = b.emit("ts_mean", x, params=(d,)), b.emit("ts_std_dev", x, params=(d,))
    return window(b, b.emit("divide", mean, deviation), x, d)


@operator("ts_returns", _X, _D, Parameter("mode", Kind.INTEGER, 1))
def _ts_returns(b: Builder, a: Bound) -> int:
    if a.integer("mode") != 1:
        raise EvaluationError("ts_returns(): only mode 1 is known here", position=a.node("mode").position)
    x = b.matrix(a.node("x"))
    ratio = b.emit("divide", x, b.emit("ts_delay", x, params=(a.days("d"),)))
    return b.emit("subtract:number", ratio, params=(1.0, False))


def _extreme_diff(name: str, extreme: str) -> None:
    @operator(name, _X, _D)
    def define(b: Builder, a: Bound) -> int:
        x, d = b.matrix(a.node("x")), a.days("d")
        return window(b, b.emit("subtract", x, b.emit(extreme, x, params=(d,))), x, d)


_extreme_diff("ts_max_diff", "ts_max")
_extreme_diff("ts_min_diff", "ts_min")


def _both_extremes(name: str, share: float) -> Definition:
    @operator(name, _X, _D, number("f", share))
    def define(b: Builder, a: Bound) -> int:
        x, d, f = b.matrix(a.node("x")), a.days("d"), a.number("f")
        both = b.emit("add", b.emit("ts_min", x, params=(d,)), b.emit("ts_max", x, params=(d,)))
        if name == "ts_min_max_cps":
            step = b.emit("subtract", both, b.emit("multiply:number", x, params=(f, False)))
        else:
            step = b.emit("subtract", x, b.emit("multiply:number", both, params=(f, False)))
        return window(b, step, x, d)

    return define


_both_extremes("ts_min_max_cps", 2.0)
_both_extremes("ts_min_max_diff", 0.5)


# --- across instruments ----------------------------------------------------------------------------------------------


def _related(name: str, target: str, by: str) -> None:
    @operator(name, matrix(target), matrix(by))
    def define(b: Builder, a: Bound) -> int:
        return b.emit(name, b.matrix(a.node(target)), b.matrix(a.node(by)))


_related("vector_neut", "x", "y")
_related("vector_proj", "x", "y")
_related("regression_neut", "y", "x")
_related("regression_proj", "y", "x")


@operator("scale_down", _X, number("constant", 0.0))
def _scale_down(b: Builder, a: Bound) -> int:
    x, market = b.matrix(a.node("x")), b.grouping("market")
    step = b.emit("group_scale", x, market.step, params=(market.count,))
    return b.emit("subtract:number", step, params=(a.number("constant"), False))


# --- groups ----------------------------------------------------------------------------------------------------------


def _grouped(name: str) -> None:
    @operator(name, _X, _GROUP)
    def define(b: Builder, a: Bound) -> int:
        group = b.group(a.node("group"))
        return b.emit(name, b.matrix(a.node("x")), group.step, params=(group.count,))


for _name in ("group_count", "group_sum", "group_max", "group_min", "group_std_dev", "group_median"):
    _grouped(_name)


@operator(
    "group_normalize", _X, _GROUP, flag("constantCheck"), number("tolerance", 0.01), number("scale", 1.0)
)
def _group_normalize(b: Builder, a: Bound) -> int:
    if a.flag("constantCheck"):
        raise EvaluationError(
            "group_normalize(): constantCheck is not known here", position=a.node("constantCheck").position
        )
    group = b.group(a.node("group"))
    x = b.matrix(a.node("x"))
    step = b.emit("divide", x, b.emit("group_size", x, group.step, params=(group.count,)))
    return b.emit("multiply:number", step, params=(a.number("scale"), False))


@operator("group_extra", _X, matrix("weight"), _GROUP)
def _group_extra(b: Builder, a: Bound) -> int:
    group = b.group(a.node("group"))
    x, weight = b.matrix(a.node("x")), b.matrix(a.node("weight"))
    mean = b.emit("group_mean", x, weight, group.step, params=(group.count, False))
    mean = b.emit("group_spread", mean, group.step, params=(group.count,))
    return b.emit("if_else", b.emit("is_nan", x), mean, x)


@operator(
    "group_cartesian_product", Parameter("g1", Kind.GROUP), Parameter("g2", Kind.GROUP), returns_group=True
)
def _group_cartesian_product(b: Builder, a: Bound) -> int:
    first, second = b.group(a.node("g1")), b.group(a.node("g2"))
    left = b.emit("to_numbers", first.step)
    left = b.emit("multiply:number", left, params=(float(second.count), False))
    return b.emit("dense", b.emit("add", left, b.emit("to_numbers", second.step)))
