"""How much the detector finds, and how fast: `python -m benchmarks.detection [MEGABYTES]`.

Precision and recall are over real lines, beside the phrases of the script that this grew out of and the ten
that Ollama itself goes by; throughput is over a generated log, beside `grep -c -E` with the table's literals.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from monitor.detector import Detector, looks_like_memory
from monitor.grouping import Rules
from monitor.prefilter import table_needles
from monitor.scan import scan_file

DATA = Path(__file__).parents[1] / "tests" / "data" / "corpus"
FAILURES = ("hard", "soft")
ORIGINAL = (
    "gpu VRAM usage didn't recover within timeout",
    "VRAM usage didn't recover",
    "gpu memory exhausted",
    "CUDA out of memory",
    "GPU memory allocation failed",
    'msg="gpu VRAM usage didn\'t recover within timeout"',
    "level=WARN source=sched.go",
)

Judge = Callable[[str], str | None]


def rows(name: str) -> list[dict[str, object]]:
    """The corpus' rows of one file."""
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


def score(judge: Judge, labels: Sequence[str]) -> tuple[float, float, int]:
    """Recall and precision over lines whose label is one of `labels`, and how many there are."""
    lines = rows("lines.jsonl")
    wanted = [row["label"] in labels for row in lines]
    found = [judge(str(row["line"])) in labels for row in lines]
    hits = sum(want and got for want, got in zip(wanted, found, strict=True))
    return hits / max(sum(wanted), 1), hits / max(sum(found), 1), sum(wanted)


def wording(phrases: Iterable[str]) -> Judge:
    """A judge that knows no classes: whatever it finds is a failure of the class asked about."""
    kept = tuple(phrases)
    return lambda line: "hard" if any(phrase in line for phrase in kept) else None


def print_quality(detector: Detector) -> None:
    """Print recall and precision by class, and how many episodes come out right."""

    def ours(line: str) -> str | None:
        signal = detector.detect(line)
        return signal.kind.value if signal else None

    print(f"{'':34}{'lines':>6}{'recall':>9}{'precision':>11}")
    for labels in (FAILURES, ("hard",), ("soft",), ("sysmem",)):
        recall, precision, count = score(ours, labels)
        print(f"{'detector, ' + ' + '.join(labels):34}{count:6}{recall:9.3f}{precision:11.3f}")
    for name, judge in (
        ("the original's seven phrases", wording(ORIGINAL)),
        ("Ollama's own ten phrases", lambda line: "hard" if looks_like_memory(line) else None),
    ):
        recall, precision, count = score(judge, FAILURES)
        print(f"{name:34}{count:6}{recall:9.3f}{precision:11.3f}")


def print_episodes(detector: Detector) -> None:
    """Print how many episodes give the right number of incidents of the right kind."""
    right, episodes = 0, rows("episodes.jsonl")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        for episode in episodes:
            path.write_text("\n".join(map(str, episode["lines"])) + "\n", "utf-8")  # type: ignore[call-overload]
            incidents = scan_file(str(path), Rules(), detector).incidents
            kinds = {incident.kind.value for incident in incidents}
            right += len(incidents) == episode["incidents"] and kinds <= {episode["label"]}
    print(f"episodes right: {right} of {len(episodes)}")


def generate(path: Path, megabytes: int) -> None:
    """Write a log of ordinary work with a failed load in every 5 MB."""
    healthy = (DATA / "log-healthy.txt").read_bytes()
    ready = healthy[healthy.index(b"llama-server started") :]
    serving = ready[ready.index(b"slot get_availabl") :]
    failure = (DATA / "log-out-of-memory.txt").read_bytes()
    per_block = 5_000_000 // len(serving)
    with path.open("wb") as out:
        while out.tell() < megabytes * 1_000_000:
            out.write(serving * per_block)
            out.write(failure)


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """The best of three runs, in seconds, and the last result."""
    best, result = float("inf"), None
    for _ in range(3):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return best, result


def grep(path: Path) -> int:
    """Count lines with any of the table's literals."""
    expression = "|".join(re.escape(needle) for needle in sorted(table_needles()))
    command = ["grep", "-c", "-a", "-E", expression, str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=False).stdout or 0)


def print_speed(detector: Detector, megabytes: int) -> None:
    """Print the throughput of a scan beside grep's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        generate(path, megabytes)
        size = path.stat().st_size / 1e6
        seconds, report = timed(lambda: scan_file(str(path), Rules(), detector))
        lines = report.lines  # type: ignore[attr-defined]
        incidents = len(report.incidents)  # type: ignore[attr-defined]
        print(f"\n{size:.0f} MB, {lines} lines, {incidents} incidents")
        print(f"{'scan':28}{size / seconds:8.0f} MB/s {lines / seconds / 1e3:8.0f} k lines/s")
        chunk = path.read_bytes()[: 20 * 1_000_000]
        seconds, _ = timed(
            lambda: [list(detector.candidates(chunk[i : i + 65536])) for i in range(0, len(chunk), 65536)]
        )
        print(f"{'prefilter, 64 KB chunks':28}{len(chunk) / seconds / 1e6:8.0f} MB/s")
        if shutil.which("grep"):
            grepping, _ = timed(lambda: grep(path))
            rate = lines / grepping / 1e3
            print(f"{'grep -c -E, same literals':28}{size / grepping:8.0f} MB/s {rate:8.0f} k lines/s")


def main() -> None:
    """Print everything."""
    detector = Detector()
    print_quality(detector)
    print_episodes(detector)
    print_speed(detector, int(sys.argv[1]) if len(sys.argv) > 1 else 100)


if __name__ == "__main__":
    main()
