"""Recall, precision and throughput of the detector.

Recall and precision are measured on real lines, beside the phrases of the original script and Ollama's own ten phrases.
Throughput is measured on a generated log, beside `grep -c -E` and `fail2ban-regex` with the table's literals.
"""

import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.report import Report
from fleet.memory_errors.judge import may_be_retried
from fleet.memory_errors.table.runner import PLAIN
from fleet.memory_errors.table.server import SERVER
from monitor.detection.detector import Detector, detect
from monitor.incidents import GroupingRules
from monitor.scan.scan import scan_file, scan_stream

TESTS = Path(__file__).parents[1] / "tests" / "data"
DATA = TESTS / "corpus"
FAILURES = ("hard", "soft")
MEGABYTES = 100
SLOW_MEGABYTES = 5
"""Size of the part of the log for a reader that needs minutes for all of it."""
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
    """Return the rows of one file of the corpus."""
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


def labelled() -> list[tuple[str, str]]:
    """Return real lines with their labels."""
    return [(str(row["line"]), str(row["label"])) for row in rows("lines.jsonl")]


def from_sources() -> list[tuple[str, str]]:
    """Return lines made from the format strings of Ollama and its runners, with their labels."""
    label, found = "none", []
    for line in (TESTS / "wordings.txt").read_text("utf-8").split("\n"):
        if line.startswith("### "):
            label = line[4:].split()[0]
        elif line and not line.startswith("# "):
            found.append((line, label))
    return found


def score(judge: Judge, labels: Sequence[str], lines: Sequence[tuple[str, str]]) -> tuple[float, float, int]:
    """Return recall, precision and the number of lines with one of `labels`."""
    wanted = [label in labels for _, label in lines]
    found = [judge(line) in labels for line, _ in lines]
    hits = sum(want and got for want, got in zip(wanted, found, strict=True))
    return hits / max(sum(wanted), 1), hits / max(sum(found), 1), sum(wanted)


def wording(phrases: Iterable[str]) -> Judge:
    """Return a judge without classes: a line with one of the phrases is a hard failure."""
    wanted = tuple(phrases)
    return lambda line: "hard" if any(phrase in line for phrase in wanted) else None


def ours(line: str) -> str | None:
    """Return the detector's class of a line, None for no signal."""
    signal = detect(line)
    return signal.kind.value if signal else None


def quality() -> Report:
    """Measure recall and precision by class."""
    judges: tuple[tuple[str, Judge, Sequence[Sequence[str]]], ...] = (
        ("detector", ours, (FAILURES, ("hard",), ("soft",), ("sysmem",))),
        ("the original's seven phrases", wording(ORIGINAL), (FAILURES,)),
        ("Ollama's own ten phrases", lambda line: "hard" if may_be_retried(line) else None, (FAILURES,)),
    )
    lines = []
    for name, judge, classes in judges:
        for labels in classes:
            cells = [name, " + ".join(labels)]
            for sample in (labelled(), from_sources()):
                recall, precision, count = score(judge, labels, sample)
                cells += [str(count), f"{recall:.3f}", f"{precision:.3f}"]
            lines.append(cells)
    head = ["", "class", "real lines", "recall", "precision", "from sources", "recall", "precision"]
    return Report(
        "Signals", head, lines, "Tests hold both samples, so the figures show known wordings, not new ones."
    )


def episodes() -> Report:
    """Measure the sequences of failures that give the right incidents."""
    real = rows("episodes.jsonl")
    right = sum(_right(episode) for episode in real)
    text = (TESTS / "episodes.txt").read_text("utf-8")
    sequences = [block.split("\n") for block in text.split("\n### ")[1:]]
    fit = sum(_found(lines) == heading.rpartition(":")[2].split() for heading, *lines in sequences)
    table = [
        ["real excerpts", str(len(real)), str(right)],
        ["complete sequences, each era", str(len(sequences)), str(fit)],
    ]
    return Report(
        "Incidents", ["", "episodes", "all right"], table, "Kind, cause and whether it counts, in order."
    )


def _right(episode: dict[str, object]) -> bool:
    lines, wanted = list(map(str, episode["lines"])), episode["incidents"]  # type: ignore[call-overload]
    found = [incident.partition("/")[0] for incident in _found(lines)]
    return len(found) == wanted and set(found) <= {episode["label"]}


def _found(lines: Sequence[str]) -> list[str]:
    incidents = scan_stream(io.BytesIO("\n".join(lines).encode()), "", GroupingRules(), Detector()).incidents
    return [f"{i.kind.value}/{i.cause.value}{'+' if i.counts else ''}" for i in incidents]


def generate(path: Path, megabytes: int) -> None:
    """Write a log of normal operation with a failed load in every 5 MB."""
    healthy = (DATA / "log-healthy.txt").read_bytes()
    ready = healthy[healthy.index(b"llama-server started") :]
    serving = ready[ready.index(b"slot get_availabl") :]
    failure = (DATA / "log-out-of-memory.txt").read_bytes()
    per_block = 5_000_000 // len(serving)
    with path.open("wb") as out:
        while out.tell() < megabytes * 1_000_000:
            out.write(serving * per_block)
            out.write(failure)


def timed(work: Callable[[], object], rounds: int = 3) -> float:
    """Return the best of some runs, in seconds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def grep(path: Path) -> int:
    """Count lines with any of the table's literals."""
    command = ["grep", "-c", "-a", "-E", alternatives(), str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=False).stdout or 0)


def alternatives() -> str:
    """Return the literals of the table's failures as one regular expression.

    Each pattern of the table requires one of them.
    """
    needles = {needle for row in (*PLAIN, *SERVER) for needle in row.needles}
    return "|".join(re.escape(needle).replace("\\ ", " ") for needle in sorted(needles))


@contextmanager
def fail2ban(folder: Path, program: str) -> Iterator[list[str] | None]:
    """Yield the command of a fail2ban program: the installed one, else Debian's package unpacked into the folder."""
    installed = shutil.which(program)
    if installed:
        yield [installed]
        return
    root = folder / "fail2ban"
    steps = "apt-get -q download fail2ban && dpkg-deb -x fail2ban_*.deb fail2ban"
    done = subprocess.run(["sh", "-c", steps], cwd=folder, capture_output=True, check=False)
    if done.returncode:
        yield None
        return
    packages = f"PYTHONPATH={root}/usr/lib/python3/dist-packages"
    yield ["env", packages, sys.executable, f"{root}/usr/bin/{program}", "-c", f"{root}/etc/fail2ban"]


def filtered(command: Sequence[str], path: Path) -> int:
    """Return the number of lines that fail2ban-regex finds by the literals, without date and host."""
    expression = f"(?:{alternatives()})(?P<fid>.*)"
    done = subprocess.run(
        [*command, "-d", "{NONE}", str(path), expression], capture_output=True, text=True, check=True
    )
    return int(done.stdout.rpartition(" matched")[0].rpartition(" ")[2])


def speed(megabytes: int = MEGABYTES) -> Report:
    """Measure the throughput of a scan beside other programs."""
    detector = Detector()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, part = folder / "log", folder / "part"
        generate(path, megabytes)
        generate(part, SLOW_MEGABYTES)
        size, lines = path.stat().st_size, path.read_bytes().count(b"\n")
        chunk = path.read_bytes()[: 20 * 1_000_000]
        measured = [
            ("scan", size, timed(lambda: scan_file(str(path), GroupingRules(), detector))),
            ("prefilter alone, 64 KB chunks", len(chunk), timed(partial(prefilter, detector, chunk))),
        ]
        if shutil.which("grep"):
            measured.append(("grep -c -E, the same literals", size, timed(lambda: grep(path))))
        with fail2ban(folder, "fail2ban-regex") as command:
            if command is not None:
                ban = partial(filtered, command, part)
                measured.append(("fail2ban-regex, the same literals", part.stat().st_size, timed(ban, 1)))
    first = measured[0][1] / measured[0][2]
    table = [
        [
            name,
            f"{read / seconds / 1e6:.1f}",
            f"{read / seconds * lines / size / 1e3:.0f}",
            f"{first * seconds / read:.2f}",
        ]
        for name, read, seconds in measured
    ]
    notes = (
        f"A log of {size / 1e6:.0f} MB and {lines} lines, of normal operation with a failed load in every 5 MB. "
        f"fail2ban-regex reads the first {SLOW_MEGABYTES} MB; its start is included."
    )
    return Report("Throughput", ["", "MB/s", "1000 lines/s", "scan / this"], table, notes)


def prefilter(detector: Detector, chunk: bytes) -> int:
    """Return the number of candidates in a chunk, read in the pieces of a source."""
    return sum(
        1 for start in range(0, len(chunk), 65536) for _ in detector.candidates(chunk[start : start + 65536])
    )


def measure() -> list[Report]:
    """Measure recall, precision and throughput."""
    return [quality(), episodes(), speed()]
