"""Definition of each operator as steps of the graph; docs/operators.md describes its meaning.

Nothing is computed here: a definition turns bound arguments into steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from generator.backtest.errors import EvaluationError
from generator.backtest.plan.graph import Param
from generator.backtest.settings import GroupMean, History, Semantics, TiedExtreme, TsQuantile, Uniform
from generator.language.ast import Node
from generator.language.signature import Bound


@dataclass(frozen=True, slots=True)
class Grouping:
    """A step that computes group codes, and the greatest possible number of groups."""

    step: int
    count: int


class StepBuilder(Protocol):
    """The compiler as definitions see it."""

    semantics: Semantics

    def matrix(self, node: Node) -> int:
        """Return the step that computes a tree's matrix; a number becomes a constant matrix."""
        ...

    def group(self, node: Node) -> Grouping:
        """Return the step that computes a tree's group codes."""
        ...

    def grouping(self, name: str) -> Grouping:
        """Return the step of one of the panel's groupings."""
        ...

    def in_universe(self, step: int) -> int:
        """Return the step with NaN outside the universe; the step itself if the panel has none."""
        ...

    def emit(self, op: str, *inputs: int, params: tuple[Param, ...] = ()) -> int:
        """Return the number of a step."""
        ...

    def binary(self, op: str, left: Node | int, right: Node | int) -> int:
        """Return a step of elementwise arithmetic; a number becomes a parameter instead of a matrix."""
        ...


Definition = Callable[[StepBuilder, Bound], int]


OPERATORS: dict[str, Definition] = {}
"""Definitions by operator name; the parameters are those of the catalogue."""


def operator(name: str) -> Callable[[Definition], Definition]:
    """Return a decorator that registers an operator's definition in OPERATORS."""

    def register(define: Definition) -> Definition:
        OPERATORS[name] = define
        return define

    return register


def window(b: StepBuilder, step: int, x: int, d: int) -> int:
    """Return the step with the semantics' rules for the start of history and for empty windows."""
    if b.semantics.history is History.STRICT and d > 1:
        step = b.emit("hide_start", step, params=(d - 1,))
    if b.semantics.nan_handling:
        step = b.emit("fill_empty", step, b.emit("ts_count", x, params=(d,)))
    return step


# --- arithmetic and logic -------------------------------------------------------------------------------------------


def _unary(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        return b.emit(name, *map(b.matrix, a.nodes()))


for _name in ("abs", "inverse", "log", "reverse", "sign", "sqrt", "not", "is_nan"):
    _unary(_name)


def _chain(name: str, *, neutral: str | None) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        operands: list[Node | int] = list(a.nodes())
        if neutral and a.flag("filter"):
            operands = [b.emit(neutral, b.matrix(node)) for node in a.nodes()]
        result = operands[0]
        for operand in operands[1:]:
            result = b.binary(name, result, operand)
        return b.matrix(result) if not isinstance(result, int) else result


_chain("add", neutral="nan_to_zero")
_chain("subtract", neutral="nan_to_zero")
_chain("multiply", neutral="nan_to_one")
_chain("max", neutral=None)
_chain("min", neutral=None)


@operator("divide")
def _divide(b: StepBuilder, a: Bound) -> int:
    return b.binary("divide", a.node("x"), a.node("y"))


def _power(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        return b.binary(name, a.node("x"), a.node("y"))


_power("power")
_power("signed_power")


def _comparison(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        step = b.binary(name, a.node("input1"), a.node("input2"))
        if b.semantics.nan_comparison:
            step = b.emit("add", step, b.binary("unordered", a.node("input1"), a.node("input2")))
        return step


for _name in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"):
    _comparison(_name)


def _logic(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        return b.binary(name, a.node("input1"), a.node("input2"))


_logic("and")
_logic("or")


@operator("if_else")
def _if_else(b: StepBuilder, a: Bound) -> int:
    return b.emit("if_else", *(b.matrix(a.node(f"input{i}")) for i in (1, 2, 3)))


# --- time series ----------------------------------------------------------------------------------------------------


def _rolling(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        x, d = b.matrix(a.node("x")), a.integer("d")
        return window(b, b.emit(name, x, params=(d,)), x, d)


for _name in ("ts_sum", "ts_mean", "ts_product", "ts_max", "ts_min", "ts_std_dev", "ts_av_diff"):
    _rolling(_name)


@operator("ts_count_nans")
def _ts_count_nans(b: StepBuilder, a: Bound) -> int:
    d = a.integer("d")
    step = b.emit("ts_count_nans", b.matrix(a.node("x")), params=(d,))
    return b.emit("hide_start", step, params=(d - 1,)) if b.semantics.history is History.STRICT else step


@operator("ts_zscore")
def _ts_zscore(b: StepBuilder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.integer("d")
    return window(b, b.emit("ts_zscore", x, params=(d, float(b.semantics.ts_zscore_ddof))), x, d)


def _arg(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        x, d = b.matrix(a.node("x")), a.integer("d")
        return window(b, b.emit(name, x, params=(d, b.semantics.tied_extreme is TiedExtreme.NEWEST)), x, d)


_arg("ts_arg_max")
_arg("ts_arg_min")


@operator("ts_scale")
def _ts_scale(b: StepBuilder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.integer("d")
    low, high = b.emit("ts_min", x, params=(d,)), b.emit("ts_max", x, params=(d,))
    return window(b, b.emit("ts_scale", x, low, high, params=(a.number("constant"),)), x, d)


@operator("ts_rank")
def _ts_rank(b: StepBuilder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.integer("d")
    return window(
        b, b.emit("ts_rank", x, params=(d, a.number("constant"), b.semantics.single_value_rank)), x, d
    )


@operator("ts_quantile")
def _ts_quantile(b: StepBuilder, a: Bound) -> int:
    x, d, driver = b.matrix(a.node("x")), a.integer("d"), a.text("driver")
    if b.semantics.ts_quantile is TsQuantile.ZSCORE:
        step = b.emit("cdf", b.emit("ts_zscore", x, params=(d, 1.0)), params=(driver,))
    else:
        rank = b.emit("ts_rank", x, params=(d, 0.0, b.semantics.single_value_rank))
        step = b.emit("spread_quantile", rank, b.emit("ts_count", x, params=(d,)), params=(driver,))
    return window(b, step, x, d)


@operator("ts_decay_linear")
def _ts_decay_linear(b: StepBuilder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.integer("d")
    return window(b, b.emit("ts_decay_linear", x, params=(d, a.flag("dense"))), x, d)


def _pair(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        x, y, d = b.matrix(a.node("x")), b.matrix(a.node("y")), a.integer("d")
        x, y = min(x, y), max(x, y)  # symmetric: both orders share one step
        step = b.emit(name, x, y, params=(d,))
        both = b.emit("unordered", x, y) if b.semantics.nan_handling else x
        return window(b, step, both, d)


_pair("ts_corr")
_pair("ts_covariance")


@operator("ts_regression")
def _ts_regression(b: StepBuilder, a: Bound) -> int:
    y, x, d = b.matrix(a.node("y")), b.matrix(a.node("x")), a.integer("d")
    lag, rettype = a.integer("lag"), a.integer("rettype")
    if lag:
        x = b.emit("ts_delay", x, params=(lag,))
    step = b.emit("ts_regression", x, y, params=(d, rettype))
    both = b.emit("unordered", x, y) if b.semantics.nan_handling else x
    return window(b, step, both, d)


@operator("ts_delay")
def _ts_delay(b: StepBuilder, a: Bound) -> int:
    return b.emit("ts_delay", b.matrix(a.node("x")), params=(a.integer("d") + b.semantics.delay_offset,))


@operator("ts_delta")
def _ts_delta(b: StepBuilder, a: Bound) -> int:
    return b.emit("ts_delta", b.matrix(a.node("x")), params=(a.integer("d") + b.semantics.delay_offset,))


@operator("ts_backfill")
def _ts_backfill(b: StepBuilder, a: Bound) -> int:
    x, d, k, ignored = b.matrix(a.node("x")), a.integer("lookback"), a.integer("k"), a.text("ignore").split()
    if ignored == ["NAN"]:
        return b.emit("ts_backfill", x, params=(d, k))
    missing = b.emit("equal:number", x, params=(0.0, False))
    if "NAN" in ignored:
        missing = b.emit("or", missing, b.emit("is_nan", x))
    latest = b.emit("kth_element", x, params=(d, k, "NAN" in ignored, True))
    return b.emit("if_else", missing, latest, x)


@operator("kth_element")
def _kth_element(b: StepBuilder, a: Bound) -> int:
    words = a.text("ignore").split()
    params = (a.integer("d"), a.integer("k"), "NAN" in words, "0" in words)
    return b.emit("kth_element", b.matrix(a.node("x")), params=params)


@operator("last_diff_value")
def _last_diff_value(b: StepBuilder, a: Bound) -> int:
    return b.emit("last_diff_value", b.matrix(a.node("x")), params=(a.integer("d"),))


@operator("days_from_last_change")
def _days_from_last_change(b: StepBuilder, a: Bound) -> int:
    first = float(b.semantics.first_day_of_change)
    return b.emit("days_from_last_change", b.matrix(a.node("x")), params=(first,))


@operator("hump")
def _hump(b: StepBuilder, a: Bound) -> int:
    x = b.matrix(a.node("x"))
    return b.emit("hump", x, b.emit("sum_of_sizes", x), params=(a.number("hump"),))


@operator("ts_step")
def _ts_step(b: StepBuilder, a: Bound) -> int:
    return b.emit("ts_step", params=(a.number("x"),))


@operator("trade_when")
def _trade_when(b: StepBuilder, a: Bound) -> int:
    return b.emit("trade_when", *(b.matrix(a.node(name)) for name in "xyz"))


# --- across instruments ---------------------------------------------------------------------------------------------


@operator("rank")
def _rank(b: StepBuilder, a: Bound) -> int:
    # BRAIN's `rate` trades exactness for speed; ranks are always exact here.
    return b.emit("rank", b.matrix(a.node("x")), params=(b.semantics.single_value_rank,))


@operator("quantile")
def _quantile(b: StepBuilder, a: Bound) -> int:
    driver, sigma = a.text("driver"), a.number("sigma")
    step = b.emit("quantile", b.matrix(a.node("x")), params=(driver, sigma, b.semantics.single_value_rank))
    if driver == "uniform" and b.semantics.uniform is Uniform.CENTRED:
        return b.emit("subtract:number", step, params=(0.5 * sigma, False))
    return step


@operator("zscore")
def _zscore(b: StepBuilder, a: Bound) -> int:
    return b.emit("zscore", b.matrix(a.node("x")))


@operator("normalize")
def _normalize(b: StepBuilder, a: Bound) -> int:
    return b.emit("normalize", b.matrix(a.node("x")), params=(a.flag("useStd"), a.number("limit")))


@operator("winsorize")
def _winsorize(b: StepBuilder, a: Bound) -> int:
    return b.emit("winsorize", b.matrix(a.node("x")), params=(a.number("std"),))


@operator("scale")
def _scale(b: StepBuilder, a: Bound) -> int:
    x, sides = b.matrix(a.node("x")), (a.number("longscale"), a.number("shortscale"))
    if sides != (1.0, 1.0):
        return b.emit("scale_sides", x, params=sides)
    return b.emit("scale", x, params=(a.number("scale"),))


@operator("bucket")
def _bucket(b: StepBuilder, a: Bound) -> int:
    edges = _edges(a)
    both = a.flag("skipBoth")
    begin, end = both or a.flag("skipBegin"), both or a.flag("skipEnd")
    return b.emit("bucket", b.matrix(a.node("x")), params=(edges, begin, end, a.flag("NaNGroup")))


def _edges(a: Bound) -> tuple[float, ...]:
    """Return the edges from `buckets`, or from `range` (start, end, step).

    The steps are added as decimals: 3 * 0.1 as floats is not 0.3.
    """
    name = "buckets" if a.has("buckets") else "range"
    values = [Decimal(part) for part in a.text(name).split(",")]
    if name == "range":
        start, end, step = values
        values = [start + i * step for i in range(int((end - start) / step) + 1)]
    return tuple(map(float, values))


# --- groups ---------------------------------------------------------------------------------------------------------


@operator("densify")
def _densify(b: StepBuilder, a: Bound) -> int:
    return b.emit("dense", b.emit("to_numbers", b.group(a.node("x")).step))


def _grouped(name: str) -> None:
    @operator(name)
    def define(b: StepBuilder, a: Bound) -> int:
        group = b.group(a.node("group"))
        single = (b.semantics.single_value_rank,) if name == "group_rank" else ()
        return b.emit(name, b.matrix(a.node("x")), group.step, params=(group.count, *single))


for _name in ("group_neutralize", "group_zscore", "group_scale", "group_rank"):
    _grouped(_name)


@operator("group_mean")
def _group_mean(b: StepBuilder, a: Bound) -> int:
    group = b.group(a.node("group"))
    harmonic = b.semantics.group_mean is GroupMean.HARMONIC
    inputs = (b.matrix(a.node("x")), b.matrix(a.node("weight")), group.step)
    step = b.emit("group_mean", *inputs, params=(group.count, harmonic))
    if b.semantics.nan_handling:
        step = b.emit("group_spread", step, group.step, params=(group.count,))
    return step


@operator("group_backfill")
def _group_backfill(b: StepBuilder, a: Bound) -> int:
    group = b.group(a.node("group"))
    params = (group.count, a.integer("d"), a.number("std"))
    return b.emit("group_backfill", b.matrix(a.node("x")), group.step, params=params)


def _no_vectors(name: str) -> None:
    @operator(name)
    def define(_b: StepBuilder, a: Bound) -> int:
        raise EvaluationError(
            f"{name}() needs a vector field, and a panel of one value a day has none",
            position=a.call.position,
            hint="evaluate such a field on BRAIN",
        )


_no_vectors("vec_avg")
_no_vectors("vec_sum")
