"""How much the detector finds, and how fast.

Precision and recall are over real lines, beside the phrases of the script that this grew out of and the ten that Ollama
itself goes by. Throughput is over a generated log, beside `grep -c -E` and `fail2ban-regex` with the table's literals.
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
"""What a reader that takes minutes for the whole log gets of it."""
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


def labelled() -> list[tuple[str, str]]:
    """Real lines with their labels."""
    return [(str(row["line"]), str(row["label"])) for row in rows("lines.jsonl")]


def from_sources() -> list[tuple[str, str]]:
    """Lines written from the format strings of Ollama and its runners, with their labels."""
    label, found = "none", []
    for line in (TESTS / "wordings.txt").read_text("utf-8").split("\n"):
        if line.startswith("### "):
            label = line[4:].split()[0]
        elif line and not line.startswith("# "):
            found.append((line, label))
    return found


def score(judge: Judge, labels: Sequence[str], lines: Sequence[tuple[str, str]]) -> tuple[float, float, int]:
    """Recall and precision over lines whose label is one of `labels`, and how many there are."""
    wanted = [label in labels for _, label in lines]
    found = [judge(line) in labels for line, _ in lines]
    hits = sum(want and got for want, got in zip(wanted, found, strict=True))
    return hits / max(sum(wanted), 1), hits / max(sum(found), 1), sum(wanted)


def wording(phrases: Iterable[str]) -> Judge:
    """A judge that knows no classes: whatever it finds is a failure of the class asked about."""
    kept = tuple(phrases)
    return lambda line: "hard" if any(phrase in line for phrase in kept) else None


def ours(line: str) -> str | None:
    """What our detector makes of a line."""
    signal = detect(line)
    return signal.kind.value if signal else None


def quality() -> Report:
    """Recall and precision by class."""
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
        "Signals", head, lines, "Both samples are held by tests, so they show what is kept, not what is new."
    )


def episodes() -> Report:
    """How many courses of failures give the right incidents."""
    real = rows("episodes.jsonl")
    right = sum(_right(episode) for episode in real)
    text = (TESTS / "episodes.txt").read_text("utf-8")
    courses = [block.split("\n") for block in text.split("\n### ")[1:]]
    fit = sum(_found(lines) == heading.rpartition(":")[2].split() for heading, *lines in courses)
    table = [
        ["real excerpts", str(len(real)), str(right)],
        ["whole courses, each era", str(len(courses)), str(fit)],
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


def timed(work: Callable[[], object], rounds: int = 3) -> float:
    """The best of some runs, in seconds."""
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
    """The literals of the table's failures as one regular expression; the table's own expressions need one of them."""
    needles = {needle for row in (*PLAIN, *SERVER) for needle in row.needles}
    return "|".join(re.escape(needle).replace("\\ ", " ") for needle in sorted(needles))


@contextmanager
def fail2ban(folder: Path, program: str) -> Iterator[list[str] | None]:
    """Yield the command of a program of fail2ban's: the installed one, else Debian's unpacked into the folder."""
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
    """Let fail2ban-regex look for the literals; lines need neither a date nor a host."""
    expression = f"(?:{alternatives()})(?P<fid>.*)"
    done = subprocess.run(
        [*command, "-d", "{NONE}", str(path), expression], capture_output=True, text=True, check=True
    )
    return int(done.stdout.rpartition(" matched")[0].rpartition(" ")[2])


def speed(megabytes: int = MEGABYTES) -> Report:
    """The throughput of a scan beside others."""
    detector = Detector()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, part = folder / "log", folder / "part"
        generate(path, megabytes)
        generate(part, SLOW_MEGABYTES)
        size, lines = path.stat().st_size, path.read_bytes().count(b"\n")
        chunk = path.read_bytes()[: 20 * 1_000_000]
        taken = [
            ("scan", size, timed(lambda: scan_file(str(path), GroupingRules(), detector))),
            ("prefilter alone, 64 KB chunks", len(chunk), timed(partial(prefilter, detector, chunk))),
        ]
        if shutil.which("grep"):
            taken.append(("grep -c -E, the same literals", size, timed(lambda: grep(path))))
        with fail2ban(folder, "fail2ban-regex") as command:
            if command is not None:
                ban = partial(filtered, command, part)
                taken.append(("fail2ban-regex, the same literals", part.stat().st_size, timed(ban, 1)))
    first = taken[0][1] / taken[0][2]
    table = [
        [
            name,
            f"{read / seconds / 1e6:.1f}",
            f"{read / seconds * lines / size / 1e3:.0f}",
            f"{first * seconds / read:.2f}",
        ]
        for name, read, seconds in taken
    ]
    notes = (
        f"A log of {size / 1e6:.0f} MB and {lines} lines, of ordinary work with a failed load in every 5 MB; "
        f"fail2ban-regex gets {SLOW_MEGABYTES} MB of it, with its start."
    )
    return Report("Throughput", ["", "MB/s", "1000 lines/s", "scan is so many times as fast"], table, notes)


def prefilter(detector: Detector, chunk: bytes) -> int:
    """Run the prefilter over a chunk as a source would."""
    return sum(
        1 for start in range(0, len(chunk), 65536) for _ in detector.candidates(chunk[start : start + 65536])
    )


def measure() -> list[Report]:
    """Measure what is found, and how fast."""
    return [quality(), episodes(), speed()]
