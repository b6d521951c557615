"""The table of primitives: the axis along which each is cut for the cores, and its kernel."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from generator.backtest.kernels import (
    cross_section,
    distributions,
    elementwise,
    groups,
    history,
    moments,
    pairs,
    portfolio,
    rank,
    rolling,
)
from generator.backtest.plan.graph import Param, Step


class Axis(Enum):
    """The parts of a result that can be computed independently."""

    COLUMNS = "columns"
    """Whole columns, for an operator over time."""
    ROWS = "rows"
    """Whole rows, for an operator across instruments or on single values."""
    PAST = "past"
    """Rows of the output from complete inputs, for an operator that reads earlier days. Its phases are those of ROWS."""
    PANEL = "panel"
    """As PAST, with larger blocks: each block repeats some computation."""


class Form(Enum):
    """The kinds of results."""

    VALUES = "values"
    CODES = "codes"
    DAILY = "daily"
    """A few float64 figures a day instead of a matrix."""


Kernel = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Primitive:
    """A kernel called as kernel(*inputs, out, first, end, *fixed, *params), cut along the axis.

    With ROWS, inputs and `out` are the block's rows, without `first` and `end`. With PAST and PANEL, only `out` is the
    block's rows. `read` turns a step's parameters into the kernel's. The kernel of a `signed` primitive takes the
    step's sign last.
    """

    axis: Axis
    kernel: Kernel
    fixed: tuple[Any, ...] = ()
    form: Form = Form.VALUES
    read: Callable[[tuple[Param, ...]], tuple[Any, ...]] = tuple
    signed: bool = False

    def arguments(self, step: Step) -> tuple[Any, ...]:
        """Return the kernel's arguments after the bounds."""
        return (*self.fixed, *self.read(step.params), *((step.sign,) if self.signed else ()))


_DRIVERS = {
    "gaussian": distributions.GAUSSIAN,
    "uniform": distributions.UNIFORM,
    "cauchy": distributions.CAUCHY,
}


def _driver_first(params: tuple[Param, ...]) -> tuple[Any, ...]:
    return (_DRIVERS[str(params[0])], *params[1:])


def _edges_first(params: tuple[Param, ...]) -> tuple[Any, ...]:
    return (np.array(params[0], dtype=np.float64), *params[1:])


def _after_rettype(params: tuple[Param, ...]) -> tuple[Any, ...]:
    days, wanted = params
    return (days, pairs.REGRESSION + int(wanted), 1.0)  # type: ignore[arg-type]


def _days_with(*fixed: Any) -> Callable[[tuple[Param, ...]], tuple[Any, ...]]:
    """Put constants after the look-back, where rolling kernels take their mode."""
    return lambda params: (params[0], *fixed, *params[1:])


def _rolling(kernel: Kernel, *fixed: Any, signed: bool = False) -> Primitive:
    return Primitive(Axis.COLUMNS, kernel, read=_days_with(*fixed), signed=signed)


PRIMITIVES: dict[str, Primitive] = {
    **{name: Primitive(Axis.ROWS, kernel) for name, kernel in elementwise.UNARY.items()},
    **{name: Primitive(Axis.ROWS, kernel) for name, kernel in elementwise.BINARY.items()},
    **{name + ":number": Primitive(Axis.ROWS, kernel) for name, kernel in elementwise.WITH_NUMBER.items()},
    "nan_to_zero": Primitive(Axis.ROWS, elementwise.fill_nan, (0.0,)),
    "nan_to_one": Primitive(Axis.ROWS, elementwise.fill_nan, (1.0,)),
    "purify": Primitive(Axis.ROWS, elementwise.purify),
    "if_else": Primitive(Axis.ROWS, elementwise.choose),
    "fill": Primitive(Axis.ROWS, elementwise.fill),
    "ts_step": Primitive(Axis.PAST, rolling.count_days),
    "hide_start": Primitive(Axis.COLUMNS, rolling.hide_start),
    "fill_empty": Primitive(Axis.ROWS, elementwise.fill_empty),
    "mask_outside": Primitive(Axis.ROWS, elementwise.mask_outside),
    "spread_quantile": Primitive(Axis.ROWS, rank.spread_quantile, read=_driver_first),
    "cdf": Primitive(Axis.ROWS, rank.spread_cdf, read=_driver_first),
    "ts_sum": _rolling(rolling.rolling_total, rolling.SUM),
    "ts_mean": _rolling(rolling.rolling_total, rolling.MEAN),
    "ts_product": _rolling(rolling.rolling_total, rolling.PRODUCT),
    "ts_count_nans": _rolling(rolling.rolling_total, rolling.COUNT_NANS),
    "ts_count": _rolling(rolling.rolling_total, rolling.COUNT),
    "ts_max": _rolling(rolling.rolling_extreme, True),  # noqa: FBT003 - largest
    "ts_min": _rolling(rolling.rolling_extreme, False),  # noqa: FBT003
    "ts_arg_max": _rolling(rolling.rolling_place, True),  # noqa: FBT003
    "ts_arg_min": _rolling(rolling.rolling_place, False),  # noqa: FBT003
    "ts_std_dev": _rolling(moments.rolling_moment, moments.STD_DEV, 0.0, signed=True),
    "ts_av_diff": _rolling(moments.rolling_moment, moments.AV_DIFF, 0.0, signed=True),
    "ts_zscore": _rolling(moments.rolling_moment, moments.ZSCORE, signed=True),
    "ts_covariance": _rolling(pairs.rolling_pair, pairs.COVARIANCE, signed=True),
    "ts_corr": _rolling(pairs.rolling_pair, pairs.CORRELATION, signed=True),
    "ts_regression": Primitive(Axis.COLUMNS, pairs.rolling_pair, read=_after_rettype),
    "ts_scale": Primitive(Axis.COLUMNS, rolling.rolling_scale),
    "ts_delay": Primitive(Axis.PAST, rolling.delay),
    "ts_delta": Primitive(Axis.PAST, rolling.delta, signed=True),
    "ts_decay_linear": Primitive(Axis.COLUMNS, rolling.decay_linear),
    "ts_rank": Primitive(Axis.COLUMNS, rank.ts_rank, signed=True),
    "ts_backfill": Primitive(Axis.COLUMNS, history.backfill),
    "kth_element": Primitive(Axis.COLUMNS, history.kth_element),
    "last_diff_value": Primitive(Axis.COLUMNS, history.last_different),
    "days_from_last_change": Primitive(Axis.COLUMNS, history.days_since_change),
    "ts_median": Primitive(Axis.COLUMNS, history.median),
    "ts_skewness": _rolling(history.shape, history.SKEWNESS, 0.0),
    "ts_kurtosis": _rolling(history.shape, history.KURTOSIS),
    "ts_decay_exp_window": Primitive(Axis.COLUMNS, history.decay_exponential),
    "hump": Primitive(Axis.COLUMNS, history.hump),
    "trade_when": Primitive(Axis.COLUMNS, history.trade_when),
    "rank": Primitive(Axis.ROWS, rank.rank, signed=True),
    "quantile": Primitive(Axis.ROWS, rank.quantile, read=_driver_first),
    "dense": Primitive(Axis.ROWS, rank.dense),
    "zscore": Primitive(Axis.ROWS, cross_section.zscore),
    "normalize": Primitive(Axis.ROWS, cross_section.normalize),
    "winsorize": Primitive(Axis.ROWS, cross_section.winsorize),
    "scale": Primitive(Axis.ROWS, cross_section.scale),
    "scale_sides": Primitive(Axis.ROWS, cross_section.scale_sides),
    "sum_of_sizes": Primitive(Axis.ROWS, cross_section.sum_of_sizes),
    "bucket": Primitive(Axis.ROWS, cross_section.bucket, read=_edges_first),
    "vector_proj": Primitive(Axis.ROWS, cross_section.relate, (False, False)),
    "vector_neut": Primitive(Axis.ROWS, cross_section.relate, (False, True)),
    "regression_proj": Primitive(Axis.ROWS, cross_section.relate, (True, False)),
    "regression_neut": Primitive(Axis.ROWS, cross_section.relate, (True, True)),
    **{
        name: Primitive(Axis.ROWS, groups.aggregate, (mode,))
        for name, mode in (
            ("group_count", groups.COUNT),
            ("group_sum", groups.SUM),
            ("group_max", groups.MAX),
            ("group_min", groups.MIN),
            ("group_std_dev", groups.STD_DEV),
            ("group_size", groups.SIZE),
        )
    },
    "group_median": Primitive(Axis.ROWS, groups.median),
    "group_neutralize": Primitive(Axis.ROWS, groups.neutralize),
    "group_zscore": Primitive(Axis.ROWS, groups.zscore),
    "group_scale": Primitive(Axis.ROWS, groups.scale),
    "group_rank": Primitive(Axis.ROWS, rank.group_rank),
    "group_mean": Primitive(Axis.ROWS, groups.mean),
    "group_spread": Primitive(Axis.ROWS, groups.spread),
    "group_backfill": Primitive(Axis.PANEL, groups.backfill),
    "to_codes": Primitive(Axis.ROWS, groups.to_codes, form=Form.CODES),
    "to_numbers": Primitive(Axis.ROWS, groups.to_numbers),
    "weigh": Primitive(Axis.ROWS, portfolio.weigh),
    "truncate": Primitive(Axis.ROWS, portfolio.truncate),
    "most_traded": Primitive(Axis.ROWS, portfolio.most_traded, form=Form.CODES),
    "judge": Primitive(Axis.PANEL, portfolio.judge, form=Form.DAILY),
}

SOURCES = frozenset({"field", "group"})
