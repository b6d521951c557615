"""Twenty expressions evaluated by the local backtest, and by pandas, polars_ta, KunQuant and py-alpha-lib in the same run.

The peers have their own environments under `build`, made at the first run. py-alpha-lib needs Python 3.12, named
`python3.12` or by PYTHON312. A peer that cannot be installed, or that needs too much time or memory here, is listed
with the reason. All results are compared. `BASE=COMMIT` shows a commit of this repository beside the tree, by turns.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.expressions import EXPRESSIONS, FIELDS, GROUPS, nested, parsed
from benchmarks.peers.formulaic import FORMULAIC
from benchmarks.report import Report
from generator.backtest.loading.memory import free_bytes
from generator.backtest.synthetic import synthetic_panel

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "build" / "bench-peers"
PACKAGES = ("numpy", "pandas", "polars", "polars_ta", "expr_codegen", "KunQuant")
NEWER = ROOT / "build" / "bench-peers-3.12"
NEWER_PACKAGES = ("numpy", "py-alpha-lib")
SMALL, LARGE, YEAR = (1260, 1000), (2520, 3000), (261, 4000)
LIMIT = 240.0
LARGER = 6 * 1.5  # times as many cells, and a little patience
PATIENCE = 75.0  # for a peer's one round on the large panel
PEAKS = {"polars": 6e9, "pandas": 1e9, "kunquant": 3.5e9, "alpha": 3e9}
COUNT = len(EXPRESSIONS)
ONE_BY_ONE = {
    "rank": "rank(close)",
    "group_rank": "group_rank(close, sector)",
    "ts_rank": "ts_rank(close, 20)",
    "ts_corr": "ts_corr(close, volume, 20)",
    "ts_covariance": "ts_covariance(close, volume, 20)",
    "ts_std_dev": "ts_std_dev(returns, 20)",
    "ts_zscore": "ts_zscore(close, 20)",
    "ts_mean": "ts_mean(close, 20)",
    "ts_max": "ts_max(high, 20)",
    "ts_decay_linear": "ts_decay_linear(close, 20)",
    "ts_delta": "ts_delta(close, 5)",
    "group_neutralize": "group_neutralize(close, sector)",
    "log": "log(volume)",
}


@dataclass(frozen=True, slots=True)
class Run:
    """The report of a process, or the reason for none; `values` has its results."""

    name: str
    row: Mapping[str, float] | None = None
    values: Mapping[str, Any] | None = None
    reason: str = ""


class Bench:
    """One run: panels on disk, and the processes that evaluate them."""

    def __init__(
        self, folder: Path, texts: Mapping[str, str] = EXPRESSIONS, fields: Sequence[str] = FIELDS
    ) -> None:
        self.folder = folder
        self.fields = fields
        self.count = len(texts)
        self.expressions = folder / f"expressions-{self.count}.json"
        self.expressions.write_text(json.dumps([nested(tree) for tree in parsed(texts)]), encoding="utf-8")
        self.texts = folder / f"texts-{self.count}.json"
        self.texts.write_text(json.dumps(dict(texts)), encoding="utf-8")

    def panel(self, shape: tuple[int, int], dtype: str) -> Path:
        """Return the file of an invented panel."""
        path = self.folder / f"{shape[0]}x{shape[1]}.{dtype}.npz"
        if not path.exists():
            made = synthetic_panel(*shape)
            arrays = {name: made.fields[name].astype(dtype) for name in self.fields}
            np.savez(path, **arrays, **{name: made.groups[name] for name in GROUPS})  # type: ignore[arg-type]
        return path

    def ours(
        self, shape: tuple[int, int], dtype: str, mode: str = "values", *, threads: int = 2, tree: Path = ROOT
    ) -> Run:
        """Run ours, or that of another tree of this repository."""
        environ = {**os.environ, "FLEET_BENCH": mode, "FLEET_BENCH_THREADS": str(threads)}
        if tree == ROOT:
            environ["FLEET_BENCH_TEXTS"] = str(self.texts)
        command = [sys.executable, "-m", "benchmarks.peers.ours"]
        rounds = 4 if shape == LARGE else 9
        return self._run("ours", command, shape, dtype, rounds=rounds, environ=environ, tree=tree)

    def peer(self, name: str, shape: tuple[int, int], dtype: str = "float64", *, rounds: int = 1) -> Run:
        """Run a peer."""
        script = str(ROOT / "benchmarks" / "peers" / f"{name}_peer.py")
        home = NEWER if name == "alpha" else PEERS
        command = [str(home / "bin" / "python"), "-W", "ignore", script]
        rounds = 3 if name == "kunquant" and shape != LARGE else rounds
        return self._run(name, command, shape, dtype, rounds=rounds, environ=dict(os.environ))

    def _run(
        self,
        name: str,
        command: Sequence[str],
        shape: tuple[int, int],
        dtype: str,
        *,
        rounds: int,
        environ: dict[str, str],
        tree: Path = ROOT,
    ) -> Run:
        results = self.folder / f"{name}.npz"
        files = [str(self.panel(shape, dtype)), str(self.expressions), str(results), str(rounds)]
        try:
            done = subprocess.run(
                [*command, *files],
                cwd=tree,
                env=environ,
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Run(name, reason=f"stopped after {LIMIT:.0f} s")
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
            return Run(name, reason=lines[-1][:80])
        with np.load(results) as arrays:
            values = dict(arrays)
        results.unlink()
        return Run(name, json.loads(done.stdout.splitlines()[-1]), values)


def make_peers(folder: Path, python: str, packages: Sequence[str]) -> str:
    """Make an environment of peers; return the reason of a failure, else an empty text."""
    if (folder / "made").exists():
        return ""
    install = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    try:
        subprocess.run([python, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=LIMIT)
        subprocess.run([*install, *packages], check=True, capture_output=True, timeout=3 * LIMIT)
    except (OSError, subprocess.SubprocessError) as error:
        return f"the peers cannot be installed ({type(error).__name__})"
    (folder / "made").touch()
    return ""


def make_newer() -> str:
    """Make the environment of the peer that needs Python 3.12; return the reason of a failure, else an empty text."""
    python = os.environ.get("PYTHON312") or shutil.which("python3.12")
    if python is None:
        return "no python3.12 here (PYTHON312 names one)"
    return make_peers(NEWER, python, NEWER_PACKAGES)


def base_tree(folder: Path, commit: str) -> Path:
    """Return a folder with the tree of a commit."""
    tree = folder / f"base-{commit}"
    tree.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "x", "-C", str(tree)], input=packed.stdout, check=True)
    return tree


def alike(ours: Mapping[str, Any], peer: Mapping[str, Any]) -> tuple[float, float]:
    """Return the median over the expressions of the share of equal cells (to 1e-6 of the largest) and of correlations."""
    shares, correlations = [], []
    for key, values in peer.items():
        if not values.size:
            continue
        both = np.isfinite(ours[key]) & np.isfinite(values)
        a, b = ours[key][both], values[both]
        shares.append(float((np.abs(a - b) <= 1e-6 * np.abs(a).max()).mean()))
        correlations.append(float(np.corrcoef(a, b)[0, 1]))
    return float(np.median(shares)), float(np.median(correlations))


def line(label: str, run: Run, base: Run, exact: Run) -> list[str]:
    """Return one engine's row, its time as a multiple of `base` and its results compared with `exact`."""
    if run.row is None or run.values is None:
        return [label, "-", run.reason, "-", "-", "-", "-", "-"]
    done = sum(1 for values in run.values.values() if values.size)
    speed, cpu = done / run.row["seconds"], 2 * done / run.row["cpu"]
    times = "-"
    if base.row is not None:
        times = f"{cpu / (2 * COUNT / base.row['cpu']):.3g}"
    cells, together = alike(exact.values, run.values) if exact.values is not None else (np.nan, np.nan)
    figures = "-" if "portfolio" in label else f"{cells:.1%} / {together:.4f}"
    compiled = f"{run.row['compile']:.1f}"
    return [
        label,
        str(done),
        f"{speed:.3g}",
        f"{cpu:.3g}",
        times,
        f"{run.row['peak'] / 1e6:.0f}",
        compiled,
        figures,
    ]


HEAD = (
    "engine",
    "of 20",
    "expr/s",
    "expr/s of two free cores",
    "times ours",
    "peak MB",
    "before, s",
    "alike / corr.",
)
NOTES = (
    "A batch of 20, two threads. Expr/s is by the clock; the next column by processor time, as if both cores were "
    "free, and the multiples are of that: a busy machine leaves it alone. Peak: memory over the loaded panel. Before: what "
    "is done before the first evaluation, KunQuant's compilation above all. Alike: the median expression's share of cells "
    "that agree to 1e-6 of the largest, and correlation; KunQuant's windows are strict and its ranks r / n, polars_ta's "
    "ranks are dense or r / n, py-alpha-lib's (alpha) r / n and its deviations have ddof 1."
)


def beside_peers(
    bench: Bench, shape: tuple[int, int], names: Mapping[str, str]
) -> tuple[Report, dict[str, Run]]:
    """Measure ours and the peers on one size; a name with a reason beside it is not run."""
    base = bench.ours(shape, "float64")
    rows = [line("ours, float64", base, base, base)]
    rows.append(line("ours, float32", bench.ours(shape, "float32"), base, base))
    if shape == SMALL:
        rows.append(line("ours, float64, one thread", bench.ours(shape, "float64", threads=1), base, base))
    for dtype in ("float64", "float32"):
        judged = bench.ours(shape, dtype, "portfolio")
        rows.append(line(f"ours, {dtype}, with portfolio", judged, base, Run("")))
    runs = {name: Run(name, reason=why) if why else bench.peer(name, shape) for name, why in names.items()}
    rows += [line(name, run, base, base) for name, run in runs.items()]
    return Report(f"Twenty expressions on {shape[0]} days x {shape[1]} instruments", HEAD, rows, NOTES), runs


def beside_base(bench: Bench, commit: str) -> Report:
    """Measure ours and another commit's by turns."""
    tree = base_tree(bench.folder, commit)
    rows = []
    for shape in (SMALL, LARGE):
        for dtype in ("float64", "float32"):
            for mode in ("values", "portfolio"):
                turns = [
                    (bench.ours(shape, dtype, mode, tree=tree), bench.ours(shape, dtype, mode))
                    for _ in range(3)
                ]
                if any(run.row is None for pair in turns for run in pair):
                    rows.append([f"{shape[0]} x {shape[1]}", dtype, mode, turns[0][0].reason, "-", "-"])
                    continue
                pairs = [(old.row["cpu"], new.row["cpu"]) for old, new in turns]  # type: ignore[index]
                old, new = (min(times) for times in zip(*pairs, strict=True))
                ratio = float(np.median([a / b for a, b in pairs]))
                rows.append(
                    [f"{shape[0]} x {shape[1]}", dtype, mode, f"{old:.3f}", f"{new:.3f}", f"{ratio:.2f}"]
                )
    head = ("days x instruments", "stored as", "what", f"{commit}, processor s", "ours", "times as fast")
    notes = "The twenty expressions, two threads, processes by turns; the least of three, and the median ratio of pairs."
    return Report(f"Beside {commit}", head, rows, notes)


def formulaic(folder: Path, missing: str) -> Report:
    """Measure the 101 formulaic alphas on a year of many instruments, beside py-alpha-lib."""
    bench = Bench(folder, FORMULAIC, (*FIELDS, "cap"))
    base = bench.ours(YEAR, "float64")
    runs = {"ours, float64": base, "ours, float32": bench.ours(YEAR, "float32")}
    runs["alpha"] = Run("alpha", reason=missing) if missing else bench.peer("alpha", YEAR)
    rows = []
    for label, run in runs.items():
        if run.row is None or run.values is None:
            rows.append([label, "-", run.reason, "-", "-"])
            continue
        done = sum(1 for values in run.values.values() if values.size)
        cpu = run.row["cpu"] / done
        times = (base.row["cpu"] / bench.count) / cpu if base.row is not None else math.nan
        rows.append([label, str(done), f"{run.row['seconds']:.2f}", f"{run.row['cpu']:.2f}", f"{times:.3g}"])
    head = ("engine", f"of {bench.count}", "s", "processor s", "times ours, an alpha")
    notes = "Two threads; py-alpha-lib takes as many as there are cores. Its ranks are r / n and its deviations have ddof 1."
    return Report(f"The 101 formulaic alphas on {YEAR[0]} days x {YEAR[1]} instruments", head, rows, notes)


def operators(folder: Path, missing: str) -> Report:
    """Measure operators one at a time, in both precisions, beside py-alpha-lib, and `log` beside numpy's."""
    rows = []
    for name, text in ONE_BY_ONE.items():
        bench = Bench(folder, {name: text})
        runs = [bench.ours(SMALL, "float64"), bench.ours(SMALL, "float32")]
        if name == "log":
            runs.append(numpy_log(bench.panel(SMALL, "float64")))
        else:
            runs.append(Run("alpha", reason=missing) if missing else bench.peer("alpha", SMALL, rounds=4))
        wide, narrow, peer = (run.row["cpu"] * 1e3 if run.row is not None else math.nan for run in runs)
        figures = [
            f"{wide:.1f}",
            f"{narrow:.1f}",
            f"{narrow / wide:.2f}",
            f"{peer:.1f}",
            f"{peer / wide:.2f}",
        ]
        rows.append([text, *figures])
    head = ("operator", "float64, processor ms", "float32", "float32 / float64", "alpha", "alpha / float64")
    notes = "Each alone, two threads; py-alpha-lib's best of three rounds. Beside `log` stands numpy's, one thread."
    notes += f" py-alpha-lib was not run: {missing}." if missing else ""
    return Report(f"One operator at a time on {SMALL[0]} days x {SMALL[1]} instruments", head, rows, notes)


def numpy_log(panel: Path) -> Run:
    """Measure numpy's own logarithm of the volumes."""
    with np.load(panel) as arrays:
        volume = arrays["volume"]
    found = np.empty_like(volume)
    times = []
    for _ in range(9):
        begin = time.process_time()
        np.log(volume, found)
        times.append(time.process_time() - begin)
    return Run("numpy", {"cpu": min(times)})


def why_not(name: str, run: Run) -> str:
    """Return why a peer is not tried on the large panel."""
    if run.row is None:
        return run.reason
    expected = run.row["seconds"] * LARGER
    if expected > PATIENCE:
        return f"not run: about {expected:.0f} s by the other panel's"
    return "it needs more memory than is free" if PEAKS[name] > free_bytes() else ""


def growth(bench: Bench) -> Report:
    """Measure the growth of the cost with the panel."""
    rows = []
    for shape in ((630, 1000), (1260, 1000), (2520, 1000), (2520, 3000)):
        run = bench.ours(shape, "float64", "portfolio")
        if run.row is None:
            rows.append([f"{shape[0]} x {shape[1]}", run.reason, "-", "-"])
            continue
        cells = shape[0] * shape[1] / 1e6
        cpu = run.row["cpu"]
        rows.append(
            [f"{shape[0]} x {shape[1]}", f"{cpu:.2f}", f"{cpu / cells:.3f}", f"{run.row['peak'] / 1e6:.0f}"]
        )
    head = ("days x instruments", "processor s for 20", "s for a million cells", "peak MB")
    return Report("The cost grows with the panel", head, rows, "float64, with the whole portfolio.")


def start() -> Report:
    """Measure the time to the first figures, beside the bare import of the engine."""

    def best(command: list[str]) -> float:
        times = []
        for _ in range(4):
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, *command], cwd=ROOT, capture_output=True, check=True, timeout=LIMIT
            )
            times.append(time.perf_counter() - begin)
        return min(times)

    floor = best(["-c", "import numba, numpy"])
    first = best(["-m", "generator", "evaluate", "rank(-ts_delta(close, 5))"])
    rows = [["import numba, numpy", f"{floor:.2f}", "1"]]
    rows.append(["first expression's figures", f"{first:.2f}", f"{first / floor:.2f}"])
    return Report(
        "From the start to the first figures", ("what", "s", "times"), rows, "Kernels come from disk."
    )


def measure() -> list[Report]:
    """Measure everything."""
    PEERS.parent.mkdir(exist_ok=True)
    names = dict.fromkeys(("kunquant", "polars", "pandas"), make_peers(PEERS, sys.executable, PACKAGES))
    names["alpha"] = make_newer()
    commit = os.environ.get("FLEET_BENCH_BASE", "")
    with tempfile.TemporaryDirectory(dir=PEERS.parent) as folder:
        bench = Bench(Path(folder))
        before = [beside_base(bench, commit)] if commit else []
        small, runs = beside_peers(bench, SMALL, names)
        large, _ = beside_peers(bench, LARGE, {name: why_not(name, run) for name, run in runs.items()})
        year = formulaic(Path(folder), names["alpha"])
        alone = operators(Path(folder), names["alpha"])
        return [*before, small, large, alone, year, growth(bench), start()]
