"""From values to figures, beside the pipeline written out slowly; and that nothing looks ahead."""

import math
import warnings
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from generator.backtest.errors import EvaluationError
from generator.backtest.panel import Panel, with_derived
from generator.backtest.result.evaluate import Evaluation, Performance, backtest, evaluate
from generator.backtest.result.metrics import (
    Kept,
    Result,
    correlation,
    drawdown_of,
    fitness_of,
    grade_of,
    sharpe_of,
)
from generator.backtest.run.engine import Engine
from generator.backtest.settings import AlphaSettings, Neutralization, Truncation, usable_neutralization
from generator.backtest.synthetic import synthetic_panel
from generator.catalogue import load_catalogue
from generator.language import Node, parse

Matrix = npt.NDArray[np.float64]


def tree(text: str) -> Node:
    return parse(text, load_catalogue(higher=True))


def made(panel: Panel, settings: AlphaSettings, text: str = "rank(-ts_delta(close, 3))") -> Performance:
    [found] = evaluate([tree(text)], panel, settings)
    assert isinstance(found, Evaluation), found
    return found.performance


def unit(weights: Matrix) -> Matrix:
    size = np.abs(weights).sum()
    return weights / size if size > 0 else weights


def slow_positions(values: Matrix, panel: Panel, settings: AlphaSettings) -> Matrix:
    """BRAIN's steps, a day at a time."""
    days, n = values.shape
    known = np.zeros(values.shape)
    for t in range(days):
        day = values[t - settings.delay].copy() if t >= settings.delay else np.full(n, np.nan)
        if settings.neutralization is not Neutralization.NONE:
            codes = panel.group_codes(settings.neutralization.value)[t]
            for k in set(codes.tolist()):
                members = (codes == k) & np.isfinite(day)
                if members.any():
                    day[members] = np.nan if k < 0 else day[members] - day[members].mean()
        known[t] = unit(np.where(np.isfinite(day), day, 0.0))

    def clip(weights: Matrix) -> Matrix:
        if not settings.truncation:
            return weights
        clipped = np.clip(weights, -settings.truncation, settings.truncation)
        return unit(clipped) if settings.rescale_after_truncation else clipped

    if settings.clip_at is Truncation.BEFORE_DECAY:
        known = np.array([clip(day) for day in known])
    if settings.decay > 1:
        shares = np.arange(settings.decay, 0, -1) / (settings.decay * (settings.decay + 1) / 2)
        known = np.array(
            [sum(shares[i] * known[t - i] for i in range(min(settings.decay, t + 1))) for t in range(days)]
        )
        known = np.array([unit(day) for day in known]) if settings.rescale_after_decay else known
    if settings.clip_at is Truncation.AFTER_DECAY:
        known = np.array([clip(day) for day in known])
    return known


SETTINGS = [
    AlphaSettings(),
    AlphaSettings(delay=0, neutralization=Neutralization.NONE, truncation=0),
    AlphaSettings(decay=5, neutralization=Neutralization.MARKET, truncation=0.05),
    AlphaSettings(
        decay=4, neutralization=Neutralization.SECTOR, truncation=0.03, clip_at=Truncation.BEFORE_DECAY
    ),
    AlphaSettings(neutralization=Neutralization.SUBINDUSTRY, truncation=0.5),
    AlphaSettings(truncation=0.04, rescale_after_truncation=False),
    AlphaSettings(decay=6, truncation=0.9, rescale_after_decay=False),
]


def slow_part_pnl(weights: Matrix, panel: Panel) -> Matrix:
    """What the most traded third earns, a day at a time."""
    close, volume, returns = (panel.fields[name] for name in ("close", "volume", "returns"))
    pnl = np.zeros(len(weights) - 1)
    for t in range(20, len(pnl)):  # the first days have no traded value of 20 days before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            traded = np.nanmean((close * volume)[t - 20 : t], axis=0)
        known = np.isfinite(traded)
        ranks = np.full(len(traded), -1.0)
        ranks[known] = np.argsort(np.argsort(traded[known])) / (known.sum() - 1)
        chosen = ranks >= 1 - 1 / 3
        part = np.where(chosen, weights[t] - weights[t][chosen].mean(), 0.0)
        pnl[t] = (unit(part) * np.nan_to_num(returns[t + 1])).sum()
    return pnl


@pytest.mark.parametrize(
    "settings", SETTINGS, ids=lambda s: f"{s.neutralization.value}-{s.decay}-{s.truncation}"
)
def test_figures_are_those_of_the_steps_written_out(settings: AlphaSettings) -> None:
    panel = synthetic_panel(days=120, instruments=60, seed=3)
    text = "rank(-ts_delta(close, 3))"
    [values] = Engine(panel).values([tree(text)])
    weights = slow_positions(values, panel, settings)
    gains = np.nan_to_num(panel.fields["returns"][1:])
    pnl = (weights[:-1] * gains).sum(axis=1)
    before = np.vstack([np.zeros(weights.shape[1]), weights[:-1]])
    traded = np.abs(weights - before).sum(axis=1)[:-1]
    first = int(np.flatnonzero((weights != 0).any(axis=1))[0])
    pnl, traded = pnl[first:], traded[first:]
    found = made(panel, settings, text)
    np.testing.assert_allclose(found.pnl, pnl, rtol=1e-9, atol=1e-15)
    figures = found.figures
    assert figures.days == len(pnl)
    assert figures.sharpe == pytest.approx(math.sqrt(252) * pnl.mean() / pnl.std(ddof=1))
    assert figures.turnover == pytest.approx(traded.mean())
    assert figures.returns == pytest.approx(pnl.mean() * 250 * 2)
    assert figures.margin == pytest.approx(pnl.sum() / traded.sum())
    assert figures.fitness == pytest.approx(
        figures.sharpe * math.sqrt(abs(figures.returns) / max(figures.turnover, 0.125))
    )
    total = np.concatenate([[0.0], np.cumsum(pnl)])
    assert figures.drawdown == pytest.approx(
        2 * max((total[: i + 1].max() - total[i]) for i in range(len(total)))
    )
    assert figures.long_count == round(float((weights[first:-1] > 0).sum(axis=1).mean()))
    assert figures.short_count == round(float((weights[first:-1] < 0).sum(axis=1).mean()))
    assert sum(row.days for _, row in found.yearly) == figures.days
    assert sum(row.pnl for _, row in found.yearly) == pytest.approx(figures.pnl)


@pytest.mark.parametrize("settings", [SETTINGS[0], SETTINGS[2]], ids=["at once", "decayed"])
def test_the_sub_universe_is_the_most_traded_third_neutralized(settings: AlphaSettings) -> None:
    panel = synthetic_panel(days=150, instruments=60, seed=3)
    text = "rank(-ts_delta(close, 20))"
    [values] = Engine(panel).values([tree(text)])
    weights = slow_positions(values, panel, settings)
    first = int(np.flatnonzero((weights != 0).any(axis=1))[0])
    assert first >= 20
    pnl = slow_part_pnl(weights, panel)[first:]
    [found] = [one for one in made(panel, settings, text).checks if one.name == "LOW_SUB_UNIVERSE_SHARPE"]
    assert found.value == pytest.approx(sharpe_of(pnl), rel=1e-9)


def test_members_of_no_group_and_of_ever_other_groups_are_weighed_as_written_out() -> None:
    panel = synthetic_panel(days=80, instruments=60, seed=4)
    rng = np.random.default_rng(6)
    codes = rng.integers(-1, 5, panel.shape, dtype=np.int32)
    codes[:40] = codes[0]
    panel = replace(panel, groups={**panel.groups, "industry": codes}, group_names={})
    text = "ts_delta(close, 3)"
    [values] = Engine(panel).values([tree(text)])
    weights = slow_positions(values, panel, AlphaSettings())
    pnl = (weights[:-1] * np.nan_to_num(panel.fields["returns"][1:])).sum(axis=1)
    first = int(np.flatnonzero((weights != 0).any(axis=1))[0])
    np.testing.assert_allclose(made(panel, AlphaSettings(), text).pnl, pnl[first:], rtol=1e-9, atol=1e-15)


def test_margin_and_turnover_match_published_figures_of_brain() -> None:
    """margin = returns / (500 turnover), but for the book's first day."""
    figures = made(synthetic_panel(days=400, instruments=50), AlphaSettings()).figures
    assert figures.margin == pytest.approx(figures.returns / (500 * figures.turnover), rel=1e-9)


def test_nothing_looks_ahead() -> None:
    panel = synthetic_panel(days=90, instruments=40, seed=5)
    cut = 60
    rng = np.random.default_rng(2)
    order = np.concatenate([np.arange(cut), cut + rng.permutation(90 - cut)])
    other = replace(panel, fields={name: np.ascontiguousarray(x[order]) for name, x in panel.fields.items()})
    text = "ts_decay_linear(rank(ts_zscore(close, 10)), 4)"
    for settings in SETTINGS:
        before, after = made(panel, settings, text), made(other, settings, text)
        days = int(np.searchsorted(before.dates, panel.dates[cut]))
        assert days > 30
        np.testing.assert_array_equal(before.pnl[:days], after.pnl[:days])


def test_positions_that_cancel_out_in_a_decay_are_zero() -> None:
    """Day 7: 7 - 5 - 4 + 3 - 2 + 1 = 0 of 28; the rest is rounding error, not a full book."""
    signs = np.array([1, -1, 1, -1, -1, 0, 1.0])
    values = np.stack([signs, -signs], axis=1)
    values[6] *= 49  # 49 / 98 by way of 1 / 98 is not 0.5
    close = 10 + np.arange(16.0).reshape(8, 2) % 7
    panel = with_derived(
        Panel(
            dates=np.datetime64("2020-01-01") + np.arange(8),
            symbols=("A", "B"),
            fields={"close": close},
            groups={},
            group_names={},
        )
    )
    settings = AlphaSettings(delay=0, decay=7, neutralization=Neutralization.MARKET, truncation=0.05)
    found = backtest(np.vstack([values, [[1, -1]]]), panel, settings)
    assert found.pnl[6] == 0
    assert found.pnl[5] != 0


def test_delay_one_trades_on_yesterdays_data() -> None:
    """An alpha that knew tomorrow's return would be without loss; delay 1 has to lose it."""
    panel = synthetic_panel(days=60, instruments=30)
    ahead = np.full(panel.shape, np.nan)
    ahead[:-1] = panel.fields["returns"][1:]
    market = AlphaSettings(delay=0, neutralization=Neutralization.MARKET, truncation=0)
    knowing = backtest(ahead, panel, market)
    late = backtest(ahead, panel, replace(market, delay=1))
    assert (knowing.pnl > 0).all()
    assert late.figures.sharpe < knowing.figures.sharpe / 3


def test_outside_the_universe_there_are_no_positions_and_no_data() -> None:
    panel = synthetic_panel(days=50, instruments=20)
    inside = np.ones(panel.shape, dtype=bool)
    inside[:, 10:] = False
    half = replace(panel, universe=inside)
    small = replace(
        panel,
        symbols=panel.symbols[:10],
        fields={name: np.ascontiguousarray(x[:, :10]) for name, x in panel.fields.items()},
        groups={name: np.ascontiguousarray(x[:, :10]) for name, x in panel.groups.items()},
    )
    settings = AlphaSettings(neutralization=Neutralization.MARKET, truncation=0, decay=3)
    np.testing.assert_allclose(made(half, settings).pnl, made(small, settings).pnl, rtol=1e-12)


@pytest.mark.parametrize(
    ("wanted", "there", "used"),
    [
        ("industry", {"sector", "industry"}, "industry"),
        ("industry", {"sector"}, "sector"),
        ("subindustry", {"sector", "industry"}, "industry"),
        ("industry", {"subindustry"}, "subindustry"),
        ("industry", {"sector", "subindustry"}, "subindustry"),
        ("sector", {"industry"}, "industry"),
        ("industry", {"country"}, "market"),
        ("market", {"sector"}, "market"),
        ("sector", set(), "market"),
        ("none", {"sector"}, "none"),
    ],
)
def test_neutralization_uses_the_finest_groups_of_the_panel(wanted: str, there: set[str], used: str) -> None:
    assert usable_neutralization(Neutralization(wanted), there).value == used


def test_a_coarser_neutralization_is_reported() -> None:
    panel = replace(synthetic_panel(days=40, instruments=20), groups={}, group_names={})
    found = made(panel, AlphaSettings())
    assert found.settings.neutralization is Neutralization.MARKET
    assert found.warnings == ("the panel has no industry groups: neutralized by market instead",)


def test_a_panel_without_prices_gives_an_error_in_place() -> None:
    panel = synthetic_panel(days=40, instruments=20)
    bare = replace(panel, fields={"x": panel.fields["volume"]})
    [found] = evaluate(
        [tree("rank(volume)")], replace(bare, fields={"volume": bare.fields["x"]}), AlphaSettings()
    )
    assert isinstance(found, EvaluationError)
    assert "neither close nor returns" in found.message


def test_a_panel_of_one_day_has_no_figures() -> None:
    panel = synthetic_panel(days=1, instruments=20)
    found = made(panel, AlphaSettings(), "rank(close)")
    assert found.figures.days == 0
    assert math.isnan(found.figures.sharpe)


# --- checks ----------------------------------------------------------------------------------------------------------


def check(performance: Performance, name: str) -> Result:
    return next(one.result for one in performance.checks if one.name == name)


def test_checks_are_those_of_brain_in_its_order_and_ours() -> None:
    names = [one.name for one in made(synthetic_panel(days=80, instruments=40), AlphaSettings()).checks]
    assert names == [
        "LOW_SHARPE", "LOW_FITNESS", "LOW_TURNOVER", "HIGH_TURNOVER", "CONCENTRATED_WEIGHT",
        "LOW_SUB_UNIVERSE_SHARPE", "SELF_CORRELATION", "LOW_POSITION_DAYS",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "last", "held"), [(98, 100, 2), (40, 80, 40), (0, 100, 99), (51, 100, 49), (50, 100, 50), (0, 0, 0)]
)  # fmt: skip
def test_figures_of_fewer_than_half_of_the_days_mean_nothing(first: int, last: int, held: int) -> None:
    panel = synthetic_panel(days=100, instruments=40)
    values = np.full(panel.shape, np.nan)
    # A position stands a day after its value, with delay 1; values of the last day stand on none.
    values[max(first - 1, 0) : max(last - 1, 0)] = np.arange(40.0)
    performance = backtest(values, panel, AlphaSettings())
    row = performance.checks[-1].as_json()
    assert (row["value"], row["limit"]) == (held / 100, 0.5)
    assert (row["result"] == "FAIL") is (held < 50)
    assert (performance.reason != "") is (held < 50)
    if held < 50:
        assert f"on {held} of the panel's 100 days" in performance.reason
        assert performance.reason in performance.warnings


def test_a_concentrated_alpha_fails_only_that() -> None:
    panel = synthetic_panel(days=120, instruments=60)
    skewed = np.where(np.arange(60) == 7, 50.0, 1.0) * np.ones(panel.shape)
    settings = AlphaSettings(neutralization=Neutralization.NONE, truncation=0)
    assert check(backtest(skewed, panel, settings), "CONCENTRATED_WEIGHT") is Result.FAIL
    even = np.where(np.arange(60) < 10, -1.0, 0.3) * np.ones(panel.shape)
    assert check(backtest(even, panel, settings), "CONCENTRATED_WEIGHT") is Result.PASS


@pytest.mark.parametrize(("longs", "shorts"), [(17, 0), (0, 30), (30, 9), (9, 30), (9, 9)])
def test_a_side_with_fewer_than_ten_positions_fails_on_any_day(longs: int, shorts: int) -> None:
    panel = synthetic_panel(days=60, instruments=60)
    settings = AlphaSettings(neutralization=Neutralization.NONE, truncation=0)
    place = np.arange(60)
    enough = np.where(place < 10, 1.0, np.where(place < 20, -1.0, 0.0)) * np.ones(panel.shape)
    assert check(backtest(enough, panel, settings), "CONCENTRATED_WEIGHT") is Result.PASS
    once = enough.copy()
    once[30] = np.where(place < longs, 1.0, np.where(place < longs + shorts, -1.0, 0.0))
    [row] = [one for one in backtest(once, panel, settings).checks if one.name == "CONCENTRATED_WEIGHT"]
    assert row.result is Result.FAIL
    assert f"on {panel.dates[31]} {longs} positions are long and {shorts} short" in row.reason
    assert row.as_json()["reason"] == row.reason


def test_a_day_without_positions_between_others_fails_the_weight_check() -> None:
    panel = synthetic_panel(days=60, instruments=60)
    values = np.where(np.arange(60) < 30, 1.0, -1.0) * np.ones(panel.shape)
    values[40] = np.nan
    found = backtest(values, panel, AlphaSettings(neutralization=Neutralization.NONE, truncation=0))
    assert check(found, "CONCENTRATED_WEIGHT") is Result.FAIL


def test_an_alpha_like_a_kept_one_fails_unless_it_is_better() -> None:
    panel = synthetic_panel(days=200, instruments=60)
    first = made(panel, AlphaSettings())
    [same] = evaluate(
        [tree("2 * rank(-ts_delta(close, 3))")], panel, AlphaSettings(), kept=[first.as_kept("a")]
    )
    assert isinstance(same, Evaluation)
    [row] = [one for one in same.performance.checks if one.name == "SELF_CORRELATION"]
    assert (row.result, round(row.value, 9)) == (Result.FAIL, 1.0)
    worse = replace(first.as_kept("a"), sharpe=-10.0)
    [better] = evaluate([tree("rank(-ts_delta(close, 3))")], panel, AlphaSettings(), kept=[worse])
    assert isinstance(better, Evaluation)
    assert check(better.performance, "SELF_CORRELATION") is Result.PASS
    [other] = evaluate([tree("rank(volume)")], panel, AlphaSettings(), kept=[first.as_kept("a")])
    assert isinstance(other, Evaluation)
    assert check(other.performance, "SELF_CORRELATION") is Result.PASS


def test_correlations_are_over_common_days() -> None:
    dates = np.datetime64("2020-01-01") + np.arange(100)
    pnl = np.random.default_rng(1).normal(size=100)
    assert correlation(dates, pnl, dates, pnl) == pytest.approx(1)
    assert correlation(dates, pnl, dates[50:], -pnl[50:]) == pytest.approx(-1)
    assert correlation(dates, pnl, dates[90:], pnl[90:]) == 0.0
    assert correlation(dates, pnl, dates, np.zeros(100)) == 0.0
    assert Kept("k", dates, pnl, 1.0).name == "k"


# --- figures ---------------------------------------------------------------------------------------------------------


def test_figures_of_simple_series() -> None:
    assert sharpe_of(np.array([0.01, 0.03])) == pytest.approx(math.sqrt(252) * 0.02 / (0.01 * math.sqrt(2)))
    assert math.isnan(sharpe_of(np.array([0.01])))
    assert math.isnan(sharpe_of(np.full(9, 0.1)))
    assert drawdown_of(np.array([1.0, -2.0, 1.5, -3.0])) == pytest.approx(3.5)
    assert drawdown_of(np.array([-1.0, 2.0])) == 1.0
    assert fitness_of(1.5, 0.08, 0.05) == pytest.approx(1.5 * math.sqrt(0.08 / 0.125))
    assert fitness_of(-1.5, -0.08, 0.5) == pytest.approx(-1.5 * 0.4)


@pytest.mark.parametrize(
    ("fitness", "delay", "grade"),
    [
        (2.6, 1, "SPECTACULAR"),
        (2.6, 0, "GOOD"),
        (1.2, 1, "AVERAGE"),
        (1.0, 1, "INFERIOR"),
        (3.3, 0, "SPECTACULAR"),
    ],
)
def test_grades(fitness: float, delay: int, grade: str) -> None:
    assert grade_of(fitness, delay) == grade


def test_derived_returns_want_a_positive_price_before() -> None:
    close = np.array([[1.0, -1.0, 0.0, 2.0], [2.0, 1.0, 1.0, -1.0], [np.nan, 2.0, 2.0, 0.0]])
    panel = Panel(np.datetime64("2020-01-01") + np.arange(3), tuple("abcd"), {"close": close})
    found = with_derived(panel).fields["returns"]
    nan = np.nan
    np.testing.assert_array_equal(found, [[nan] * 4, [1.0, nan, nan, nan], [nan, 1.0, 1.0, nan]])
