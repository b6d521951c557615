"""Rows moved and added by plain loops, which become vector instructions; numba's own slice assignments do not."""

from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel

Array = Any
_ROUNDING = 16.0


WIDEST = 1024
"""The most columns of a block."""
ROW = WIDEST + 8
"""The places of a row of sums. A loop needs no checks for overlaps between rows at constant places of one array, and
becomes vector instructions; rows a power of two apart would share the few places that a cache has for their addresses."""


@kernel
def copy(source: Array, target: Array) -> None:
    """Write one row into another of the same length."""
    for j in range(target.shape[0]):
        target[j] = source[j]


@kernel
def keep(s: Array, kept: Array, q: int, rows: int, w: int) -> None:
    """Write the first w places of so many rows of sums into row q of what is kept."""
    for k in range(rows):
        for j in range(w):
            kept[q, k * ROW + j] = s[k * ROW + j]


@kernel
def rounding_of(size: float, like: Array) -> float:
    """Return what rounding may leave of an exact fit; `like` is a matrix stored as the values are.

    `size` is the sum of the sizes of all terms. A few units in the last place of the largest value were seen to stay; a
    rank would make a signal of them.
    """
    least: float = _ROUNDING * np.finfo(like.dtype).eps * size
    return least
