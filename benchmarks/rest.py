"""What the monitor costs while nothing happens: on the docker source with a silent container, for a minute.

Beside it, at the same time: a bare docker-py follower with the monitor's imports, supervisord, and superlance's
memmon where it can be installed into a throw-away environment.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Report
from fleet.home import ROOT, FleetFile, Home
from standin.ollama import StandinOllama
from tests.engine import BASE, Engine, running_engine
from tests.supervision import children_of

SECONDS = 60.0
SETTLE = 15.0
NAME = "silent"
FOLLOWER = f"""
import click, filelock, requests, supervisor.xmlrpc
import docker
for line in docker.from_env().containers.get({NAME!r}).logs(stream=True, follow=True, timestamps=True, tail=0):
    pass
"""
SUPERVISOR = """
[supervisord]
nodaemon=true
logfile={folder}/log
pidfile={folder}/pid
childlogdir={folder}
[unix_http_server]
file={folder}/s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:sleep]
command=sleep 100000
"""
MEMMON = """
[eventlistener:memmon]
command={memmon} -a 10GB
events=TICK_60
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process has used so far (seconds of all its threads) and holds (MiB)."""

    cpu: float
    switches: int
    rss: float
    pss: float
    threads: int


def cost(pid: int) -> Cost:
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    cpu = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    switches = sum(
        int(value) for task in tasks for value in _field(task / "status", "voluntary_ctxt_switches")
    )
    (rss,) = _field(Path(f"/proc/{pid}/status"), "VmRSS")
    (pss,) = _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss") or ["0"]
    return Cost(cpu, switches, int(rss) / 1024, int(pss) / 1024, len(tasks))


def _field(path: Path, name: str) -> list[str]:
    return [line.split()[1] for line in path.read_text().splitlines() if line.startswith(f"{name}:")]


@contextmanager
def process(command: list[str], **environ: str) -> Iterator[int]:
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(20)
        finally:
            child.kill()
            child.wait()


def memmon(folder: Path) -> Path | None:
    """Install superlance into an environment of its own, for one run; None where that cannot be done."""
    place = folder / "superlance"
    with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=120)
        pip = [str(place / "bin" / "pip"), "install", "--quiet", "superlance", "setuptools<80"]
        subprocess.run(pip, check=True, timeout=180, capture_output=True)
        return place / "bin" / "memmon"
    return None


def start_all(stack: ExitStack, folder: Path, engine: Engine, ollama: StandinOllama) -> dict[str, int]:
    """Start everything that is measured; return the processes by name."""
    home = Home(folder / "home")
    home.create()
    FleetFile("docker", ollama.url, f"docker:{NAME}", "", str(home.socket), time.time()).write(home)
    environ = {"FLEET_HOME": str(home.path), **engine.environ}
    pids = {
        "monitor": stack.enter_context(process([sys.executable, "-m", "monitor"], **environ)),
        "bare docker-py follower": stack.enter_context(
            process([sys.executable, "-c", FOLLOWER], **engine.environ)
        ),
    }
    listener = memmon(folder)
    text = SUPERVISOR + (MEMMON.format(memmon=listener) if listener else "")
    (folder / "conf").write_text(text.format(folder=folder))
    daemon = [sys.executable, "-m", "supervisor.supervisord", "-c", str(folder / "conf")]
    pids["supervisord, one program"] = stack.enter_context(process(daemon))
    time.sleep(SETTLE)
    for pid in children_of(pids["supervisord, one program"]):
        if b"memmon" in Path(f"/proc/{pid}/cmdline").read_bytes():
            pids["superlance's memmon"] = pid
    return pids


def rest(engine: Engine) -> Report:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fr-", dir="/tmp")))
        client = stack.enter_context(closing(engine.client()))
        container = client.containers.run(BASE, ["sleep", "100000"], name=NAME, detach=True)
        stack.callback(container.remove, force=True)
        ollama = StandinOllama(log=lambda _: None)
        ollama.start()
        stack.callback(ollama.stop)
        pids = start_all(stack, folder, engine, ollama)
        before = {name: cost(pid) for name, pid in pids.items()}
        time.sleep(SECONDS)
        after = {name: cost(pid) for name, pid in pids.items()}
    rows = []
    for name, end in after.items():
        begin = before[name]
        share = (end.cpu - begin.cpu) / SECONDS * 100
        wakes = (end.switches - begin.switches) / SECONDS
        rows.append(
            [name, f"{share:.3f}", f"{wakes:.1f}", f"{end.rss:.1f}", f"{end.pss:.1f}", str(end.threads)]
        )
    return Report(
        "At rest",
        ["process", "% of a core", "wakes/s", "RSS, MiB", "PSS, MiB", "threads"],
        rows,
        f"{SECONDS:.0f} s of a silent container, all at the same time, {SETTLE:.0f} s after their start; CPU of all "
        "threads from schedstat. The aim is the bare follower + 0.02 % of a core, and 38 MB. The monitor also "
        "looks at `/api/ps` every 30 s.",
    )


def measure() -> list[Report]:
    """Watch the processes for a minute."""
    with running_engine() as engine:
        engine.base_image()
        return [rest(engine)]
