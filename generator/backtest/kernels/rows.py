"""Rows moved and added by plain loops, which become vector instructions; numba's own slice assignments do not."""

from typing import Any

from generator.backtest.kernels.jit import kernel

Array = Any


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
