"""The engine: runs a plan on a panel, a block at a time, on a few threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from generator.backtest.kernels.moments import WIDEST
from generator.backtest.kernels.portfolio import FIGURES
from generator.backtest.panel import Matrix, Panel
from generator.backtest.plan.compiler import Compiler
from generator.backtest.plan.folding import fold_signs
from generator.backtest.plan.graph import Graph
from generator.backtest.plan.primitives import PRIMITIVES, Axis, Form
from generator.backtest.plan.schedule import Phase, Plan, plan
from generator.backtest.semantics import Semantics
from generator.language.ast import Node

_PANEL_ROWS = 64  # computing the day before anew costs a row a block
_BLOCK_BYTES = 1024 << 10  # of one matrix: a few of them fit into a core's cache
_LINE = 16  # columns, so that rows of a block begin where cache lines do
_BUDGET = 400 << 20
_MATRICES_PER_ROOT = 3



@dataclass(frozen=True, slots=True)
class _Task:
    """A work with what it needs at hand: see schedule.Work."""

    kernel: Callable[..., None]
    inputs: tuple[int, ...]
    out: int
    dtype: np.dtype[Any]
    loads: tuple[tuple[int, Matrix], ...]
    result: Matrix | None
    params: tuple[Any, ...]


class Engine:
    """Evaluates expressions on one panel.

    `dtype` is how matrices are stored (sums are float64 in any case); None takes the panel's. Results are the same
    whatever the number of threads. An engine may be used by one thread at a time.
    """

    def __init__(
        self,
        panel: Panel,
        *,
        dtype: npt.DTypeLike | None = None,
        threads: int = 2,
        semantics: Semantics | None = None,
        pasteurize: bool = False,
    ) -> None:
        self.panel = panel
        self.dtype = np.dtype(dtype if dtype is not None else panel.dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"matrices are float32 or float64, not {self.dtype}")
        self.semantics = semantics or Semantics()
        self.pasteurize = pasteurize and panel.universe is not None
        self._threads = max(1, threads)
        self._pool = self._new_pool()
        self._fields: dict[str, Matrix] = {}
        self._codes: dict[str, Matrix] = {}
        self._free: dict[Form, list[Matrix]] = {}

    def compiler(self) -> Compiler:
        """Return a compiler for this panel, with a graph of its own."""
        return Compiler(
            fields=frozenset(self.panel.fields),
            groups=self.panel.group_sizes(),
            instruments=len(self.panel.symbols),
            semantics=self.semantics,
            masked=self.pasteurize,
            has_universe=self.panel.universe is not None,
        )

    def values(self, trees: Sequence[Node]) -> list[npt.NDArray[np.float64]]:
        """Return each tree's own matrix (dates x instruments, float64); equal trees share one.

        Raises EvaluationError for the first tree that cannot be evaluated.
        """
        compiler = self.compiler()
        roots = [compiler.matrix(tree) for tree in trees]
        results: dict[int, npt.NDArray[np.float64]] = {}
        for root, matrix in self.run(compiler.graph, roots, lasting=True):
            results[root] = matrix if matrix.dtype == np.float64 else matrix.astype(np.float64)
        return [results[root] for root in roots]

    def run(
        self, graph: Graph, roots: Sequence[int], *, lasting: bool = False
    ) -> Iterator[tuple[int, Matrix]]:
        """Yield each different root with its matrix, in no order that is promised.

        A matrix is good until the next one is asked for, or for ever if `lasting`.
        """
        graph = fold_signs(graph, roots)
        size = self.panel.shape[0] * self.panel.shape[1] * self.dtype.itemsize
        chunk = max(2, min(24, _BUDGET // max(1, size * _MATRICES_PER_ROOT)))
        scheme = plan(graph, roots, chunk=chunk, keep=2 * chunk, lasting_roots=lasting)
        places: list[Matrix | None] = [None] * len(scheme.forms)
        sources = [self._source(graph, step) for step in scheme.sources]
        given = {place for part in scheme.chunks for _, place in part.ready} if lasting else set()
        try:
            for part in scheme.chunks:
                for phase in part.phases:
                    self._run_phase(graph, scheme, phase, places, sources, given)
                for root, place in part.ready:
                    matrix = sources[-1 - place] if place < 0 else places[place]
                    assert matrix is not None
                    yield root, matrix.copy() if lasting and place < 0 else matrix
        finally:
            for place, matrix in enumerate(places):
                if matrix is not None and place not in given:
                    self._free.setdefault(scheme.forms[place], []).append(matrix)

    def _source(self, graph: Graph, step: int) -> Matrix:
        op = graph.steps[step].op
        name = str(graph.steps[step].params[0])
        known = self._fields if op == "field" else self._codes
        if name not in known:
            known[name] = self._load(op, name)
        return known[name]

    def _load(self, op: str, name: str) -> Matrix:
        if op == "field":
            return np.ascontiguousarray(self.panel.fields[name], dtype=self.dtype)
        if name == "universe":
            assert self.panel.universe is not None
            return np.ascontiguousarray(self.panel.universe)
        return np.ascontiguousarray(self.panel.group_codes(name), dtype=np.int32)

    def _run_phase(
        self,
        graph: Graph,
        scheme: Plan,
        phase: Phase,
        places: list[Matrix | None],
        sources: list[Matrix],
        given: set[int],
    ) -> None:
        def at(place: int) -> Matrix:
            if place < 0:
                return sources[-1 - place]
            matrix = places[place]
            if matrix is None:
                matrix = places[place] = self._room(scheme.forms[place], fresh=place in given)
            return matrix

        tasks: list[_Task] = []
        for work in phase.works:
            step = graph.steps[work.step]
            primitive = PRIMITIVES[step.op]
            loads = tuple((slot, at(place)) for slot, place in work.loads)
            dtype = np.dtype(np.int32) if primitive.form is Form.CODES else self.dtype
            result = None if work.place is None else at(work.place)
            tasks.append(
                _Task(primitive.kernel, work.inputs, work.out, dtype, loads, result, primitive.arguments(step))
            )
        blocks = self._blocks(phase.axis)
        waiting = iter(blocks)  # shared: a thread takes the next block when it has done one
        run = {Axis.COLUMNS: self._run_columns, Axis.ROWS: self._run_rows, Axis.PANEL: _run_panel}[phase.axis]
        jobs = [self._pool.submit(run, tasks, waiting) for _ in range(self._threads)]
        wait(jobs)  # for all of them: one that still ran would write to a buffer that is used again
        for job in jobs:
            job.result()

    def _blocks(self, axis: Axis) -> list[tuple[int, int]]:
        days, instruments = self.panel.shape
        if axis is Axis.PANEL:
            return cut(days, _PANEL_ROWS, self._threads)
        across, along = (days, instruments) if axis is Axis.COLUMNS else (instruments, days)
        fits = _BLOCK_BYTES // (across * self.dtype.itemsize)
        if axis is Axis.COLUMNS:
            fits = min(WIDEST, max(fits // _LINE, 1) * _LINE)
        return cut(along, max(fits, 1), self._threads)

    def _run_columns(self, tasks: list[_Task], waiting: Iterator[tuple[int, int]]) -> None:
        """Run the tasks on blocks of columns: copies, so that a block lies in one piece."""
        rooms: dict[tuple[int, int, np.dtype[Any]], Matrix] = {}

        def room(slot: int, width: int, dtype: np.dtype[Any]) -> Matrix:
            key = slot, width, dtype
            if key not in rooms:
                rooms[key] = np.empty((self.panel.shape[0], width), dtype)
            return rooms[key]

        slots: dict[int, Matrix] = {}
        with np.errstate(all="ignore"):
            for first, end in waiting:
                for task in tasks:
                    for slot, matrix in task.loads:
                        slots[slot] = room(slot, end - first, matrix.dtype)
                        np.copyto(slots[slot], matrix[:, first:end])
                    out = slots[task.out] = room(task.out, end - first, task.dtype)
                    task.kernel(*[slots[i] for i in task.inputs], out, *task.params)
                    if task.result is not None:
                        task.result[:, first:end] = out

    def _run_rows(self, tasks: list[_Task], waiting: Iterator[tuple[int, int]]) -> None:
        """Run the tasks on blocks of rows, which lie in one piece where they are."""
        rooms: dict[tuple[int, np.dtype[Any]], Matrix] = {}
        slots: dict[int, Matrix] = {}
        with np.errstate(all="ignore"):
            for first, end in waiting:
                for task in tasks:
                    for slot, matrix in task.loads:
                        slots[slot] = matrix[first:end]
                    if task.result is not None:
                        out = task.result[first:end]
                    else:
                        key = task.out, task.dtype
                        if key not in rooms or len(rooms[key]) < end - first:
                            rooms[key] = np.empty((end - first, self.panel.shape[1]), task.dtype)
                        out = rooms[key][: end - first]
                    slots[task.out] = out
                    task.kernel(*[slots[i] for i in task.inputs], out, *task.params)

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="backtest")

    def _room(self, form: Form, *, fresh: bool) -> Matrix:
        if form is Form.DAILY:
            return np.empty((self.panel.shape[0], FIGURES))
        waiting = self._free.get(form)
        if waiting and not fresh:
            return waiting.pop()
        return np.empty(self.panel.shape, dtype=np.int32 if form is Form.CODES else self.dtype)

    def close(self) -> None:
        """End the threads and let go of the buffers; the engine can be used again."""
        self._pool.shutdown()
        self._pool = self._new_pool()
        self._free.clear()


def _run_panel(tasks: list[_Task], waiting: Iterator[tuple[int, int]]) -> None:
    """Run the tasks on blocks of rows of their results, from whole matrices."""
    slots: dict[int, Matrix] = {}
    for first, end in waiting:
        for task in tasks:
            slots.update(task.loads)
            task.kernel(*[slots[i] for i in task.inputs], task.result, first, end, *task.params)


def cut(length: int, width: int, threads: int) -> list[tuple[int, int]]:
    """Cut a length into blocks of about the same size, at most `width`, as many for each thread as for the others."""
    rounds = -(-length // (width * threads))
    size = max(1, -(-length // (rounds * threads)))
    return [(a, min(a + size, length)) for a in range(0, length, size)]
