"""Ranks across instruments: exact quotients, and values whose sortable images are equal."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from generator.backtest.kernels import rank

Matrix = npt.NDArray[Any]

INSTRUMENTS = 300
LONELY = 0.5


def ranks(x: Matrix, sign: float = 1.0) -> Matrix:
    out = np.empty_like(x)
    rank.rank(x, out, LONELY, sign)
    return out


def expected(x: Matrix) -> Matrix:
    """Return (mean rank - 1) / (n - 1) by comparing all pairs."""
    found = np.full(x.shape, np.nan, x.dtype)
    for row, out in zip(x, found, strict=True):
        ok = ~np.isnan(row)
        values = row[ok]
        less = (values[:, None] > values).sum(axis=1)
        equal = (values[:, None] == values).sum(axis=1)
        out[ok] = (less + (equal - 1) / 2) / (len(values) - 1) if len(values) > 1 else LONELY
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_rank_is_the_quotients_own_rounding(dtype: type) -> None:
    rng = np.random.default_rng(1)
    for n in (2, 3, 50, 99, 256, 1000, 3000, 4097):
        places = rng.permutation(n)
        found = ranks(places.astype(dtype)[None])[0]
        np.testing.assert_array_equal(found, places.astype(dtype) / dtype(n - 1))
        assert found.max() == 1.0


def near_equal(rng: np.random.Generator) -> Matrix:
    """Values beside one far greater: most share the lowest images."""
    x = rng.normal(size=(6, INSTRUMENTS))
    x[:, 7] = 1e9
    return x


def heavy_tails(rng: np.random.Generator) -> Matrix:
    return rng.normal(size=(6, INSTRUMENTS)) ** 9


def outliers(rng: np.random.Generator) -> Matrix:
    """Finite values beyond the image's bend, which infinity's image has too."""
    x = rng.normal(size=(6, INSTRUMENTS))
    x[:, 3:9] = rng.permutation(6) * 1e17 + 1e17
    x[:, 10:12] = (np.inf, -np.inf)
    x[:, 12] = -1e20
    return x


def an_outlier_first(rng: np.random.Generator) -> Matrix:
    x = rng.normal(size=(6, INSTRUMENTS))
    x[:, 0] = -1e17
    return x


def infinities_alone(rng: np.random.Generator) -> Matrix:
    """Rows without a finite value, beside one with many."""
    x = rng.choice([np.inf, -np.inf, np.nan], (6, INSTRUMENTS))
    x[0] = rng.normal(size=INSTRUMENTS)
    x[1, :] = np.inf
    x[2, 1:] = np.nan
    x[2, 0] = -np.inf
    return x


def few_values(rng: np.random.Generator) -> Matrix:
    return rng.integers(0, 4, (6, INSTRUMENTS)).astype(float)


def one_value_and_others(rng: np.random.Generator) -> Matrix:
    x = np.where(rng.random((6, INSTRUMENTS)) < 0.7, 0.0, rng.normal(size=(6, INSTRUMENTS)))
    x[1] = -0.0
    return x


def gaps(rng: np.random.Generator) -> Matrix:
    x = rng.normal(size=(6, INSTRUMENTS))
    x[rng.random(x.shape) < 0.5] = np.nan
    x[0] = np.nan
    x[1, 1:] = np.nan
    x[2, :4] = np.inf
    x[2, 4:9] = -np.inf
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    "make",
    [
        near_equal,
        heavy_tails,
        outliers,
        an_outlier_first,
        infinities_alone,
        few_values,
        one_value_and_others,
        gaps,
    ],
)
def test_values_with_equal_images_are_ranked_by_themselves(make: Any, sign: float, dtype: type) -> None:
    x = make(np.random.default_rng(2)).astype(dtype)
    np.testing.assert_array_equal(ranks(x, sign), sign * expected(x))
