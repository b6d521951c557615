"""The worked examples of BRAIN's pages, recomputed; open choices are one switch each."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from generator.backtest.panel import Panel
from generator.backtest.plan.operators import OPERATORS
from generator.backtest.run.engine import Engine
from generator.backtest.settings import (
    GroupMean,
    History,
    Semantics,
    TiedExtreme,
    TruncateTotal,
    TsQuantile,
    Uniform,
)
from generator.catalogue import load_catalogue
from generator.language import parse
from tools.operators_page import OPEN, manual

PAGE = Path(__file__).parents[3] / "docs" / "operators.md"
Row = Sequence[float]


def panel(**fields: Sequence[Row]) -> Panel:
    arrays = {name: np.array(rows, dtype=float) for name, rows in fields.items()}
    days, instruments = next(iter(arrays.values())).shape
    return Panel(
        dates=np.datetime64("2020-01-01") + np.arange(days),
        symbols=tuple(map(str, range(instruments))),
        fields=arrays,
        groups={"sector": np.zeros((days, instruments), np.int32)},
        group_names={"sector": ("all",)},
    )


def value(text: str, where: Panel, semantics: Semantics | None = None) -> np.ndarray:
    tree = parse(text, load_catalogue(higher=True))
    return Engine(where, threads=1, semantics=semantics).values([tree])[0]


def across(text: str, close: Row, open_: Row = (), semantics: Semantics | None = None) -> list[float]:
    """The operator over one day's instruments."""
    return [float(v) for v in value(text, panel(close=[close], open=[open_ or close]), semantics)[0]]


def through(text: str, close: Row, open_: Row = (), semantics: Semantics | None = None) -> float:
    """The operator's value on the last of several days, oldest first."""
    columns = {"close": [[v] for v in close], "open": [[v] for v in open_ or close]}
    return float(value(text, panel(**columns), semantics)[-1, 0])


ACROSS: list[tuple[str, Row, Row, Row, float]] = [
    ("rank(close)", (4, 3, 6, 10, 2), (), (0.5, 0.25, 0.75, 1, 0), 1e-12),
    ("zscore(close)", (100, 0, 50, 60, 25), (), (1.57, -1.39, 0.09, 0.39, -0.65), 0.01),
    ("group_zscore(close, sector)", (100, 0, 50, 60, 25), (), (1.57, -1.39, 0.09, 0.39, -0.65), 0.01),
    ("winsorize(close, std=1)", (2, 4, 5, 6, 3, 8, 10), (), (2.81, 4, 5, 6, 3, 8, 8.03), 0.011),
    ("normalize(close, useStd=true)", (3, 5, 6, 2), (), (-0.55, 0.55, 1.10, -1.10), 0.005),
    ("normalize(close)", (3, 5, 6, 2), (), (-1, 1, 2, -2), 1e-12),
    ("vector_neut(close, open)", (1, 2, 3), (3, 4, 5), (-0.56, -0.08, 0.4), 1e-12),
    ("scale(close)", (1, -1, 2), (), (0.25, -0.25, 0.5), 1e-12),
    ('densify(bucket(close, buckets="0.2,0.5,0.7"))', (0.1, 0.3, 0.6, 0.8), (), (0, 1, 2, 3), 0),
    ('bucket(close, buckets="0.2,0.5,0.7")', (0.1, 0.3, 0.6, 0.8), (), (0, 1, 2, 3), 0),
    ("quantile(close, driver=uniform)", (4, 3, 6, 10, 2), (), (0, -0.15, 0.15, 0.3, -0.3), 1e-12),
    ("quantile(close, driver=uniform)", (0.2, 0.5, -0.1, 0.8, 0.3), (), (-0.15, 0.15, -0.3, 0.3, 0), 1e-12),
    ("quantile(close, driver=uniform, sigma=2)", (4, 3, 6, 10, 2), (), (0, -0.3, 0.3, 0.6, -0.6), 1e-12),
    ("right_tail(close, minimum=0.5)", (0.1, 0.3, 0.5, 0.7, 0.9), (), (math.nan, math.nan, 0.5, 0.7, 0.9), 0),
    ("left_tail(close, maximum=0.5)", (0.1, 0.3, 0.5, 0.7, 0.9), (), (0.1, 0.3, 0.5, math.nan, math.nan), 0),
    ("tail(close, lower=0.2, upper=0.8, newval=nan)", (0.1, 0.3, 0.8), (), (0.1, math.nan, 0.8), 0),
    ("truncate(close, maxPercent=0.5)", (3, 7, 20, 6), (), (3, 7, 18, 6), 1e-12),
    ("truncate(close, maxPercent=0.25)", (-3, 7, -20, 10), (), (-3, 7, -10, 10), 1e-12),
    ("truncate(close, maxPercent=0.3)", (math.inf, math.nan, 6, -4), (), (3, math.nan, 3, -3), 1e-12),
    ("truncate(close)", (100, -50, 50), (), (2, -2, 2), 1e-12),
]


@pytest.mark.parametrize(("text", "close", "open_", "wanted", "digits"), ACROSS)
def test_a_day_of_instruments(text: str, close: Row, open_: Row, wanted: Row, digits: float) -> None:
    assert across(text, close, open_) == pytest.approx(wanted, abs=digits, nan_ok=True)


THROUGH: list[tuple[str, Row, Row, float, float]] = [
    ("ts_rank(close, 5)", (10, 12, 11, 15, 13), (), 0.75, 1e-12),
    ("ts_rank(close, 3)", (100, 0, 200), (), 1.0, 1e-12),
    ("ts_rank(close, 3)", (0, 200, 100), (), 0.5, 1e-12),
    ("ts_std_dev(close, 5)", (0.03, 0, -0.01, 0.02, 0.01), (), 0.0141, 5e-5),
    ("ts_covariance(close, open, 5)", (2, 4, 6, 8, 10), (1, 3, 5, 7, 9), 8, 1e-12),
    ("ts_corr(close, open, 7)", (2, 3, 5, 6, 3, 8, 10), (100, 190, 150, 180, 210, 220, 240), 0.6891, 5e-5),
    ("ts_decay_linear(close, 3)", (6, 8, 10), (), 8.67, 0.005),
    ("ts_decay_linear(close, 3)", (6, math.nan, 10), (), 6, 1e-12),
    ("ts_decay_linear(close, 3, dense=true)", (6, math.nan, 10), (), 9, 1e-12),
    ("ts_arg_max(close, 6)", (4, 9, 5, 8, 2, 6), (), 4, 0),
    ("ts_arg_min(close, 6)", (4, 9, 5, 8, 2, 6), (), 1, 0),
    ("ts_delta(close, 2)", (1, 4, 9), (), 8, 0),
    ("ts_zscore(close, 5)", (0, 50, 60, 25, 100), (), 1.57, 0.01),
]


@pytest.mark.parametrize(("text", "close", "open_", "wanted", "digits"), THROUGH)
def test_the_days_of_an_instrument(text: str, close: Row, open_: Row, wanted: float, digits: float) -> None:
    assert through(text, close, open_) == pytest.approx(wanted, abs=digits)


def test_hump_moves_by_no_more_than_its_limit() -> None:
    found = value("hump(close, hump=0.3)", panel(close=[[2], [5]]))
    assert found[:, 0].tolist() == [2, 3.5]  # the limit is 0.3 * 5 = 1.5


def test_trade_when_leaves_enters_and_holds() -> None:
    where = panel(
        close=[[0], [1], [0], [0], [0]], open=[[5], [6], [7], [8], [9]], high=[[0], [0], [0], [1], [0]]
    )
    found = value("trade_when(close, open, high)", where)[:, 0]
    np.testing.assert_array_equal(found, [np.nan, 6, 6, np.nan, np.nan])


def test_days_before_the_panel_are_not_counted_as_missing_and_days_before_a_listing_are() -> None:
    close = [[1, np.nan], [2, np.nan], [np.nan, 3], [4, 4]]
    found = value("ts_count_nans(close, 3)", panel(close=close))
    assert found.T.tolist() == [[0, 0, 1, 1], [1, 2, 2, 1]]


@pytest.mark.parametrize("day", range(3))
def test_a_window_with_no_value_at_the_panels_start_counts_as_empty(day: int) -> None:
    where = panel(close=[[np.nan], [np.nan], [5]])
    found = value("ts_mean(close, 4)", where, Semantics(nan_handling=True))
    assert found[day, 0] == (0, 0, 5)[day]


def test_truncate_may_take_the_plain_sum() -> None:
    switched = Semantics(truncate_total=TruncateTotal.SUM)
    assert across("truncate(close, maxPercent=0.5)", (3, 7, 20, 6), (), switched) == [3, 7, 18, 6]
    assert across("truncate(close, maxPercent=0.5)", (-30, 10, 40), (), switched) == [-30, 10, 10]


SWITCHES: list[tuple[Semantics, str, Row, float, float]] = [
    (Semantics(ts_zscore_ddof=1), "ts_zscore(close, 5)", (0, 50, 60, 25, 100), 1.40, 0.01),
    (Semantics(ts_quantile=TsQuantile.ZSCORE), "ts_quantile(close, 3)", (1, 2, 3), 0.8413, 5e-5),
    (Semantics(tied_extreme=TiedExtreme.OLDEST), "ts_arg_max(close, 3)", (7, 7, 1), 2, 0),
    (Semantics(tied_extreme=TiedExtreme.NEWEST), "ts_arg_max(close, 3)", (7, 7, 1), 1, 0),
    (Semantics(history=History.STRICT), "ts_mean(close, 4)", (1, 2, 3), math.nan, 0),
    (Semantics(history=History.STRICT), "ts_mean(close, 3)", (1, 2, 3), 2, 1e-12),
    (Semantics(first_day_of_change=1), "days_from_last_change(close)", (1, 2, 2), 2, 0),
    (Semantics(delay_offset=-1), "ts_delay(close, 2)", (1, 2, 3), 2, 0),
    (Semantics(single_value_rank=0.5), "ts_rank(close, 3)", (math.nan, math.nan, 3), 0.5, 0),
    (Semantics(nan_comparison=True), "close > 1", (1, 2, math.nan), math.nan, 0),
    (Semantics(nan_handling=True), "ts_mean(close, 2)", (1, math.nan, math.nan), 0, 0),
    (Semantics(kurtosis_of_normal=0.0), "ts_kurtosis(close, 2)", (1, 2), 1, 1e-12),
]


@pytest.mark.parametrize(("semantics", "text", "close", "wanted", "digits"), SWITCHES)
def test_each_open_choice_has_a_switch(
    semantics: Semantics, text: str, close: Row, wanted: float, digits: float
) -> None:
    assert through(text, close, (), semantics) == pytest.approx(wanted, abs=digits, nan_ok=True)


def test_the_uniform_driver_may_leave_the_rank_as_it_is() -> None:
    plain = Semantics(uniform=Uniform.RANK)
    found = across("quantile(close, driver=uniform)", (0.2, 0.5, -0.1, 0.8, 0.3), (), plain)
    assert found == pytest.approx([0.35, 0.65, 0.2, 0.8, 0.5])


def test_the_harmonic_group_mean() -> None:
    found = across("group_mean(close, 1, sector)", (1, 2, 4), (), Semantics(group_mean=GroupMean.HARMONIC))
    assert found == pytest.approx([3 / 1.75] * 3)


def test_the_page_is_generated_from_the_catalogue() -> None:
    assert PAGE.read_text(encoding="utf-8") == manual()
    assert OPEN.keys() == {field.name for field in dataclasses.fields(Semantics)}


def test_every_base_operator_can_be_evaluated() -> None:
    assert load_catalogue().operators.keys() - OPERATORS.keys() == set()
    assert OPERATORS.keys() - load_catalogue(higher=True).operators.keys() == set()
