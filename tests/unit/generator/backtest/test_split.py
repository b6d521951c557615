"""Train, validation and test: where they begin, and what an alpha's figures on them are."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from generator.backtest.panel import Panel
from generator.backtest.result.evaluate import Evaluation, evaluate
from generator.backtest.result.metrics import daily_moments
from generator.backtest.settings import AlphaSettings
from generator.backtest.split import SplitError, choose_split, default_split, split_ends
from generator.backtest.synthetic import synthetic_panel
from generator.catalogue import load_catalogue
from generator.domain import Split
from generator.language import parse

DATES = np.datetime64("2020-01-01") + np.arange(1000)
DEFAULT = Split(date(2021, 8, 23), date(2022, 3, 11))
EARLIER = Split(date(2020, 3, 1), date(2020, 6, 1))
EXPRESSIONS = (
    "rank(-ts_delta(close, 3))",
    "ts_mean(volume, 20)",
    "ts_delta(close, 300)",
    "ts_delta(close, 390)",
    "ts_delta(close, 502)",
    "close - close",
    "trade_when(volume > 0, rank(close), -1)",
)


def test_the_last_two_fifths_and_the_last_fifth_of_the_days() -> None:
    assert default_split(DATES) == DEFAULT
    assert split_ends(DEFAULT, DATES) == (600, 800)


@pytest.mark.parametrize(
    ("days", "validation", "test", "stored", "expected"),
    [
        (1000, None, None, None, DEFAULT),
        (1000, None, None, EARLIER, EARLIER),
        (900, None, None, DEFAULT, DEFAULT),
        (819, None, None, DEFAULT, default_split(DATES[:819])),
        (1000, EARLIER.validation_from, None, None, Split(EARLIER.validation_from, DEFAULT.test_from)),
        (1000, None, date(2022, 6, 1), EARLIER, Split(EARLIER.validation_from, date(2022, 6, 1))),
        (499, None, None, EARLIER, None),
        (500, None, None, None, default_split(DATES[:500])),
    ],
)
def test_configured_dates_come_before_the_stored_and_these_before_the_default(
    days: int, validation: date | None, test: date | None, stored: Split | None, expected: Split | None
) -> None:
    found = choose_split(DATES[:days], validation_from=validation, test_from=test, stored=stored)
    assert found == expected


@pytest.mark.parametrize(
    ("validation", "test"),
    [
        (date(2019, 1, 1), None),
        (date(2022, 6, 1), None),
        (None, date(2022, 9, 20)),
        (date(2021, 1, 1), date(2021, 1, 15)),
    ],
)
def test_configured_dates_that_leave_a_stretch_without_days_are_refused(
    validation: date | None, test: date | None
) -> None:
    with pytest.raises(SplitError, match="2020-01-01 to 2022-09-26"):
        choose_split(DATES, validation_from=validation, test_from=test, stored=None)


def cut(panel: Panel, days: int) -> Panel:
    """Return the panel's first days."""
    return replace(
        panel,
        dates=panel.dates[:days],
        fields={name: np.ascontiguousarray(matrix[:days]) for name, matrix in panel.fields.items()},
        groups={name: np.ascontiguousarray(codes[:days]) for name, codes in panel.groups.items()},
        universe=None if panel.universe is None else panel.universe[:days],
        gaps=panel.gaps[panel.gaps[:, 1] < days],
    )


def test_the_train_figures_are_those_of_a_panel_that_ends_with_the_train_days() -> None:
    panel = synthetic_panel(days=504, instruments=60)
    split = default_split(panel.dates)
    train, before_test = split_ends(split, panel.dates)
    catalogue = load_catalogue(higher=True)
    trees = [parse(text, catalogue) for text in EXPRESSIONS]
    whole = evaluate(trees, panel, AlphaSettings(), split=split)
    alone = evaluate(trees, cut(panel, train), AlphaSettings())
    for text, one, other in zip(EXPRESSIONS, whole, alone, strict=True):
        assert isinstance(one, Evaluation)
        assert isinstance(other, Evaluation)
        assert one.stretches is not None
        found, expected = one.stretches.train, other.performance
        assert repr(found.figures) == repr(expected.figures), text
        assert repr(found.checks) == repr(expected.checks), text
        assert found.pnl.tobytes() == expected.pnl.tobytes()
        assert bool(found.reason) == bool(expected.reason)
        performance = one.performance
        for figures, first, last in (
            (one.stretches.validation, panel.dates[train], panel.dates[before_test - 1]),
            (one.stretches.test, panel.dates[before_test], panel.dates[-1]),
        ):
            within = (performance.dates >= first) & (performance.dates <= last)
            assert figures.pnl == pytest.approx(performance.pnl[within].sum(), abs=1e-12), text
        assert (one.stretches.validation.days, one.stretches.test.days) == (
            before_test - train,
            504 - before_test,
        )


def test_reasons_speak_of_the_train_days_alone() -> None:
    panel = synthetic_panel(days=504, instruments=30)
    split = default_split(panel.dates)
    catalogue = load_catalogue()
    late, few = evaluate(
        [parse(text, catalogue) for text in ("ts_delta(close, 390)", "ts_delta(close, 280)")],
        panel, AlphaSettings(), split=split,
    )  # fmt: skip
    assert isinstance(late, Evaluation)
    assert isinstance(few, Evaluation)
    assert late.stretches is not None
    assert few.stretches is not None
    assert late.stretches.train.reason.startswith("it holds positions on 0 of the 302 train days")
    assert "390 days are more than the 302 train days" in late.stretches.train.reason
    assert few.stretches.train.reason.startswith("it holds positions on 21 of the 302 train days")


def test_moments_are_those_of_the_sample() -> None:
    pnl = np.random.default_rng(3).gamma(2.0, size=4000) - 1.9
    found = daily_moments(pnl)
    assert found.sharpe == pytest.approx(pnl.mean() / pnl.std(ddof=1))
    assert (found.days, round(found.skewness, 1), round(found.kurtosis)) == (4000, 1.4, 6)
    assert np.isnan(daily_moments(np.zeros(9)).sharpe)
