"""The main program of every peer: reads the panel, evaluates, measures, writes results. It needs only numpy.

Called as `MODULE PANEL.npz EXPRESSIONS.json RESULTS.npz ROUNDS`, it prints one JSON object. `seconds` and `cpu` are the
best round's over all expressions. `compile` is the time before the first round, and `peak` the bytes over the loaded
panel. `cpu` counts all threads; a busy machine does not change it. The first round also samples memory, which slows it;
its time counts only if it is the only round.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

Arrays = Mapping[str, np.ndarray[Any, Any]]
Evaluate = Callable[[], list[np.ndarray[Any, Any]]]
Prepare = Callable[[Arrays, list[Any]], Evaluate]


class Peak:
    """Context manager: the largest resident size above that at the start, in bytes."""

    def __enter__(self) -> Self:
        self.begin, self.most, self.going = resident(), 0, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self.going:
            self.most = max(self.most, resident() - self.begin)
            time.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        self.going = False
        self._thread.join()


def resident() -> int:
    """Return this process's resident bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def timed(evaluate: Evaluate) -> tuple[list[np.ndarray[Any, Any]], tuple[float, float]]:
    """Return the results of a round, its wall seconds and its processor seconds."""
    begin, spent = time.perf_counter(), time.process_time()
    values = evaluate()
    return values, (time.perf_counter() - begin, time.process_time() - spent)


def main(prepare: Prepare) -> None:
    """Run a peer."""
    panel, expressions, results, rounds = sys.argv[1:5]
    arrays = dict(np.load(panel))
    texts = json.loads(Path(expressions).read_text(encoding="utf-8"))
    with Peak() as peak:
        begin = time.perf_counter()
        evaluate = prepare(arrays, texts)
        compiled = time.perf_counter() - begin
        values, first = timed(evaluate)
    others = []
    for _ in range(int(rounds) - 1):
        values, taken = timed(evaluate)
        others.append(taken)
    times, work = zip(*(others or [first]), strict=True)
    kept = {str(i): v[:: max(1, len(v) // 200)].astype(np.float64) for i, v in enumerate(values)}
    np.savez(results, **kept)
    row = {"seconds": min(times), "cpu": min(work), "compile": compiled, "peak": peak.most}
    print(json.dumps(row))
