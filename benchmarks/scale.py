"""Variants on 1, 2 and 4 dask workers beside the local engine; empty batches; results stored in a database.

The workers are added and removed again. Each number of workers is measured on both ways, since the machine's load
changes.
"""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from benchmarks.report import Report
from fleet.config.schema import PanelSettings
from fleet.runtime.clock import SystemClock
from generator.backtest.panel import Panel
from generator.backtest.synthetic import synthetic_panel
from generator.domain import AlphaFigures, CallRecord, Candidate, Evaluated, Ruleset, Source
from generator.evaluators.cluster import Cluster
from generator.evaluators.fanout import FanoutEvaluator
from generator.evaluators.local import BATCH, LocalEvaluator, backtest_settings
from generator.storage.store import AlphaStore
from tests.parts.dask_cluster import DaskCluster, dask_cluster
from tests.parts.postgresql import postgresql

DAYS, INSTRUMENTS = 1260, 500
VARIANTS = 96
EMPTY = 400
STORED = 400
STEPS = (1, 2, 4, 2, 1)
PATIENCE = 300.0
RULES = Ruleset(Source.SYNTHETIC, {"bench": 1})


def measure() -> list[Report]:
    """Return the tables."""
    with tempfile.TemporaryDirectory() as folder, dask_cluster(Path(folder) / "dask") as cluster:
        cluster.scheduler()
        return [_workers(cluster), _limits(cluster, Path(folder))]


def _workers(cluster: DaskCluster) -> Report:
    """Return the table of variants a second, by the number of workers."""
    panel = synthetic_panel(days=DAYS, instruments=INSTRUMENTS)
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    running = []
    with _evaluator(cluster, panel) as evaluator:
        local = _local(panel)
        for number, count in enumerate(STEPS):
            while len(running) < count:
                running.append(cluster.worker(f"worker-{len(running)}"))
            while len(running) > count:
                running.pop().kill()
            _await_workers(evaluator, count)
            _evaluate(evaluator, _variants(1000 + number, 8 * count))  # kernels and panel of a new worker
            seconds[f"{count} worker{'s' if count > 1 else ''}"].append(
                _evaluate(evaluator, _variants(number))
            )
            seconds["local engine, 1 thread"].append(_evaluate(local, _variants(number)))
        local.close()
    one = fmean(seconds["1 worker"])
    rows = [
        [
            name,
            f"{VARIANTS / fmean(taken):.1f}",
            f"{one / fmean(taken):.2f}",
            " ".join(f"{each:.1f}" for each in taken),
        ]
        for name, taken in sorted(seconds.items())
    ]
    return Report(
        "Variants on dask workers",
        ["evaluated by", "variants/s", "of 1 worker", "seconds of each round"],
        rows,
        f"{VARIANTS} variants in batches of {BATCH}, on a panel of {DAYS} x {INSTRUMENTS}; each worker has one thread. "
        f"Scheduler, generator and workers share {os.cpu_count()} cores with whatever else runs. More workers than "
        "cores gain from its share.",
    )


def _limits(cluster: DaskCluster, folder: Path) -> Report:
    """Return the table of the parts' rates without an engine's work: batches passed on, results stored."""
    with _evaluator(cluster, synthetic_panel(days=60, instruments=12)) as evaluator:
        _await_workers(evaluator, 1)
        one_by_one = [Candidate(f"e{n}", f"close * {n}", "") for n in range(1, EMPTY + 1)]
        _evaluate(evaluator, one_by_one[:8])
        batches = EMPTY / BATCH / _evaluate(evaluator, one_by_one)
    rows = [
        ["batches through the scheduler, one worker", f"{batches:.0f}", f"{1000 / batches:.1f}"],
        ["results stored, SQLite", *_stored(f"sqlite:///{folder}/alphas.db")],
    ]
    with postgresql() as server:
        rows.append(["results stored, PostgreSQL", *_stored(server.create("bench"))])
    return Report(
        "What a fleet's shared parts do a second",
        ["what", "a second", "ms each"],
        rows,
        f"A batch has {BATCH} variants on a panel of 60 x 12. A result is one candidate's row, inserted and settled in two "
        "transactions of one process, without waiting for the disk in PostgreSQL's case.",
    )


@contextmanager
def _evaluator(cluster: DaskCluster, panel: Panel) -> Iterator[FanoutEvaluator]:
    local = _local(panel)
    content = str(local.settings["data"])
    connection = Cluster(cluster.address, content, panel, clock=SystemClock(), report=lambda _: None)
    evaluator = FanoutEvaluator(local, connection, panel=PanelSettings())
    try:
        yield evaluator
    finally:
        evaluator.close()


def _local(panel: Panel) -> LocalEvaluator:
    rules = Ruleset(Source.SYNTHETIC, {"data": panel.content()})
    return LocalEvaluator(panel, backtest_settings(PanelSettings()), rules, threads=1)


def _await_workers(evaluator: FanoutEvaluator, count: int) -> None:
    """Wait until the evaluator uses so many workers."""
    end = time.monotonic() + PATIENCE
    while evaluator.free != 2 * BATCH * count:
        if time.monotonic() > end:
            raise TimeoutError(f"{count} workers are not ready")
        time.sleep(0.1)


def _variants(number: int, count: int = VARIANTS) -> list[Candidate]:
    """Return expressions that no other round has."""
    texts = [
        f"rank(ts_corr(rank(close), rank(volume), {2 + n % 60})) * {number + 1 + n / 1000} - ts_rank(vwap, {3 + n % 40})"
        for n in range(count)
    ]
    return [Candidate(text, text, text) for text in texts]


def _evaluate(evaluator: FanoutEvaluator | LocalEvaluator, waiting: Sequence[Candidate]) -> float:
    """Return the seconds until all have results."""
    began, left, todo = time.monotonic(), len(waiting), list(waiting)
    while left:
        free = evaluator.free
        now, todo = todo[:free], todo[free:]
        evaluator.submit(now)
        left -= len(evaluator.results(0.05))
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"{left} variants have no result")
    return time.monotonic() - began


def _stored(url: str) -> list[str]:
    """Return the results stored a second, and the milliseconds of each."""
    store = AlphaStore(url, owner="bench")
    call = CallRecord("bench", 1.0, 2.0, "m", 0, 0, "p", 200)
    figures = AlphaFigures(1.0, 0.2, 0.9, 0.1, 0.1, 0.1, 1.0, 1.0, 9)
    store.record_call(call, [], RULES)
    began = time.monotonic()
    for number in range(STORED):
        one = Candidate(f"d{number}", f"rank({number})", f"rank({number})", call.id)
        store.record_call(call, [one], RULES)
        store.finish(Evaluated(one, RULES.source, RULES.settings, figures, time=3.0), RULES)
    taken = time.monotonic() - began
    store.close()
    return [f"{STORED / taken:.0f}", f"{1000 * taken / STORED:.1f}"]
