"""Rows moved and added by plain loops, which become vector instructions; numba's own slice assignments do not."""

from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel

Array = Any
_ROUNDING = 16.0


WIDEST = 1024
"""The most columns of a block."""
ROW = WIDEST + 8
"""The places of a row of sums. A loop over rows at constant places of one array needs no checks for overlaps and
becomes vector instructions. Rows a power of two apart would compete for the same cache lines."""


@kernel
def copy(source: Array, target: Array) -> None:
    """Write one row into another of the same length."""
    for j in range(target.shape[0]):
        target[j] = source[j]


@kernel
def keep(s: Array, kept: Array, q: int, rows: int, w: int) -> None:
    """Write the first w places of `rows` rows of sums into row q of `kept`."""
    for k in range(rows):
        for j in range(w):
            kept[q, k * ROW + j] = s[k * ROW + j]


@kernel
def rounding_of(size: float, like: Array) -> float:
    """Return the largest rounding error of an exact fit; `like` is a matrix stored as the values are.

    `size` is the sum of the sizes of all terms. An error of a few units in the last place of the largest value was
    observed. A rank would turn it into a signal.
    """
    least: float = _ROUNDING * np.finfo(like.dtype).eps * size
    return least
