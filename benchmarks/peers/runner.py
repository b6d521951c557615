"""What every peer's process does: read the panel, evaluate, time it, write results. Only numpy is needed.

Called as `MODULE PANEL.npz EXPRESSIONS.json RESULTS.npz ROUNDS`; prints one JSON object: `seconds` for all expressions (the
best round), `compile` before the first, `peak` bytes over the loaded panel.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray[Any, Any]]
Evaluate = Callable[[], list[np.ndarray[Any, Any]]]
Prepare = Callable[[Arrays, list[Any]], Evaluate]


class Peak:
    """The largest resident size while it is open, above that at its beginning."""

    def __enter__(self) -> "Peak":
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


def main(prepare: Prepare) -> None:
    """Run a peer."""
    panel, expressions, results, rounds = sys.argv[1:5]
    arrays = dict(np.load(panel))
    texts = json.loads(Path(expressions).read_text(encoding="utf-8"))
    with Peak() as peak:
        begin = time.perf_counter()
        evaluate = prepare(arrays, texts)
        compiled = time.perf_counter() - begin
        times = []
        for _ in range(int(rounds)):
            begin = time.perf_counter()
            values = evaluate()
            times.append(time.perf_counter() - begin)
    every = max(1, values[0].shape[0] // 200)
    np.savez(results, **{str(i): v[::every].astype(np.float64) for i, v in enumerate(values)})
    row = {"seconds": min(times), "compile": compiled, "peak": peak.most, "first": times[0]}
    print(json.dumps(row))
