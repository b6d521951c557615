"""Rows moved and added by plain loops, which become vector instructions; numba's own slice assignments do not."""

from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel

Array = Any
_ROUNDING = 16.0


@kernel
def lanes(w: int) -> int:
    """Return how long to make rows of float64 that hold w and follow each other in memory.

    An odd number of cache lines: rows a power of two apart share the few places that a cache has for their
    addresses, and a loop over six of them took five times as long.
    """
    return 8 * (((w + 7) // 8) | 1)


@kernel
def copy(source: Array, target: Array) -> None:
    """Write one row into another of the same length."""
    for j in range(target.shape[0]):
        target[j] = source[j]


@kernel
def copy_all(source: Array, target: Array) -> None:
    """Write rows into as many others."""
    for k in range(target.shape[0]):
        copy(source[k], target[k])


@kernel
def add(one: Array, other: Array, target: Array) -> None:
    """Write the sum of two rows."""
    for j in range(target.shape[0]):
        target[j] = one[j] + other[j]


@kernel
def rounding_of(size: float, like: Array) -> float:
    """Return what rounding may leave of an exact fit; `like` is a matrix stored as the values are.

    `size` is the sum of the sizes of all terms. A few units in the last place of the largest value were seen to stay; a
    rank would make a signal of them.
    """
    least: float = _ROUNDING * np.finfo(like.dtype).eps * size
    return least
