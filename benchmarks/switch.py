"""Time of a switch: from the third failure line to the generator's new process and its first request.

The floor is the same generator alone, measured after each switch: fork, exec, import and first request. The original's loop
is computed: it reads the log's tail every thirty seconds and counts one failure a read.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from benchmarks.report import Report
from fleet.policy.events import EventKind
from fleet.runtime.home import ROOT, Home, process_environ, read_json
from standin.httpd import Exchange
from standin.ollama import StandinOllama
from standin.settings import StandinSettings
from state.history import read_history
from tests.processes.fleet import FleetProcess, eventually, stamped_failure

SWITCHES, FEWER = 100, 30
MODELS = ("llama3.2:3b", "phi3:mini", "tinyllama:1.1b", "qwen2.5:0.5b")
APART = 0.1
TICK = 1 / os.sysconf("SC_CLK_TCK")
POLL, NEEDED = 30.0, 3  # seconds between reads of the original, and its threshold


class Watched(StandinOllama):
    """A stand-in that records the time of the first prompt of each context length, which identifies the rung."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.came: dict[int, float] = {}
        super().__init__(settings=StandinSettings(vram=64 * 1024**3, pace=1.0), log=log)

    def _answer(self, exchange: Exchange) -> None:
        now = time.time()
        if exchange.path == "/api/generate":
            body = json.loads(exchange.body or b"{}")
            if "format" in body:
                self.came.setdefault(body.get("options", {}).get("num_ctx", 0), now)
        super()._answer(exchange)


@dataclass(slots=True)
class Times:
    """Seconds since the third line, one list a step."""

    planned: list[float] = field(default_factory=list)
    committed: list[float] = field(default_factory=list)
    process: list[float] = field(default_factory=list)
    request: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)


MEMORY = Path("/dev/shm")


def measure() -> list[Report]:
    """Measure switches with the home on disk, and in memory if the machine has `/dev/shm`."""
    reports = [_report("A switch", _measured(None, SWITCHES))]
    if MEMORY.is_dir():
        reports.append(
            _report(
                "A switch with the home in memory: without the disk's sync",
                _measured(MEMORY, FEWER),
            )
        )
    return reports


def _measured(place: Path | None, switches: int) -> Times:
    steps = Times()
    with _fleet(place, switches) as (fleet, server):
        eventually(lambda: _works(fleet), what="a generator at work")
        for rung in range(1, switches + 1):
            _switch(fleet, server, rung, steps)
            eventually(lambda: _works(fleet), what="a generator at work")
            steps.floor.append(_floor(fleet))
    return steps


@contextmanager
def _fleet(place: Path | None, switches: int) -> Iterator[tuple[FleetProcess, Watched]]:
    """Run a native fleet with a rung for each switch and a stand-in Ollama in this process."""
    with tempfile.TemporaryDirectory(prefix="fl-", dir=place) as folder:
        log, config = Path(folder) / "ollama.log", Path(folder) / "fleet.toml"
        config.write_text("\n".join(_rung(index) for index in range(switches + 1)))
        writing = threading.Lock()
        with log.open("a", buffering=1) as stream:

            def write(line: str) -> None:
                with writing:
                    stream.write(f"{line}\n")

            server = Watched(write).start()
            fleet = FleetProcess(
                Path(folder) / "home",
                FLEET_PROFILE="native",
                FLEET_CONFIG=str(config),
                FLEET_OLLAMA_URL=server.url,
                FLEET_OLLAMA_LOG=f"file:{log}",
                FLEET_POLICY_INCIDENT_GAP="20ms",
                FLEET_POLICY_COOL_DOWN="0s",
                FLEET_POLICY_RECOVER_AFTER="0s",
                FLEET_POLICY_MAX_SWITCHES_PER_HOUR="3600",
            )
            try:
                fleet.start()
                eventually(lambda: server.came, what=f"a first call\n{fleet.output()}")
                yield fleet, server
            finally:
                fleet.stop()
                server.stop()


def _rung(index: int) -> str:
    model, context = MODELS[index % len(MODELS)], 2048 + index
    return f'[[ladder]]\nmodel = "{model}"\noptions = {{ num_ctx = {context} }}\n'


def _works(fleet: FleetProcess) -> bool:
    """Return True if the running generator has processed a reply; one that still imports would stop later."""
    row = read_json(fleet.home.generator_file) or {}
    return row.get("pid") == fleet.pid("generator") and bool(row["totals"]["valid"])


def _switch(fleet: FleetProcess, server: Watched, rung: int, steps: Times) -> None:
    time.sleep(random.uniform(0.5, 1.0))
    for _ in range(NEEDED - 1):
        fleet.write(stamped_failure(time.time()))
        time.sleep(APART)
    fleet.write(stamped_failure(time.time()))
    written, since_boot = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    came = eventually(
        lambda: server.came.get(2048 + rung), what=f"a request of rung {rung}\n{fleet.output()}"
    )
    started = _started(fleet.pid("generator"))
    settled = eventually(lambda: fleet.state if fleet.state.switch is None else None, what="the switch done")
    assert settled.current_model_index == rung, settled
    times = {event.kind: event.time for event in read_history(fleet.home.history, 20)}
    steps.planned.append(times[EventKind.SWITCH_PLANNED] - written)
    steps.committed.append(times[EventKind.SWITCH_COMMITTED] - written)
    steps.process.append(started - since_boot)
    steps.request.append(came - written)


def _started(pid: int) -> float:
    """Return a process's start in seconds since boot, rounded up to its clock tick, so no figure is too good."""
    return (int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) + 1) * TICK


def _floor(fleet: FleetProcess) -> float:
    """Return the seconds of fork, exec, import and first request alone, with a separate home and Ollama."""
    home = Home(fleet.home.path.parent / "floor")
    shutil.rmtree(home.path, ignore_errors=True)
    home.create()
    home.state.write_bytes(fleet.home.state.read_bytes())
    server = Watched(lambda _: None).start()
    started = json.loads(fleet.home.fleet_file.read_text())
    home.fleet_file.write_text(json.dumps({**started, "ollama_url": server.url}))
    environ = {
        **process_environ(fleet.pid("generator")),
        "FLEET_HOME": str(home.path),
        "FLEET_OLLAMA_URL": server.url,
    }
    environ.pop("SUPERVISOR_ENABLED", None)
    began = time.time()
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", str(ROOT / "generator" / "launcher.py")],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return min(eventually(lambda: server.came, what="the floor's first request").values()) - began
    finally:
        child.kill()
        child.wait()
        server.stop()


def _originals_loop() -> list[float]:
    """Return computed times of the original's loop: three reads that each find the failure, then a restart."""
    return [phase / 100 * POLL + POLL * (NEEDED - 1) for phase in range(101)]


def _report(title: str, steps: Times) -> Report:
    over = [request - floor for request, floor in zip(steps.request, steps.floor, strict=True)]
    rows = [
        _row("decided", steps.planned),
        _row("committed", steps.committed),
        _row("new process started (to 10 ms)", steps.process),
        _row("first request at Ollama", steps.request),
        _row("the floor: fork, exec, import, first request", steps.floor),
        _row("first request over the floor beside it", over),
        _row("the original's loop (computed)", _originals_loop()),
    ]
    notes = f"Milliseconds from the third failure line written, over {len(steps.request)} switches, each to another model."
    return Report(title, ["step", "p50", "p95", "slowest"], rows, notes)


def _row(name: str, seconds: list[float]) -> list[str]:
    figures = (median(seconds), quantiles(seconds, n=20)[-1], max(seconds))
    return [name, *(f"{1000 * figure:.0f}" for figure in figures)]
