"""Sums that slide are as good as sums that are formed anew each day, whatever went through the window."""

import numpy as np
import pytest

from generator.backtest.kernels import moments, pairs
from generator.backtest.kernels.rows import WIDEST

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]
DAYS, COLUMNS = 300, 12


def walk(rng: np.random.Generator) -> Matrix:
    return 100.0 + rng.normal(size=(DAYS, COLUMNS)).cumsum(axis=0)


def shocks(rng: np.random.Generator) -> Matrix:
    x = rng.normal(size=(DAYS, COLUMNS))
    x[::37] *= 1e9
    return x


def fading(rng: np.random.Generator) -> Matrix:
    return rng.normal(size=(DAYS, COLUMNS)) * 0.5 ** np.arange(DAYS)[:, None]


def offset(rng: np.random.Generator) -> Matrix:
    return 1e9 + rng.normal(size=(DAYS, COLUMNS))


def infinities(rng: np.random.Generator) -> Matrix:
    x = rng.normal(size=(DAYS, COLUMNS))
    x[::29] = np.inf
    x[13::41] = -np.inf
    return x


KINDS = {f.__name__: f for f in (walk, shocks, fading, offset, infinities)}


def exact(x: Matrix, y: Matrix, d: int) -> tuple[Matrix, Matrix]:
    """Return correlations and deviations from extended precision, window by window."""
    correlations, deviations = np.full(x.shape, np.nan), np.full(x.shape, np.nan)
    with np.errstate(all="ignore"):
        for t in range(DAYS):
            a, b = (m[max(0, t - d + 1) : t + 1].astype(np.longdouble) for m in (x, y))
            u, v = a - a.mean(axis=0), b - b.mean(axis=0)
            spread = np.sqrt((u * u).mean(axis=0))
            deviations[t] = spread
            correlations[t] = (u * v).mean(axis=0) / (spread * np.sqrt((v * v).mean(axis=0)))
    return correlations, deviations


@pytest.mark.parametrize("d", [2, 7, 20, 90])
@pytest.mark.parametrize("kind", KINDS)
def test_no_digits_are_lost_to_what_has_left_the_window(kind: str, d: int) -> None:
    rng = np.random.default_rng(3)
    x, y = KINDS[kind](rng), walk(rng)
    correlations, deviations = exact(x, y, d)
    found = np.empty_like(x)
    pairs.rolling_pair(x, y, found, 0, COLUMNS, d, pairs.CORRELATION, 1.0)
    np.testing.assert_allclose(found[d:], correlations[d:], atol=2e-13, rtol=0)
    moments.rolling_moment(x, found, 0, COLUMNS, d, moments.STD_DEV, 0.0, 1.0)
    np.testing.assert_allclose(found[d:], deviations[d:], rtol=2e-12)


def test_a_constant_window_deviates_by_nothing_and_has_no_correlation() -> None:
    rng = np.random.default_rng(4)
    x = walk(rng)
    x[50:120] = 0.1 * np.arange(1, COLUMNS + 1)
    found = np.empty_like(x)
    moments.rolling_moment(x, found, 0, COLUMNS, 10, moments.STD_DEV, 0.0, 1.0)
    assert (found[59:120] == 0.0).all()
    assert (found[120:] > 0.0).all()
    pairs.rolling_pair(x, walk(rng), found, 0, COLUMNS, 10, pairs.CORRELATION, 1.0)
    assert np.isnan(found[59:120]).all()
    assert np.isfinite(found[120:]).all()


def test_blocks_of_the_widest_kind_and_of_one_column_agree() -> None:
    rng = np.random.default_rng(5)
    x, y = (rng.normal(size=(60, WIDEST)).cumsum(axis=0) for _ in range(2))
    wide, narrow = np.empty_like(x), np.empty_like(x)
    pairs.rolling_pair(x, y, wide, 0, WIDEST, 7, pairs.COVARIANCE, 1.0)
    for c in (0, 1, WIDEST - 1):
        pairs.rolling_pair(x, y, narrow, c, c + 1, 7, pairs.COVARIANCE, 1.0)
        np.testing.assert_array_equal(narrow[:, c], wide[:, c])
