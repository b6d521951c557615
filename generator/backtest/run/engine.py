"""The engine: runs a plan on a panel, a block at a time, on a few threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from generator.backtest.kernels.portfolio import FIGURES
from generator.backtest.kernels.rows import WIDEST, gather, scatter
from generator.backtest.panel import Matrix, Panel
from generator.backtest.plan.compiler import Compiler
from generator.backtest.plan.folding import fold_signs
from generator.backtest.plan.graph import Graph
from generator.backtest.plan.primitives import PRIMITIVES, Axis, Form
from generator.backtest.plan.schedule import Phase, Plan, Work, plan
from generator.backtest.run.blocks import Bounds, Task, run_columns, run_rows
from generator.backtest.semantics import Semantics
from generator.language.ast import Node

_PANEL_ROWS = 64  # computing the day before anew costs a row a block
_BLOCK_BYTES = 512 << 10  # of one matrix: a few of them fit into a core's cache
_LINE = 16  # columns, so that rows of a block begin where cache lines do
_BUDGET = 400 << 20
_MATRICES_PER_ROOT = 3


@dataclass(frozen=True, slots=True)
class _Places:
    """What a plan's places hold while it runs: blocks of columns, or a few figures a day."""

    graph: Graph
    scheme: Plan
    held: dict[int, Matrix] = field(default_factory=dict)
    daily: dict[int, Matrix] = field(default_factory=dict)


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
        self._sources: dict[tuple[str, str, bool], Matrix] = {}
        self._free: dict[Form, list[Matrix]] = {}
        self._gathered: dict[Any, Matrix] = {}
        self._inputs: dict[int, dict[Any, Matrix]] = {}
        days, instruments = panel.shape
        lines = _BLOCK_BYTES // (max(1, days) * self.dtype.itemsize * _LINE)
        width = min(WIDEST, max(1, lines) * _LINE)
        self._blocks = -(-instruments // width), days, width

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
        for root, matrix in self.run(compiler.graph, roots):
            results[root] = matrix.astype(np.float64)
        return [results[root] for root in roots]

    def run(self, graph: Graph, roots: Sequence[int]) -> Iterator[tuple[int, Matrix]]:
        """Yield each different root with its matrix, in no order that is promised.

        A matrix is good until the next one is asked for.
        """
        graph = fold_signs(graph, roots)
        size = self.panel.shape[0] * self.panel.shape[1] * self.dtype.itemsize
        chunk = max(2, min(24, _BUDGET // max(1, size * _MATRICES_PER_ROOT)))
        scheme = plan(graph, roots, chunk=chunk, keep=2 * chunk)
        places = _Places(graph, scheme)
        try:
            for part in scheme.chunks:
                for phase in part.phases:
                    self._run_phase(places, phase)
                for root, place in part.ready:
                    yield root, self._whole(places, place, self._gathered)
        finally:
            for place, matrix in places.held.items():
                self._free.setdefault(scheme.forms[place], []).append(matrix)

    def _at(self, places: _Places, place: int) -> Matrix:
        """Return the blocks of a place."""
        if place not in places.held:
            form = places.scheme.forms[place]
            waiting = self._free.get(form)
            shape = self.panel.shape if form is Form.WHOLE else self._blocks
            places.held[place] = waiting.pop() if waiting else np.zeros(shape, self._dtype(form))
        return places.held[place]

    def _source(self, places: _Places, place: int, *, blocks: bool) -> Matrix:
        """Return a field or a group's codes: whole, or cut into blocks of columns."""
        step = places.graph.steps[places.scheme.sources[-1 - place]]
        name = str(step.params[0])
        key = step.op, name, blocks
        if key not in self._sources:
            matrix = self._load(step.op, name)
            if blocks:
                whole, matrix = matrix, np.zeros(self._blocks, matrix.dtype)
                scatter(whole, 0, matrix)
            self._sources[key] = matrix
        return self._sources[key]

    def _load(self, op: str, name: str) -> Matrix:
        if op == "field":
            return np.ascontiguousarray(self.panel.fields[name], dtype=self.dtype)
        if name == "universe":
            assert self.panel.universe is not None
            return np.ascontiguousarray(self.panel.universe)
        return np.ascontiguousarray(self.panel.group_codes(name), dtype=np.int32)

    def _dtype(self, form: Form) -> np.dtype[Any]:
        return np.dtype(np.int32) if form is Form.CODES else self.dtype

    def _whole(self, places: _Places, place: int, room: dict[Any, Matrix]) -> Matrix:
        """Return what a place holds as one matrix, gathered into that of `room` where it lies in blocks."""
        if place < 0:
            return self._source(places, place, blocks=False)
        if places.scheme.forms[place] is Form.DAILY:
            return places.daily[place]
        blocks = self._at(places, place)
        if places.scheme.forms[place] is Form.WHOLE:
            return blocks
        if room.get(blocks.dtype) is None:
            room[blocks.dtype] = np.empty(self.panel.shape, blocks.dtype)
        matrix = room[blocks.dtype]
        self._execute(
            partial(_each, lambda first, end: gather(blocks, first, matrix[first:end])), self._days(_PANEL_ROWS)
        )
        return matrix

    def _run_phase(self, places: _Places, phase: Phase) -> None:
        if phase.axis is Axis.PANEL:
            for work in phase.works:
                self._run_panel(places, work)
            return
        by_columns = phase.axis is Axis.COLUMNS
        tasks = [self._task(places, work, blocks=by_columns) for work in phase.works]
        instruments = self.panel.shape[1]
        if by_columns:
            count, *shape = self._blocks
            self._execute(partial(run_columns, tasks, tuple(shape)), [(k, k + 1) for k in range(count)])
        else:
            rows = max(1, _BLOCK_BYTES // (instruments * self.dtype.itemsize))
            self._execute(partial(run_rows, tasks, instruments), self._days(rows))

    def _task(self, places: _Places, work: Work, *, blocks: bool) -> Task:
        step = places.graph.steps[work.step]
        primitive = PRIMITIVES[step.op]
        loads = tuple(
            (slot, self._at(places, place) if place >= 0 else self._source(places, place, blocks=blocks))
            for slot, place in work.loads
        )
        return Task(
            primitive.kernel,
            work.inputs,
            work.out,
            self._dtype(primitive.form),
            loads,
            None if work.place is None else self._at(places, work.place),
            primitive.arguments(step),
        )

    def _run_panel(self, places: _Places, work: Work) -> None:
        """Run a step that needs whole matrices, a few days of its result at a time."""
        step = places.graph.steps[work.step]
        primitive = PRIMITIVES[step.op]
        whole = {slot: self._whole(places, place, self._inputs.setdefault(i, {})) for i, (slot, place) in enumerate(work.loads)}
        inputs = [whole[slot] for slot in work.inputs]
        daily = primitive.form is Form.DAILY
        days, instruments = self.panel.shape
        out = np.empty((days, FIGURES if daily else instruments), np.float64 if daily else self.dtype)
        params = primitive.arguments(step)
        self._execute(
            partial(_each, lambda first, end: primitive.kernel(*inputs, out, first, end, *params)),
            self._days(_PANEL_ROWS),
        )
        assert work.place is not None
        if daily:
            places.daily[work.place] = out
        else:
            scatter(out, 0, self._at(places, work.place))

    def _days(self, rows: int) -> list[Bounds]:
        return cut(self.panel.shape[0], rows, self._threads)

    def _execute(self, run: Callable[[Iterator[Bounds]], None], blocks: list[Bounds]) -> None:
        waiting = iter(blocks)  # shared: a thread takes the next block when it has done one
        jobs = [self._pool.submit(run, waiting) for _ in range(self._threads)]
        wait(jobs)  # for all of them: one that still ran would write to a buffer that is used again
        for job in jobs:
            job.result()

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="backtest")

    def close(self) -> None:
        """End the threads and let go of the buffers; the engine can be used again."""
        self._pool.shutdown()
        self._pool = self._new_pool()
        self._free.clear()


def _each(function: Callable[[int, int], object], waiting: Iterator[Bounds]) -> None:
    for block in waiting:
        function(*block)


def cut(length: int, width: int, threads: int) -> list[tuple[int, int]]:
    """Cut a length into blocks of about the same size, at most `width`, as many for each thread as for the others."""
    rounds = -(-length // (width * threads))
    size = max(1, -(-length // (rounds * threads)))
    return [(a, min(a + size, length)) for a in range(0, length, size)]
