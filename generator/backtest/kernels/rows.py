"""Rows moved and added by plain loops, which become vector instructions; numba's own slice assignments do not."""

from typing import Any

import numpy as np

from generator.backtest.kernels.jit import kernel

Array = Any


WIDEST = 128
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
def gather(blocks: Array, first: int, rows: Array) -> None:
    """Fill whole rows, the first of them day `first`, from blocks of columns."""
    width = blocks.shape[2]
    for k in range(blocks.shape[0]):
        c = k * width
        for r in range(rows.shape[0]):
            for j in range(min(width, rows.shape[1] - c)):
                rows[r, np.uintp(c + j)] = blocks[k, first + r, j]


@kernel
def scatter(rows: Array, first: int, blocks: Array) -> None:
    """Undo what `gather` does."""
    width = blocks.shape[2]
    for k in range(blocks.shape[0]):
        c = k * width
        for r in range(rows.shape[0]):
            for j in range(min(width, rows.shape[1] - c)):
                blocks[k, first + r, j] = rows[r, np.uintp(c + j)]
