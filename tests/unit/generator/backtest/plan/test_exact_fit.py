"""What a regression leaves of an exact fit is 0, and of any other fit what it is."""

import numpy as np
import numpy.typing as npt
import pytest

from generator.backtest.panel import Panel
from generator.backtest.run.engine import Engine
from generator.catalogue import load_catalogue
from generator.language import parse

DAYS, INSTRUMENTS = 150, 30
_rng = np.random.default_rng(3)
FIELDS = {
    "close": 100 * np.exp(np.cumsum(_rng.normal(0, 0.02, (DAYS, INSTRUMENTS)), axis=0)),
    "volume": np.floor(np.exp(_rng.normal(13, 1, (DAYS, INSTRUMENTS)))),
    "cap": 1e9 + _rng.normal(0, 1, (DAYS, INSTRUMENTS)),
    "returns": _rng.normal(0, 0.01, (DAYS, INSTRUMENTS)),
}
for _field in FIELDS.values():
    _field[_rng.random((DAYS, INSTRUMENTS)) < 0.03] = np.nan
LINES = ("2 * {x} + 1", "-3 * {x}", "0.1 * {x} - 7", "{x} / 3", "{x}")


def values(*texts: str, dtype: npt.DTypeLike = np.float64) -> list[np.ndarray]:
    panel = Panel(
        np.datetime64("2020-01-01") + np.arange(DAYS),
        tuple(f"S{i:02}" for i in range(INSTRUMENTS)),
        {name: field.astype(dtype) for name, field in FIELDS.items()},
    )
    catalogue = load_catalogue(higher=True)
    return Engine(panel, threads=1).values([parse(text, catalogue) for text in texts])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("x", FIELDS)
@pytest.mark.parametrize("line", LINES)
def test_an_exact_fit_leaves_nothing(x: str, line: str, dtype: npt.DTypeLike) -> None:
    y = line.format(x=x)
    texts = [f"ts_regression({y}, {x}, {d}, rettype={k})" for d in (5, 60) for k in (0, 4, 7, 8, 9)]
    for text, found in zip(
        [*texts, ""], values(*texts, f"regression_neut({y}, {x})", dtype=dtype), strict=True
    ):
        assert not np.nan_to_num(found).any(), text


@pytest.mark.parametrize("x", FIELDS)
def test_a_multiple_has_nothing_beside_the_vector(x: str) -> None:
    [found] = values(f"vector_neut(-3 * {x}, {x})")
    assert not np.nan_to_num(found).any()


def test_a_rank_of_nothing_is_the_same_for_all() -> None:
    [found] = values("rank(ts_regression(2 * close + 1, close, 20))")
    known = found[30:][np.isfinite(found[30:])]
    assert len(known)
    np.testing.assert_array_equal(known, 0.5)


def test_small_residuals_of_other_fits_stay() -> None:
    """A thousandth of a millionth of the value is data."""
    noise = "1e-9 * close * (returns > 0)"
    left, across = values(
        f"ts_regression(2 * close + {noise}, close, 20)", f"regression_neut(2 * close + {noise}, close)"
    )
    for found in (left, across):
        sizes = np.abs(found[np.isfinite(found)])
        assert (sizes > 1e-12).mean() > 0.9
        assert sizes.max() < 1e-6
