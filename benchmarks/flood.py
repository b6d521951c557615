"""Log throughput of a real Engine: our Docker source with the prefilter, docker-py's bare stream, `docker logs -t`.

The container has ended. Its log has ordinary lines of Ollama with one failure in a thousand. All three read the same bytes
of the same file through the same daemon, which bounds their speed.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from docker.models.containers import Container

from benchmarks.report import Report
from monitor.detection.detector import Detector
from monitor.sources.base import Batch
from monitor.sources.open import open_source
from tests.parts.docker_engine import BASE, Engine, running_engine

LINES = 400_000
ROUNDS = 3
NAME = "flood"
ORDINARY = (
    '[GIN] 2026/11/23 - 22:24:52 | 200 |  1.204121514s |       127.0.0.1 | POST     "/api/generate"',
    "slot launch_slot_: id  0 | task 0 | processing task",
    'time=2026-11-23T22:24:52.254Z level=INFO source=routes.go:1951 msg="server config" env=map[]',
    "llama_model_loader: - kv  12:          llama.attention.head_count_kv u32              = 8",
    "print_info: max token length = 256",
)
FAILURE = "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 2013.25 MiB on device 0: cudaMalloc failed: out of memory"


@dataclass(frozen=True, slots=True)
class Run:
    """One reading: lines a second, own CPU seconds, lines read, failures found."""

    rate: float
    cpu: float
    read: int
    found: int | None = None


def write_log(path: Path) -> int:
    """Write the lines that the container prints; return the number of failures."""
    lines = [FAILURE if n % 1000 == 999 else ORDINARY[n % len(ORDINARY)] for n in range(LINES)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return lines.count(FAILURE)


def timed(work: Callable[[], tuple[int, int | None]]) -> Run:
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    read, found = work()
    seconds = time.perf_counter() - wall
    return Run(read / seconds, sum(os.times()[:4]) - cpu, read, found)


def ours() -> tuple[int, int | None]:
    detector = Detector()
    source = open_source(f"docker:{NAME}", keep=detector.candidates, since="start")
    found = 0
    for item in source.items():
        if isinstance(item, Batch):
            found += sum(line.text == FAILURE for line in item.lines)
        if found == LINES // 1000:  # the last line is a failure
            source.close()
    return LINES, found


def bare(container: Container) -> tuple[int, int | None]:
    """Count the items of docker-py's stream: one a line."""
    read = 0
    for _ in container.logs(stream=True, follow=True, timestamps=True):
        read += 1
    return read, None


def command() -> tuple[int, int | None]:
    read = 0
    with subprocess.Popen(["docker", "logs", "-f", "-t", NAME], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        while chunk := child.stdout.read1(1 << 20):  # type: ignore[attr-defined]  # a buffered reader
            read += chunk.count(b"\n")
    return read, None


def flood(engine: Engine) -> Report:
    with tempfile.TemporaryDirectory(prefix="fb-") as folder, closing(engine.client()) as client:
        failures = write_log(Path(folder) / "log")
        container = client.containers.run(
            BASE,
            ["cat", "/feed/log"],
            name=NAME,
            detach=True,
            volumes={folder: {"bind": "/feed", "mode": "ro"}},
        )
        try:
            container.wait()
            ways: dict[str, Callable[[], tuple[int, int | None]]] = {
                "docker-py's bare stream": lambda: bare(container),
                "docker source + prefilter": ours,
            }
            if shutil.which("docker"):
                ways["docker logs -f -t"] = command
            runs: dict[str, list[Run]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, way in ways.items():
                    runs[name].append(timed(way))
        finally:
            container.remove(force=True)
    best = {name: max(found, key=lambda run: run.rate) for name, found in runs.items()}
    floor = best["docker-py's bare stream"]
    rows = [
        [
            name,
            f"{run.rate:,.0f}",
            f"{run.rate / floor.rate:.2f}",
            f"{run.cpu / LINES * 1e6:.1f}",
            f"{run.read:,}",
            "" if run.found is None else f"{run.found} of {failures}",
        ]
        for name, run in best.items()
    ]
    return Report(
        "A flood through the Engine",
        ["way", "lines/s", "to the bare stream", "own CPU, µs/line", "lines read", "failures found"],
        rows,
        f"{LINES:,} lines of an ended container, json-file, one in a thousand a failure; the best of {ROUNDS} rounds, "
        "in turn. The aim is 50,000 lines/s, with every failure found.",
    )


def measure() -> list[Report]:
    """Measure each way of reading."""
    with running_engine() as engine:
        engine.base_image()
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = engine.url
        try:
            return [flood(engine)]
        finally:
            del os.environ["DOCKER_HOST"]
            if before is not None:
                os.environ["DOCKER_HOST"] = before
