"""What a close moves by across days without one is earned, once, by who could not sell."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generator.backtest.loading import load_panel
from generator.backtest.panel import Panel, gaps_of, without_gaps
from generator.backtest.result.evaluate import Evaluation, Performance, backtest, evaluate
from generator.backtest.settings import AlphaSettings, Neutralization
from generator.catalogue import load_catalogue
from generator.evaluators.local import open_panel
from generator.language import parse

DAYS, SHARES = 300, 12
STOPS, RESUMES = 130, 150
PLAIN = AlphaSettings(neutralization=Neutralization.NONE, truncation=0)
AT_ONCE = AlphaSettings(delay=0, neutralization=Neutralization.NONE, truncation=0)
HELD = "ts_backfill(close, 60) / ts_backfill(close, 60)"
_rng = np.random.default_rng(3)
CLOSES = 20 * np.exp(np.cumsum(_rng.normal(0, 0.01, (DAYS, SHARES)), axis=0))
CLOSES[RESUMES:, 0] *= 0.4


def suspended(closes: np.ndarray = CLOSES) -> np.ndarray:
    closes = closes.copy()
    closes[STOPS:RESUMES, 0] = np.nan
    return closes


def panel_of(folder: Path, closes: np.ndarray, extra: str = "") -> Panel:
    """The panel of a file, as users give it: no row on a day without a close."""
    dates = np.busday_offset("2022-01-03", np.arange(len(closes)), roll="forward")
    rows = [f"date,symbol,close{extra and ',' + extra}"]
    for d, day in enumerate(dates):
        for s, close in enumerate(closes[d]):
            if not np.isnan(close):
                rows.append(f"{day},{s + 1:06}.SZ,{close:.2f}" + (f",{0.001 * s}" if extra else ""))
    path = folder / "panel.csv"
    path.write_text("\n".join(rows) + "\n")
    return load_panel(path)


def performance(panel: Panel, text: str, settings: AlphaSettings = PLAIN) -> Performance:
    [found] = evaluate([parse(text, load_catalogue(higher=True))], panel, settings)
    assert isinstance(found, Evaluation), found
    return found.performance


def pnl(panel: Panel, values: np.ndarray, settings: AlphaSettings = AT_ONCE) -> np.ndarray:
    """What is earned by each date, from the second one on."""
    found = backtest(values, panel, settings)
    return np.concatenate([np.zeros(len(panel.dates) - 1 - len(found.pnl)), found.pnl])


@pytest.mark.parametrize("text", [HELD, "close / close"])
def test_a_share_that_resumes_lower_costs_the_move(tmp_path: Path, text: str) -> None:
    """Sharpe was 0.07 with all prices, and 0.99 where the days of the fall had no row."""
    whole = performance(panel_of(tmp_path, CLOSES), text)
    panel = panel_of(tmp_path, suspended())
    paused = performance(panel, text)
    assert paused.figures.sharpe == pytest.approx(whole.figures.sharpe, abs=0.06)
    assert paused.figures.returns == pytest.approx(whole.figures.returns, abs=0.01)
    day = int(np.flatnonzero(paused.dates == panel.dates[RESUMES])[0])
    move = panel.fields["close"][RESUMES, 0] / panel.fields["close"][STOPS - 1, 0] - 1
    assert move < -0.55
    assert paused.pnl[day] == pytest.approx(move / 12, abs=0.01)
    skipped = performance(without_gaps(panel), text)
    assert skipped.figures.sharpe > 0.9


@pytest.mark.parametrize("factor", [0.4, 1.0, 1.6, 3.0])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_position_of_the_last_close_earns_the_move_on_the_day_of_the_next(
    tmp_path: Path, factor: float, side: float
) -> None:
    closes = suspended()
    closes[RESUMES:, 0] *= factor
    panel = panel_of(tmp_path, closes)
    values = np.zeros(panel.shape)
    values[STOPS - 1, 0] = side
    values[STOPS - 1, 1] = -side
    earned = pnl(panel, values)
    close = panel.fields["close"]
    move = close[RESUMES, 0] / close[STOPS - 1, 0] - 1
    assert earned[RESUMES - 1] == pytest.approx(side * move / 2)
    assert earned[STOPS - 1] == pytest.approx(-side * (close[STOPS, 1] / close[STOPS - 1, 1] - 1) / 2)
    assert np.count_nonzero(earned) == 2


@pytest.mark.parametrize(
    ("first", "last"), [(STOPS - 9, STOPS - 1), (STOPS, RESUMES), (RESUMES, RESUMES + 9)]
)
def test_without_a_position_at_the_last_close_the_move_is_not_earned(
    tmp_path: Path, first: int, last: int
) -> None:
    """Sold in time, bought while nothing is traded, or bought afterwards."""
    panel = panel_of(tmp_path, suspended())
    values = np.zeros(panel.shape)
    values[first:last, 0] = 1.0
    assert abs(pnl(panel, values)[RESUMES - 1]) < 0.1


def test_a_share_that_never_resumes_earns_nothing_after_its_last_close(tmp_path: Path) -> None:
    closes = CLOSES.copy()
    closes[STOPS:, 0] = np.nan
    panel = panel_of(tmp_path, closes)
    assert len(panel.gaps) == 0
    values = np.zeros(panel.shape)
    values[:, 0] = 1.0
    earned = pnl(panel, values)
    assert not earned[STOPS - 1 :].any()
    assert earned[: STOPS - 1].any()


def test_gaps_of_several_shares_and_lengths(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    closes = CLOSES.copy()
    closes[rng.random(closes.shape) < 0.2] = np.nan
    closes[100:250, 3] = np.nan
    panel = panel_of(tmp_path, closes)
    close = panel.fields["close"]
    values = rng.normal(size=panel.shape)
    sizes = np.abs(values).sum(axis=1, keepdims=True)
    wanted = np.zeros(len(close) - 1)
    for s in range(SHARES):
        known = np.flatnonzero(~np.isnan(close[:, s]))
        for a, b in itertools.pairwise(known):
            wanted[b - 1] += values[a, s] / sizes[a, 0] * (close[b, s] / close[a, s] - 1)
    np.testing.assert_allclose(pnl(panel, values), wanted, atol=1e-12)
    late = pnl(panel, values, PLAIN)
    shifted = np.zeros(len(close) - 1)
    for last, after, s in panel.gaps:
        if last:
            shifted[after - 1] += (
                values[last - 1, s] / sizes[last - 1, 0] * (close[after, s] / close[last, s] - 1)
            )
    adjacent = np.nan_to_num(close[1:] / close[:-1] - 1)
    book = np.vstack([np.zeros(SHARES), (values / sizes)[:-1]])
    np.testing.assert_allclose(late, shifted + (book[:-1] * adjacent).sum(axis=1), atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        AlphaSettings(neutralization=Neutralization.MARKET, truncation=0.1),
        AlphaSettings(decay=5, neutralization=Neutralization.NONE, truncation=0.2),
        AlphaSettings(delay=0, decay=3, neutralization=Neutralization.MARKET, truncation=0),
    ],
)
def test_the_move_is_earned_by_the_positions_that_the_settings_give(
    tmp_path: Path, settings: AlphaSettings
) -> None:
    """The move is doubled; the PnL changes by as much as the position of the last close was."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=CLOSES.shape)
    once = panel_of(tmp_path, suspended())
    moved = once.fields["returns"].copy()
    moved[RESUMES, 0] *= 2
    twice = replace(once, fields={**once.fields, "returns": moved})
    full = panel_of(tmp_path, CLOSES)
    returns = full.fields["returns"].copy()
    returns[STOPS, 0] *= 2
    probe = replace(full, fields={**full.fields, "returns": returns})
    position = (pnl(probe, values, settings) - pnl(full, values, settings))[STOPS - 1] / full.fields[
        "returns"
    ][STOPS, 0]
    difference = pnl(twice, values, settings) - pnl(once, values, settings)
    assert difference[RESUMES - 1] == pytest.approx(position * once.fields["returns"][RESUMES, 0], rel=1e-9)
    assert np.count_nonzero(np.abs(difference) > 1e-12) == 1


def test_positions_and_turnover_are_as_if_there_were_no_gap(tmp_path: Path) -> None:
    panel = panel_of(tmp_path, suspended())
    earned, skipped = performance(panel, "rank(close)"), performance(without_gaps(panel), "rank(close)")
    assert earned.figures.turnover == skipped.figures.turnover
    assert (earned.figures.long_count, earned.figures.days) == (
        skipped.figures.long_count,
        skipped.figures.days,
    )
    assert earned.figures.returns != skipped.figures.returns


def test_nothing_is_known_of_a_gap_before_it_ends(tmp_path: Path) -> None:
    closes = suspended()
    before = performance(panel_of(tmp_path, closes[:RESUMES]), HELD)
    whole = performance(panel_of(tmp_path, closes), HELD)
    np.testing.assert_allclose(whole.pnl[: len(before.pnl)], before.pnl, atol=1e-15)


def test_the_field_returns_is_over_the_last_known_close(tmp_path: Path) -> None:
    panel = panel_of(tmp_path, suspended())
    close, returns = panel.fields["close"], panel.fields["returns"]
    assert np.isnan(returns[STOPS:RESUMES, 0]).all()
    assert returns[RESUMES, 0] == pytest.approx(close[RESUMES, 0] / close[STOPS - 1, 0] - 1)
    assert returns[RESUMES, 1] == pytest.approx(close[RESUMES, 1] / close[RESUMES - 1, 1] - 1)
    assert np.isnan(without_gaps(panel).fields["returns"][RESUMES, 0])
    [warning] = panel.warnings
    moved = close[RESUMES, 0] / close[STOPS - 1, 0] - 1
    assert warning.endswith(f"20 of 300 dates are missing, and close moves by {moved:+.1%}")


def test_the_greatest_moves_are_named_first(tmp_path: Path) -> None:
    closes = CLOSES.copy()
    for s in range(1, SHARES):
        closes[10 * s : 10 * s + 3, s] = np.nan
        closes[200:205, s] = np.nan
        closes[205:, s] *= 1 + 0.2 * s
    panel = panel_of(tmp_path, closes)
    warnings = [one for one in panel.warnings if "has a gap" in one or "have gaps" in one]
    assert [re.findall(r"(\d+)\.SZ has a gap from", one) for one in warnings] == [
        ["000012"], ["000011"], ["000010"], ["000009"], ["000008"], []
    ]  # fmt: skip
    assert (
        f"has a gap from {panel.dates[200]}; 8 of 300 dates are missing, and close moves by +2" in warnings[0]
    )
    assert warnings[-1] == "6 more instruments have gaps"


def test_returns_of_the_file_are_used_unchanged(tmp_path: Path) -> None:
    panel = panel_of(tmp_path, suspended(), extra="returns")
    assert len(panel.gaps) == 0
    values = np.ones(panel.shape)
    values[:, 0] = np.nan
    values[RESUMES - 1, 0] = 1.0
    book = np.nan_to_num(values) / np.nansum(values, axis=1, keepdims=True)
    wanted = (book[:-1] * np.nan_to_num(panel.fields["returns"][1:])).sum(axis=1)
    np.testing.assert_allclose(pnl(panel, values), wanted, atol=1e-15)


def test_skipped_gaps_are_a_setting_and_the_cached_panel_serves_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    panel_of(tmp_path, suspended())
    path = str(tmp_path / "panel.csv")
    for _ in range(2):  # read, and then mapped
        earned, skipped = open_panel(path), open_panel(path, gaps="skipped")
        assert earned.gaps.tolist() == [[STOPS - 1, RESUMES, 0]]
        assert len(skipped.gaps) == 0
        assert np.isnan(skipped.fields["returns"][RESUMES, 0])
        assert not np.isnan(earned.fields["returns"][RESUMES, 0])


def test_other_fields_are_missing_in_a_gap_and_means_leave_it_out(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    rows = [f"2020-01-{d:02},A,{d},{100 * d}" for d in (1, 2, 6, 7)] + [
        f"2020-01-{d:02},B,{d},7" for d in range(1, 8)
    ]
    path.write_text("date,symbol,close,volume\n" + "\n".join(rows) + "\n")
    panel = load_panel(path)
    assert np.isnan(panel.fields["volume"][2:5, 0]).all()
    assert panel.fields["adv20"][6, 0] == pytest.approx(400)


def test_gaps_begin_after_a_close_and_end_with_one() -> None:
    nan = np.nan
    closes = np.array([[nan, 1, 1], [1, nan, nan], [nan, nan, 2], [nan, 3, nan], [4, 4, nan]])
    assert gaps_of(closes).tolist() == [[0, 2, 2], [0, 3, 1], [1, 4, 0]]
