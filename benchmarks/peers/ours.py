"""The local backtest as a peer: float32 or float64, values only or with the portfolio, by FLEET_BENCH."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.expressions import GROUPS, parsed, trees
from benchmarks.peers.runner import Arrays, Evaluate, main
from generator.backtest.panel import Panel
from generator.backtest.result.evaluate import engine_for
from generator.backtest.result.evaluate import evaluate as judge
from generator.backtest.run.engine import Engine
from generator.backtest.settings import AlphaSettings


def panel_of(arrays: Arrays) -> Panel:
    """Return the benchmark's arrays as a panel."""
    days, instruments = arrays["close"].shape
    return Panel(
        dates=np.datetime64("2015-01-01") + np.arange(days),
        symbols=tuple(f"S{i:05}" for i in range(instruments)),
        fields={name: a for name, a in arrays.items() if name not in GROUPS},
        groups={name: arrays[name] for name in GROUPS},
    )


def prepare(arrays: Arrays, _expressions: list[Any]) -> Evaluate:
    """Return the function that evaluates the batch: matrices only, or each alpha's figures too."""
    mode, threads = os.environ.get("FLEET_BENCH", "values"), int(os.environ.get("FLEET_BENCH_THREADS", "2"))
    panel = panel_of(arrays)
    texts = os.environ.get("FLEET_BENCH_TEXTS")
    batch = parsed(json.loads(Path(texts).read_text(encoding="utf-8"))) if texts else trees()
    if mode == "portfolio":
        settings = AlphaSettings()
        with_figures = engine_for(panel, settings, threads=threads)

        def figures() -> list[np.ndarray[Any, Any]]:
            found = judge(batch, panel, settings, engine=with_figures)
            return [one.performance.pnl.reshape(-1, 1) for one in found]  # type: ignore[union-attr]

        return figures
    engine = Engine(panel, threads=threads)

    def values() -> list[np.ndarray[Any, Any]]:
        compiler = engine.compiler()
        roots = [compiler.matrix(tree) for tree in batch]
        kept = {root: m[:: max(1, len(m) // 200)].copy() for root, m in engine.run(compiler.graph, roots)}
        return [kept[root] for root in roots]

    return values


if __name__ == "__main__":
    main(prepare)
