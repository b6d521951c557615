"""The deflated Sharpe ratio, against the worked example of its paper and against noise."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from generator.backtest.result.metrics import daily_moments
from generator.domain import Moments
from generator.pool.correlation import PnlTable, distinct
from generator.pool.luck import Luck, Trials, deflated_sharpe, dsr_of, expected_best, luck_of

YEAR = 250
EXAMPLE = {
    "sharpe": 2.5 / math.sqrt(YEAR), "variance": 0.5 / YEAR, "days": 1250, "skewness": -3.0, "kurtosis": 10.0,
}  # fmt: skip
"""Bailey and López de Prado (2014), section "A numerical example": five years of days, annual figures."""


def test_the_papers_example() -> None:
    assert expected_best(variance=0.5 / YEAR, trials=100.0) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(trials=100.0, **EXAMPLE) == pytest.approx(0.9004, abs=5e-5)  # type: ignore[arg-type]
    assert deflated_sharpe(trials=46.0, **EXAMPLE) == pytest.approx(0.9505, abs=1e-4)  # type: ignore[arg-type]


def test_one_trial_is_deflated_by_nothing() -> None:
    assert expected_best(variance=1.0, trials=1.0) == expected_best(variance=1.0, trials=0.0) == 0.0
    found = deflated_sharpe(sharpe=0.1, variance=1.0, trials=1.0, days=101, skewness=0.0, kurtosis=3.0)
    assert found == pytest.approx(NormalDist().cdf(0.1 * 10.0 / math.sqrt(1.0 + 0.5 * 0.01)))


def test_the_expected_best_is_what_independent_trials_show() -> None:
    rng = np.random.default_rng(1)
    for trials in (10, 100, 1000):
        best = rng.normal(size=(2000, trials)).max(axis=1).mean()
        assert expected_best(variance=1.0, trials=float(trials)) == pytest.approx(best, rel=0.03)


@pytest.mark.parametrize(
    ("moments", "trials", "expected"),
    [
        (None, Trials(10), None),
        (Moments(0.1, 1, 0.0, 3.0), Trials(10), None),
        (Moments(1.0, 100, 3.0, 1.0), Trials(10), None),
        (Moments(0.16, 3600, 0.0, 5.0), Trials(1000, 1000, 1000, 1.0 / 3600), Luck.LIKELY),
        (Moments(0.05, 3600, 0.0, 5.0), Trials(1000, 1000, 1000, 1.0 / 3600), Luck.LUCK),
        (Moments(0.065, 3600, 0.0, 5.0), Trials(1000, 1000, 1000, 1.0 / 3600), Luck.UNPROVEN),
        (Moments(0.065, 3600, 0.0, 5.0), Trials(1000, 1000, 10, 1.0 / 3600), Luck.LIKELY),
        (Moments(0.05, 3600, 0.0, 5.0), Trials(1000, 1000, 1000, 0.0), Luck.LUCK),
        (Moments(0.16, 3600, 0.0, 5.0), Trials(1000, 1000, 1000, 0.01), Luck.LUCK),
        (Moments(0.05, 3600, 0.0, 5.0), Trials(), Luck.LIKELY),
    ],
)
def test_marks(moments: Moments | None, trials: Trials, expected: Luck | None) -> None:
    assert luck_of(dsr_of(moments, trials)) is expected


def test_more_trials_make_the_same_alpha_less_likely() -> None:
    alpha = Moments(0.08, 3600, -0.2, 6.0)
    found = [dsr_of(alpha, Trials(count)) for count in (1, 10, 100, 1000, 100_000)]
    assert found == sorted(found, key=lambda one: -(one or 0.0))
    assert luck_of(found[0]) is Luck.LIKELY


def test_effective_trials_are_the_distinct_share_of_all() -> None:
    assert Trials(5000, 1000, 400, None).effective == 2000.0
    assert Trials(7).effective == 7.0


def pnl(values: np.ndarray) -> bytes:  # type: ignore[type-arg]
    return values.astype(np.float32).tobytes()


def test_correlations_are_numpys_and_earlier_days_earned_nothing() -> None:
    rng = np.random.default_rng(2)
    one, other, late = rng.normal(size=300), rng.normal(size=300), rng.normal(size=100)
    table = PnlTable({"one": pnl(one), "late": pnl(late), "flat": pnl(np.zeros(300)), "none": b""})
    found = table.correlations(pnl(other))
    padded = np.concatenate([np.zeros(200), late])
    assert found.keys() == {"one", "late", "flat"}
    assert found["one"] == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-6)
    assert found["late"] == pytest.approx(np.corrcoef(padded, other)[0, 1], abs=1e-6)
    assert found["flat"] == 0.0
    longer = rng.normal(size=400)
    assert table.correlations(pnl(longer))["one"] == pytest.approx(
        np.corrcoef(np.concatenate([np.zeros(100), one]), longer)[0, 1], abs=1e-6
    )
    assert table.correlations(b"") == PnlTable({}).correlations(pnl(one)) == {}
    assert table.highest()["one"] == pytest.approx(max(0.0, np.corrcoef(one, padded)[0, 1]), abs=1e-6)
    assert PnlTable({"one": pnl(one)}).highest() == {}


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_pnl_that_overflows_correlates_with_nothing(odd: float) -> None:
    one = np.random.default_rng(5).normal(size=300)
    broken = np.where(np.arange(300) == 200, odd, one)
    assert PnlTable({"one": pnl(one)}).correlations(pnl(broken)) == {"one": 0.0}
    assert PnlTable({"one": pnl(one), "broken": pnl(broken)}).highest() == {"one": 0.0, "broken": 0.0}
    assert distinct([pnl(one), pnl(broken), pnl(one)], 0.9) == 2


def test_series_that_move_together_count_as_one() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=500), rng.normal(size=500)
    series = [first, 2.0 * first + 0.1 * second, second, -first, second + 0.01 * first]
    assert distinct([pnl(one) for one in series], 0.7) == 3
    assert distinct([], 0.7) == 0


def marks(rng: np.random.Generator, *, days: int, trials: int, planted: float = 0.0) -> list[Luck | None]:
    """Return the marks of independent trials with heavy tails; the first has a planted annual Sharpe ratio."""
    daily = rng.standard_t(5, (trials, days))
    daily[0] += planted / math.sqrt(252) * math.sqrt(5 / 3)
    moments = [daily_moments(row) for row in daily]
    spread = float(np.var([one.sharpe for one in moments], ddof=1))
    return [luck_of(dsr_of(one, Trials(trials, trials, trials, spread))) for one in moments]


def test_noise_is_hardly_ever_likely_and_a_planted_alpha_is() -> None:
    rng = np.random.default_rng(4)
    noise = [marks(rng, days=250, trials=100) for _ in range(20)]
    assert sum(Luck.LIKELY in panel for panel in noise) <= 1
    planted = [marks(rng, days=3600, trials=20, planted=2.5) for _ in range(5)]
    assert all(panel[0] is Luck.LIKELY for panel in planted)
    assert sum(panel.count(Luck.LIKELY) for panel in planted) == 5
