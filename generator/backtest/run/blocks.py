"""Steps of one phase, run on one block after another.

A matrix that is computed lies in blocks of columns, one after another in memory (blocks x days x width; the last is
filled up). Steps that look back in time work on such a block where it lies. Steps that look across instruments work on a
few days at a time, gathered into whole rows. Either way a thread takes a block through all steps of the phase while it
is in its cache.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from generator.backtest.kernels.rows import gather, scatter
from generator.backtest.panel import Matrix

Bounds = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Task:
    """A step with its matrices at hand; see plan.schedule.Work. `result` is None where only the slot is needed."""

    kernel: Callable[..., None]
    inputs: tuple[int, ...]
    out: int
    dtype: np.dtype[Any]
    loads: tuple[tuple[int, Matrix], ...]
    result: Matrix | None
    params: tuple[Any, ...]


class _Slots(dict[int, Matrix]):
    """The slots of a thread, and the buffers behind those that have one."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[int, np.dtype[Any]], Matrix] = {}

    def buffer(self, slot: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Matrix:
        """Give the slot its buffer, of at least as many rows as asked for, and return it."""
        known = self._buffers.get((slot, dtype))
        if known is None or len(known) < shape[0]:
            known = self._buffers[slot, dtype] = np.empty(shape, dtype)
        self[slot] = known[: shape[0]]
        return self[slot]


def run_columns(tasks: list[Task], shape: tuple[int, int], waiting: Iterator[Bounds]) -> None:
    """Run the tasks on blocks of columns of this shape."""
    slots = _Slots()
    with np.errstate(all="ignore"):
        for k, _ in waiting:
            for task in tasks:
                for slot, matrix in task.loads:
                    slots[slot] = matrix[k]
                if task.result is None:
                    slots.buffer(task.out, shape, task.dtype)
                else:
                    slots[task.out] = task.result[k]
                task.kernel(*[slots[i] for i in task.inputs], slots[task.out], *task.params)


def run_rows(tasks: list[Task], instruments: int, waiting: Iterator[Bounds]) -> None:
    """Run the tasks on blocks of days."""
    slots = _Slots()
    with np.errstate(all="ignore"):
        for first, end in waiting:
            for task in tasks:
                for slot, matrix in task.loads:
                    if _is_whole(matrix):
                        slots[slot] = matrix[first:end]
                    else:
                        gather(matrix, first, slots.buffer(slot, (end - first, instruments), matrix.dtype))
                if task.result is not None and _is_whole(task.result):
                    slots[task.out] = task.result[first:end]
                else:
                    slots.buffer(task.out, (end - first, instruments), task.dtype)
                task.kernel(*[slots[i] for i in task.inputs], slots[task.out], *task.params)
                if task.result is not None and not _is_whole(task.result):
                    scatter(slots[task.out], first, task.result)


def _is_whole(matrix: Matrix) -> bool:
    return matrix.ndim == 2  # noqa: PLR2004 - days x instruments
