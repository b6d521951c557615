"""Figures that are missing come with the reason."""

from dataclasses import replace

import numpy as np
import pytest

from generator.backtest.panel import Panel, with_derived
from generator.backtest.result.evaluate import Evaluation, Performance, evaluate
from generator.backtest.settings import AlphaSettings, Neutralization
from generator.catalogue import load_catalogue
from generator.language import parse

MARKET = AlphaSettings(neutralization=Neutralization.MARKET)
NONE = AlphaSettings(neutralization=Neutralization.NONE, truncation=0)


def panel_of(days: int = 60, instruments: int = 25) -> Panel:
    rng = np.random.default_rng(2)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, (days, instruments)), axis=0))
    return with_derived(
        Panel(
            np.datetime64("2021-03-01") + np.arange(days),
            tuple(f"S{i:02}" for i in range(instruments)),
            {"close": close, "volume": np.ones_like(close)},
            {"sector": np.broadcast_to(np.arange(instruments, dtype=np.int32) % 5, close.shape).copy()},
            {"sector": tuple("abcde")},
        )
    )


def found(text: str, panel: Panel, settings: AlphaSettings = MARKET) -> Performance:
    [one] = evaluate([parse(text, load_catalogue(higher=True))], panel, settings)
    assert isinstance(one, Evaluation), one
    return one.performance


SECTOR = AlphaSettings(neutralization=Neutralization.SECTOR)
CASES: list[tuple[str, Panel, AlphaSettings, str]] = [
    (
        "rank(close)",
        panel_of(instruments=1),
        MARKET,
        "rank(close) has no value on any day: the panel has one instrument",
    ),
    (
        "close",
        panel_of(instruments=1),
        MARKET,
        "the panel has one instrument, and its value less the mean is 0",
    ),
    ("close / 0", panel_of(), MARKET, "divide(close, 0) is infinite wherever it has a value"),
    ("1 + rank(log(0 - close))", panel_of(), MARKET, "log(subtract(0, close)) has no value on any day"),
    (
        "rank(ts_delta(close, 500))",
        panel_of(),
        MARKET,
        "ts_delta(close, 500) has no value on any day: 500 days are more than the panel's 60",
    ),
    ("ts_delay(close, 60)", panel_of(), MARKET, "60 days are more than the panel's 60"),
    (
        "ts_delay(close, 59)",
        panel_of(),
        MARKET,
        "its first value is of 2021-04-29, and the panel ends on 2021-04-29",
    ),
    (
        "ts_delay(close, 58)",
        panel_of(),
        MARKET,
        "its first value is of 2021-04-28, and the panel ends on 2021-04-29",
    ),
    ("volume", panel_of(), MARKET, "its values are the same within each market on every day"),
    (
        "group_mean(close, 1, sector)",
        panel_of(),
        SECTOR,
        "its values are the same within each sector on every day",
    ),
    ("close - close", panel_of(), NONE, "its values are 0"),
    ("rank(close)", panel_of(days=1), MARKET, "the panel has one date"),
    ("rank(close)", panel_of(days=3), MARKET, "positions earn on one day, and a deviation takes two"),
    (
        "rank(close)",
        replace(
            panel_of(),
            fields={"close": np.full((60, 25), 5.0) + np.arange(25), "returns": np.zeros((60, 25))},
        ),
        MARKET,
        "positions earn nothing on any of 58 days",
    ),
]


@pytest.mark.parametrize(("text", "panel", "settings", "wanted"), CASES)
def test_missing_figures_are_explained(text: str, panel: Panel, settings: AlphaSettings, wanted: str) -> None:
    performance = found(text, panel, settings)
    assert np.isnan(performance.figures.sharpe)
    assert wanted in performance.reason
    assert performance.as_json()["reason"] == performance.reason


def test_figures_that_are_there_have_no_reason() -> None:
    performance = found("rank(close)", panel_of())
    assert performance.reason == ""
    assert "reason" not in performance.as_json()


def test_a_turnover_that_is_not_known_is_not_too_high() -> None:
    checks = {one.name: one.result.value for one in found("close / 0", panel_of()).checks}
    assert checks["HIGH_TURNOVER"] == "PENDING"
    assert checks["LOW_TURNOVER"] == checks["LOW_SHARPE"] == checks["CONCENTRATED_WEIGHT"] == "FAIL"
