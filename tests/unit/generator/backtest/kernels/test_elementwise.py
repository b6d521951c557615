"""Powers that are put together from powers of sizes are those of the C library."""

import itertools
import math

import numpy as np
import pytest

from generator.backtest.kernels.elementwise import BINARY, WITH_NUMBER

BASES = [-math.inf, -3.5, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.5, math.inf, math.nan]
EXPONENTS = [-math.inf, -3.0, -2.0, -1.5, -1.0, -0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 1e16, math.inf, math.nan]


def power(x: float, y: float) -> float:
    """The power of the C library, which Python's raises for where it is infinite or none."""
    try:
        return math.pow(x, y)
    except ValueError:
        return math.copysign(math.inf, x if y % 2.0 == 1.0 else 1.0) if x == 0.0 else math.nan
    except OverflowError:
        return math.inf


def signed(x: float, y: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.sign(x) * np.power(np.abs(np.float64(x)), np.float64(y)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "wanted"), [("power", power), ("signed_power", signed)])
def test_powers_of_every_kind_of_number(name: str, wanted: object, dtype: type) -> None:
    pairs = np.array(list(itertools.product(BASES, EXPONENTS)), dtype)
    x, y = (np.ascontiguousarray(side.reshape(len(BASES), -1)) for side in pairs.T)
    by_matrix, by_number, of_number = (np.empty_like(x) for _ in range(3))
    with np.errstate(all="ignore"):
        BINARY[name](x, y, by_matrix)
        for j, exponent in enumerate(EXPONENTS):
            column = np.empty((len(BASES), 1), dtype)
            WITH_NUMBER[name](np.ascontiguousarray(x[:, j : j + 1]), column, exponent, False)
            by_number[:, j] = column[:, 0]
        for i, base in enumerate(BASES):
            WITH_NUMBER[name](y[i : i + 1], of_number[i : i + 1], base, True)
    expected = np.array(
        [[wanted(*pair) for pair in zip(*rows, strict=True)] for rows in zip(x, y, strict=True)]
    )  # type: ignore[operator]
    for found in (by_matrix, by_number, of_number):
        np.testing.assert_allclose(found, expected.astype(dtype), rtol=1e-6 if dtype is np.float32 else 1e-14)
    zeros = expected == 0.0
    assert (np.signbit(by_number[zeros]) == np.signbit(expected[zeros])).all()


@pytest.mark.parametrize("name", ["max", "min"])
def test_the_order_of_two_zeros_does_not_matter(name: str) -> None:
    x, y = np.array([[0.0, -0.0, 0.0]]), np.array([[-0.0, 0.0, 0.0]])
    one, other = np.empty_like(x), np.empty_like(x)
    BINARY[name](x, y, one)
    BINARY[name](y, x, other)
    assert one.tobytes() == other.tobytes()
