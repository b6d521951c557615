"""The engine: runs a plan on a panel, a block at a time, on a few threads."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import numpy.typing as npt

from generator.backtest.kernels.portfolio import FIGURES
from generator.backtest.kernels.rows import WIDEST
from generator.backtest.panel import Matrix, Panel
from generator.backtest.plan.compiler import Compiler
from generator.backtest.plan.folding import fold_signs
from generator.backtest.plan.graph import Graph
from generator.backtest.plan.primitives import PRIMITIVES, Axis, Form, Primitive
from generator.backtest.plan.schedule import Phase, Plan, plan
from generator.backtest.settings import Semantics
from generator.language.ast import Node

_BLOCK_BYTES = 128 << 10  # of a block of rows: several matrices of it fit into a cache
_PANEL_ROWS = 64  # computing the day before anew costs a row a block
_BUDGET = 400 << 20
_MATRICES_PER_ROOT = 3

Call = tuple[Primitive, tuple[int, ...], int, tuple[Any, ...]]
"""A primitive, the numbers of its inputs and of its output among a phase's arrays, and its parameters."""


class Engine:
    """Evaluates expressions on one panel.

    `dtype` is the type of stored matrices, None for the panel's; sums are always float64. Results do not depend on the
    number of threads. An engine may be used by one thread at a time.
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
        """Yield each different root with its matrix, in any order.

        A matrix is valid until the next one is requested; with `lasting` it stays valid.
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
        used = {place: i for i, place in enumerate({p for w in phase.works for p in (*w.inputs, w.out)})}
        arrays: list[Matrix | None] = []
        for place in used:
            if place >= 0 and place not in scheme.passing and places[place] is None:
                places[place] = self._room(scheme.forms[place], fresh=place in given)
            arrays.append(sources[-1 - place] if place < 0 else places[place])
        codes = [place in scheme.passing and scheme.forms[place] is Form.CODES for place in used]
        calls: list[Call] = []
        for work in phase.works:
            step = graph.steps[work.step]
            primitive = PRIMITIVES[step.op]
            inputs = tuple(used[i] for i in work.inputs)
            calls.append((primitive, inputs, used[work.out], primitive.arguments(step)))
        self._execute(calls, arrays, codes, phase.axis)

    def _execute(
        self, calls: list[Call], arrays: list[Matrix | None], codes: list[bool], along: Axis
    ) -> None:
        """Make the calls for each block; where there is no array, a thread's own block takes its place."""
        days, instruments = self.panel.shape
        if (
            along is Axis.COLUMNS
        ):  # a core reads contiguous memory fastest: a step's whole width, if there are many
            blocks = cut(instruments, WIDEST, -(-self._threads // len(calls)))
            tasks = [([call], a, b) for call in calls for a, b in blocks]
        else:
            rows = max(1, _BLOCK_BYTES // (instruments * self.dtype.itemsize))
            blocks = cut(days, _PANEL_ROWS if along is Axis.PANEL else rows, self._threads)
            tasks = [(calls, a, b) for a, b in blocks]
        most = max((b - a for a, b in blocks), default=0)

        def work(waiting: Iterator[tuple[list[Call], int, int]]) -> None:
            own = [
                np.empty((most, instruments), np.int32 if code else self.dtype) if array is None else array
                for array, code in zip(arrays, codes, strict=True)
            ]
            passing = [array is None for array in arrays]
            with np.errstate(all="ignore"):  # infinities and NaN are data here
                for chain, a, b in waiting:
                    parts = own
                    if along is not Axis.COLUMNS:
                        parts = [
                            array[: b - a] if one else array[a:b]
                            for array, one in zip(own, passing, strict=True)
                        ]
                    for primitive, inputs, out, params in chain:
                        if primitive.axis is Axis.ROWS:
                            primitive.kernel(*[parts[i] for i in inputs], parts[out], *params)
                        else:
                            primitive.kernel(*[own[i] for i in inputs], parts[out], a, b, *params)

        waiting = iter(tasks)  # shared: a thread takes its next task from it
        jobs = [self._pool.submit(work, waiting) for _ in range(self._threads)]
        wait(jobs)  # all of them: a running one would write to a buffer that is used again
        for job in jobs:
            job.result()

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="backtest")

    def _room(self, form: Form, *, fresh: bool) -> Matrix:
        waiting = self._free.get(form)
        if waiting and not fresh:
            return waiting.pop()
        if form is Form.DAILY:
            return np.empty((self.panel.shape[0], FIGURES))
        return np.empty(self.panel.shape, dtype=np.int32 if form is Form.CODES else self.dtype)

    def close(self) -> None:
        """End the threads and free the buffers; the engine can be used again."""
        self._pool.shutdown()
        self._pool = self._new_pool()
        self._free.clear()


def cut(length: int, width: int, threads: int) -> list[tuple[int, int]]:
    """Cut a length into blocks of about the same size, at most `width`, equally many for each thread."""
    rounds = -(-length // (width * threads))
    size = max(1, -(-length // (rounds * threads)))
    return [(a, min(a + size, length)) for a in range(0, length, size)]
