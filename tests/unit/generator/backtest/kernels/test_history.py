"""A median that slides, beside numpy's of each window."""

import math
import warnings

import numpy as np
import pytest

from generator.backtest.kernels import history


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("d", [1, 2, 5, 12, 100])
def test_a_median_of_ties_gaps_and_infinities_is_numpys(d: int, dtype: type) -> None:
    rng = np.random.default_rng(d)
    x = rng.integers(-3, 4, (60, 9)).astype(dtype)
    x[rng.random(x.shape) < 0.3] = math.nan
    x[rng.random(x.shape) < 0.05] = math.inf
    x[rng.random(x.shape) < 0.05] = -math.inf
    x[10:40, 3] = math.nan
    out = np.empty_like(x)
    history.median(x, out, 0, x.shape[1], d)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # a window without a value, and infinities of both signs
        wanted = [np.nanmedian(x[max(0, t - d + 1) : t + 1], axis=0) for t in range(len(x))]
    np.testing.assert_array_equal(out, np.array(wanted))
