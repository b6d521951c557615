"""Each operator's signature and how it is made of primitives; what it means is told in docs/operators.md.

Nothing here computes: a builder turns bound arguments into steps of the graph.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Protocol

from generator.backtest.errors import EvaluationError
from generator.backtest.plan.binding import Bound, Kind, Parameter, Signature
from generator.backtest.plan.graph import Param
from generator.backtest.semantics import GroupMean, History, Place, Semantics, TsQuantile
from generator.language.ast import Node

_MOST_EDGES = 10_000


@dataclass(frozen=True, slots=True)
class Grouping:
    """A step that gives group codes, and how many groups there can be."""

    step: int
    count: int


class Builder(Protocol):
    """What a definition may ask of the compiler."""

    semantics: Semantics

    def matrix(self, node: Node) -> int:
        """Return the step that gives a tree's matrix; a number becomes a constant one."""
        ...

    def group(self, node: Node) -> Grouping:
        """Return the step that gives a tree's group codes."""
        ...

    def grouping(self, name: str) -> Grouping:
        """Return a group field of the panel."""
        ...

    def inside(self, step: int) -> int:
        """Return a step with NaN outside the universe, if the panel has one."""
        ...

    def emit(self, op: str, *inputs: int, params: tuple[Param, ...] = ()) -> int:
        """Return the number of a step."""
        ...

    def binary(self, op: str, left: Node | int, right: Node | int) -> int:
        """Return a step of elementwise arithmetic, with a number in place of a constant matrix."""
        ...


Definition = Callable[[Builder, Bound], int]


@dataclass(frozen=True, slots=True)
class Operator:
    """A signature and its definition."""

    signature: Signature
    define: Definition
    returns_group: bool = False


OPERATORS: dict[str, Operator] = {}


def matrix(name: str) -> Parameter:
    """Return a parameter that takes values."""
    return Parameter(name, Kind.MATRIX)


def number(name: str, default: float | None = None) -> Parameter:
    """Return a parameter that takes a number."""
    return Parameter(name, Kind.NUMBER, default)


def flag(name: str) -> Parameter:
    """Return a parameter that takes true or false, false by default."""
    return Parameter(name, Kind.FLAG, default=False)


_X = matrix("x")
_Y = matrix("y")
_D = Parameter("d", Kind.DAYS)
_GROUP = Parameter("group", Kind.GROUP)
_FILTER = flag("filter")


def operator(
    name: str, *parameters: Parameter, variadic: bool = False, returns_group: bool = False
) -> Callable[[Definition], Definition]:
    """Return a decorator that puts an operator's definition into OPERATORS."""

    def register(define: Definition) -> Definition:
        OPERATORS[name] = Operator(Signature(name, parameters, variadic), define, returns_group)
        return define

    return register


def window(b: Builder, step: int, x: int, d: int) -> int:
    """Apply what the semantics say about the start of history and about empty windows."""
    if b.semantics.history is History.STRICT and d > 1:
        step = b.emit("hide_start", step, params=(d - 1,))
    if b.semantics.nan_handling:
        step = b.emit("fill_empty", step, b.emit("ts_count", x, params=(d,)))
    return step


# --- arithmetic and logic -------------------------------------------------------------------------------------------


def _unary(name: str) -> None:
    parameter = matrix("input") if name == "is_nan" else _X

    @operator(name, parameter)
    def define(b: Builder, a: Bound) -> int:
        return b.emit(name, b.matrix(a.node(parameter.name)))


for _name in ("abs", "inverse", "log", "reverse", "sign", "sqrt", "not", "is_nan"):
    _unary(_name)


def _chain(name: str, *, neutral: str | None) -> None:
    @operator(name, _X, _Y, *([_FILTER] if neutral else []), variadic=True)
    def define(b: Builder, a: Bound) -> int:
        operands: list[Node | int] = list(a.matrices)
        if neutral and a.flag("filter"):
            operands = [b.emit(neutral, b.matrix(node)) for node in a.matrices]
        result = operands[0]
        for operand in operands[1:]:
            result = b.binary(name, result, operand)
        return b.matrix(result) if not isinstance(result, int) else result


_chain("add", neutral="nan_to_zero")
_chain("subtract", neutral="nan_to_zero")
_chain("multiply", neutral="nan_to_one")
_chain("max", neutral=None)
_chain("min", neutral=None)


@operator("divide", _X, _Y)
def _divide(b: Builder, a: Bound) -> int:
    return b.binary("divide", a.node("x"), a.node("y"))


def _power(name: str) -> None:
    @operator(name, _X, _Y)
    def define(b: Builder, a: Bound) -> int:
        return b.binary(name, a.node("x"), a.node("y"))


_power("power")
_power("signed_power")


def _comparison(name: str) -> None:
    @operator(name, matrix("input1"), matrix("input2"))
    def define(b: Builder, a: Bound) -> int:
        step = b.binary(name, a.node("input1"), a.node("input2"))
        if b.semantics.nan_comparison:
            step = b.emit("add", step, b.binary("unordered", a.node("input1"), a.node("input2")))
        return step


for _name in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"):
    _comparison(_name)


def _logic(name: str) -> None:
    @operator(name, matrix("input1"), matrix("input2"))
    def define(b: Builder, a: Bound) -> int:
        return b.binary(name, a.node("input1"), a.node("input2"))


_logic("and")
_logic("or")


@operator("if_else", matrix("input1"), matrix("input2"), matrix("input3"))
def _if_else(b: Builder, a: Bound) -> int:
    return b.emit("if_else", *(b.matrix(a.node(f"input{i}")) for i in (1, 2, 3)))


# --- time series ----------------------------------------------------------------------------------------------------


def _rolling(name: str) -> None:
    @operator(name, _X, _D)
    def define(b: Builder, a: Bound) -> int:
        x, d = b.matrix(a.node("x")), a.days("d")
        return window(b, b.emit(name, x, params=(d,)), x, d)


for _name in ("ts_sum", "ts_mean", "ts_product", "ts_max", "ts_min", "ts_std_dev", "ts_av_diff"):
    _rolling(_name)


@operator("ts_count_nans", _X, _D)
def _ts_count_nans(b: Builder, a: Bound) -> int:
    d = a.days("d")
    step = b.emit("ts_count_nans", b.matrix(a.node("x")), params=(d,))
    return b.emit("hide_start", step, params=(d - 1,)) if b.semantics.history is History.STRICT else step


@operator("ts_zscore", _X, _D)
def _ts_zscore(b: Builder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.days("d")
    return window(b, b.emit("ts_zscore", x, params=(d, float(b.semantics.ts_zscore_ddof))), x, d)


def _arg(name: str) -> None:
    @operator(name, _X, _D)
    def define(b: Builder, a: Bound) -> int:
        x, d = b.matrix(a.node("x")), a.days("d")
        return window(b, b.emit(name, x, params=(d, b.semantics.place is Place.NEWEST)), x, d)


_arg("ts_arg_max")
_arg("ts_arg_min")


@operator("ts_scale", _X, _D, number("constant", 0.0))
def _ts_scale(b: Builder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.days("d")
    low, high = b.emit("ts_min", x, params=(d,)), b.emit("ts_max", x, params=(d,))
    return window(b, b.emit("ts_scale", x, low, high, params=(a.number("constant"),)), x, d)


@operator("ts_rank", _X, _D, number("constant", 0.0))
def _ts_rank(b: Builder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.days("d")
    return window(b, b.emit("ts_rank", x, params=(d, a.number("constant"), b.semantics.lonely_rank)), x, d)


@operator("ts_quantile", _X, _D, Parameter("driver", Kind.TEXT, "gaussian"))
def _ts_quantile(b: Builder, a: Bound) -> int:
    x, d, driver = b.matrix(a.node("x")), a.days("d"), _driver(a)
    if b.semantics.ts_quantile is TsQuantile.ZSCORE:
        step = b.emit("cdf", b.emit("ts_zscore", x, params=(d, 1.0)), params=(driver,))
    else:
        rank = b.emit("ts_rank", x, params=(d, 0.0, b.semantics.lonely_rank))
        step = b.emit("spread_quantile", rank, b.emit("ts_count", x, params=(d,)), params=(driver,))
    return window(b, step, x, d)


def _driver(a: Bound) -> str:
    driver = a.text("driver").lower()
    if driver not in {"gaussian", "uniform", "cauchy"}:
        raise EvaluationError(
            f"{a.call.name}(): there is no driver {driver!r}",
            position=a.node("driver").position,
            hint="gaussian, uniform or cauchy",
        )
    return driver


@operator("ts_decay_linear", _X, _D, flag("dense"))
def _ts_decay_linear(b: Builder, a: Bound) -> int:
    x, d = b.matrix(a.node("x")), a.days("d")
    return window(b, b.emit("ts_decay_linear", x, params=(d, a.flag("dense"))), x, d)


def _pair(name: str, first: str, second: str) -> None:
    @operator(name, matrix(first), matrix(second), _D)
    def define(b: Builder, a: Bound) -> int:
        x, y, d = b.matrix(a.node("x")), b.matrix(a.node("y")), a.days("d")
        x, y = min(x, y), max(x, y)  # symmetric: one form for both
        step = b.emit(name, x, y, params=(d,))
        both = b.emit("unordered", x, y) if b.semantics.nan_handling else x
        return window(b, step, both, d)


_pair("ts_corr", "x", "y")
_pair("ts_covariance", "y", "x")


@operator(
    "ts_regression",
    matrix("y"),
    matrix("x"),
    _D,
    Parameter("lag", Kind.INTEGER, 0),
    Parameter("rettype", Kind.INTEGER, 0),
)
def _ts_regression(b: Builder, a: Bound) -> int:
    y, x, d = b.matrix(a.node("y")), b.matrix(a.node("x")), a.days("d")
    lag, wanted = a.integer("lag"), a.integer("rettype")
    if lag < 0:
        raise EvaluationError(
            "ts_regression(): a negative lag would look ahead", position=a.node("lag").position
        )
    if not 0 <= wanted <= 9:  # noqa: PLR2004 - BRAIN's ten results
        raise EvaluationError("ts_regression(): rettype is 0 to 9", position=a.node("rettype").position)
    if lag:
        x = b.emit("ts_delay", x, params=(lag,))
    step = b.emit("ts_regression", x, y, params=(d, wanted))
    both = b.emit("unordered", x, y) if b.semantics.nan_handling else x
    return window(b, step, both, d)


def _back(b: Builder, a: Bound, name: str) -> int:
    d = a.integer("d") + b.semantics.delay_offset
    if d < 0:
        raise EvaluationError(f"{name}(): a negative d would look ahead", position=a.node("d").position)
    return d


@operator("ts_delay", _X, Parameter("d", Kind.INTEGER))
def _ts_delay(b: Builder, a: Bound) -> int:
    return b.emit("ts_delay", b.matrix(a.node("x")), params=(_back(b, a, "ts_delay"),))


@operator("ts_delta", _X, Parameter("d", Kind.INTEGER))
def _ts_delta(b: Builder, a: Bound) -> int:
    return b.emit("ts_delta", b.matrix(a.node("x")), params=(_back(b, a, "ts_delta"),))


@operator("ts_backfill", _X, Parameter("lookback", Kind.DAYS), Parameter("k", Kind.INTEGER, 1))
def _ts_backfill(b: Builder, a: Bound) -> int:
    return b.emit("ts_backfill", b.matrix(a.node("x")), params=(a.days("lookback"), a.days("k")))


@operator("kth_element", _X, _D, Parameter("k", Kind.INTEGER), Parameter("ignore", Kind.TEXT, "NAN"))
def _kth_element(b: Builder, a: Bound) -> int:
    words = a.text("ignore").upper().replace(",", " ").split()
    if set(words) - {"NAN", "0"}:
        raise EvaluationError(
            "kth_element(): ignore takes NAN and 0",
            position=a.node("ignore").position,
            hint='such as "NAN 0"',
        )
    params = (a.days("d"), a.days("k"), "NAN" in words, "0" in words)
    return b.emit("kth_element", b.matrix(a.node("x")), params=params)


@operator("last_diff_value", _X, _D)
def _last_diff_value(b: Builder, a: Bound) -> int:
    return b.emit("last_diff_value", b.matrix(a.node("x")), params=(a.days("d"),))


@operator("days_from_last_change", _X)
def _days_from_last_change(b: Builder, a: Bound) -> int:
    first = float(b.semantics.first_day_of_change)
    return b.emit("days_from_last_change", b.matrix(a.node("x")), params=(first,))


@operator("hump", _X, number("hump", 0.01))
def _hump(b: Builder, a: Bound) -> int:
    x = b.matrix(a.node("x"))
    return b.emit("hump", x, b.emit("sum_of_sizes", x), params=(a.number("hump"),))


@operator("ts_step", number("x"))
def _ts_step(b: Builder, a: Bound) -> int:
    return b.emit("ts_step", params=(a.number("x"),))


@operator("trade_when", _X, _Y, matrix("z"))
def _trade_when(b: Builder, a: Bound) -> int:
    return b.emit("trade_when", *(b.matrix(a.node(name)) for name in "xyz"))


# --- across instruments ---------------------------------------------------------------------------------------------


@operator("rank", _X, number("rate", 2.0))
def _rank(b: Builder, a: Bound) -> int:
    a.number("rate")  # BRAIN's trade of exactness for speed; always exact here
    return b.emit("rank", b.matrix(a.node("x")), params=(b.semantics.lonely_rank,))


@operator("quantile", _X, Parameter("driver", Kind.TEXT, "gaussian"), number("sigma", 1.0))
def _quantile(b: Builder, a: Bound) -> int:
    params = (_driver(a), a.number("sigma"), b.semantics.lonely_rank)
    return b.emit("quantile", b.matrix(a.node("x")), params=params)


@operator("zscore", _X)
def _zscore(b: Builder, a: Bound) -> int:
    return b.emit("zscore", b.matrix(a.node("x")))


@operator("normalize", _X, flag("useStd"), number("limit", 0.0))
def _normalize(b: Builder, a: Bound) -> int:
    return b.emit("normalize", b.matrix(a.node("x")), params=(a.flag("useStd"), a.number("limit")))


@operator("winsorize", _X, number("std", 4.0))
def _winsorize(b: Builder, a: Bound) -> int:
    return b.emit("winsorize", b.matrix(a.node("x")), params=(a.number("std"),))


@operator("scale", _X, number("scale", 1.0), number("longscale", 1.0), number("shortscale", 1.0))
def _scale(b: Builder, a: Bound) -> int:
    x = b.matrix(a.node("x"))
    if a.has("longscale") or a.has("shortscale"):
        return b.emit("scale_sides", x, params=(a.number("longscale"), a.number("shortscale")))
    return b.emit("scale", x, params=(a.number("scale"),))


@operator(
    "bucket",
    _X,
    Parameter("range", Kind.TEXT, optional=True),
    Parameter("buckets", Kind.TEXT, optional=True),
    flag("skipBoth"),
    flag("skipBegin"),
    flag("skipEnd"),
    flag("NaNGroup"),
    returns_group=True,
)
def _bucket(b: Builder, a: Bound) -> int:
    edges = _edges(a)
    both = a.flag("skipBoth")
    begin, end = both or a.flag("skipBegin"), both or a.flag("skipEnd")
    return b.emit("bucket", b.matrix(a.node("x")), params=(edges, begin, end, a.flag("NaNGroup")))


def _edges(a: Bound) -> tuple[float, ...]:
    """Read `range` (start, end, step) or `buckets` (the edges), as decimals: 0.3 is 0.3 and not 3 * 0.1."""
    name = "buckets" if a.has("buckets") else "range"
    if not a.has(name):
        raise EvaluationError("bucket() needs range or buckets", position=a.call.position)
    try:
        values = [Decimal(part.strip()) for part in a.text(name).split(",")]
    except InvalidOperation:
        values = []
    if name == "range":
        values = _stretch(values)
    good = 0 < len(values) <= _MOST_EDGES and all(v.is_finite() for v in values)
    if not good or sorted(set(values)) != values:
        raise EvaluationError(
            f"bucket(): {name} cannot be read",
            position=a.node(name).position,
            hint='range="0, 1, 0.1" (start, end, step) or buckets="0.2, 0.5, 0.7" (rising edges)',
        )
    return tuple(float(v) for v in values)


def _stretch(values: list[Decimal]) -> list[Decimal]:
    if len(values) != 3 or not all(v.is_finite() for v in values):  # noqa: PLR2004
        return []
    start, end, step = values
    if step <= 0 or end <= start or (end - start) / step > _MOST_EDGES:
        return []
    count = int((end - start) / step)
    return [start + i * step for i in range(count + 1)]


# --- groups ---------------------------------------------------------------------------------------------------------


@operator("densify", Parameter("x", Kind.GROUP), returns_group=True)
def _densify(b: Builder, a: Bound) -> int:
    return b.emit("dense", b.emit("to_numbers", b.group(a.node("x")).step))


def _grouped(name: str) -> None:
    @operator(name, _X, _GROUP)
    def define(b: Builder, a: Bound) -> int:
        group = b.group(a.node("group"))
        lonely = (b.semantics.lonely_rank,) if name == "group_rank" else ()
        return b.emit(name, b.matrix(a.node("x")), group.step, params=(group.count, *lonely))


for _name in ("group_neutralize", "group_zscore", "group_scale", "group_rank"):
    _grouped(_name)


@operator("group_mean", _X, matrix("weight"), _GROUP)
def _group_mean(b: Builder, a: Bound) -> int:
    group = b.group(a.node("group"))
    harmonic = b.semantics.group_mean is GroupMean.HARMONIC
    inputs = (b.matrix(a.node("x")), b.matrix(a.node("weight")), group.step)
    step = b.emit("group_mean", *inputs, params=(group.count, harmonic))
    if b.semantics.nan_handling:
        step = b.emit("group_spread", step, group.step, params=(group.count,))
    return step


@operator("group_backfill", _X, _GROUP, _D, number("std", 4.0))
def _group_backfill(b: Builder, a: Bound) -> int:
    group = b.group(a.node("group"))
    params = (group.count, a.days("d"), a.number("std"))
    return b.emit("group_backfill", b.matrix(a.node("x")), group.step, params=params)


def _no_vectors(name: str) -> None:
    @operator(name, _X)
    def define(_b: Builder, a: Bound) -> int:
        raise EvaluationError(
            f"{name}() needs a vector field, and a panel of one value a day has none",
            position=a.call.position,
            hint="such a field can only be evaluated on BRAIN",
        )


_no_vectors("vec_avg")
_no_vectors("vec_sum")
