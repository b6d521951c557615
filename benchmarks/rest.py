"""Idle cost of the monitor: a minute on the Docker source with a silent container.

The monitor has a supervisord, a generator with a heartbeat, and an Ollama. Measured at the same time: a bare docker-py
follower with the monitor's imports, and supervisord. superlance's memmon and fail2ban's server with a silent file are added
if they can be installed.
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

from benchmarks.detection import fail2ban
from benchmarks.report import Report
from fleet.clients.supervisor import ProgramState, Supervisor
from fleet.runtime.home import ROOT, FleetFile, Home
from standin.ollama import StandinOllama
from tests.parts.docker_engine import BASE, Engine, running_engine
from tests.parts.supervisord import children_of, wait_until

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
file={socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:generator]
command=sh {folder}/generator.sh
environment=FLEET_SWITCHES="0"
"""
GENERATOR = """
: >>{home.signals}
while :; do
  echo "{{\\"pid\\": $$, \\"heartbeat\\": $(date +%s)}}" >{home.generator_file}.new
  mv {home.generator_file}.new {home.generator_file}
  sleep 5
done
"""
MEMMON = """
[eventlistener:memmon]
command={memmon} -a 10GB
events=TICK_60
"""
JAIL = {
    "fail2ban.conf": "[Definition]\nloglevel = INFO\nlogtarget = {folder}/f.log\nsocket = {folder}/f.sock\n"
    "pidfile = {folder}/f.pid\ndbfile = None\n",
    "jail.conf": "[ollama]\nenabled = true\nbackend = polling\nfilter = ollama\nlogpath = {folder}/silent.log\n"
    "maxretry = 3\nfindtime = 600\nbantime = 60\n",
    "filter.d/ollama.conf": "[Definition]\nfailregex = out of memory.*<F-ID>.*</F-ID>\n",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """The use of a process so far: CPU seconds of all its threads, switches, and memory in MiB."""

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
    """Return memmon of a superlance that is installed for this run; None if that fails."""
    place = folder / "superlance"
    with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=120)
        pip = [str(place / "bin" / "pip"), "install", "--quiet", "superlance", "setuptools<80"]
        subprocess.run(pip, check=True, timeout=180, capture_output=True)
        return place / "bin" / "memmon"
    return None


def jail(folder: Path) -> list[str]:
    """Write the configuration of one jail on a silent file; return fail2ban's arguments."""
    (folder / "silent.log").touch()
    for name, text in JAIL.items():
        path = folder / "jail" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(folder=folder))
    return ["-c", str(folder / "jail"), "-xf", "start"]


def start_all(stack: ExitStack, folder: Path, engine: Engine, ollama: StandinOllama) -> dict[str, int]:
    """Start all processes to measure; return their pids by name."""
    home = Home(folder / "home")
    home.create()
    FleetFile("docker", ollama.url, f"docker:{NAME}", "", str(home.socket), time.time()).write(home)
    listener = memmon(folder)
    text = SUPERVISOR + (MEMMON.format(memmon=listener) if listener else "")
    (folder / "conf").write_text(text.format(folder=folder, socket=home.socket))
    (folder / "generator.sh").write_text(GENERATOR.format(home=home))
    daemon = [sys.executable, "-m", "supervisor.supervisord", "-c", str(folder / "conf")]
    watched = stack.enter_context(process(daemon))
    ban = stack.enter_context(fail2ban(folder, "fail2ban-server"))
    banning = stack.enter_context(process([*ban, *jail(folder)])) if ban else None
    wait_until(home.generator_file.exists, (folder / "log").read_text)
    supervisor = Supervisor(home.socket)
    wait_until(
        lambda: supervisor.program("generator").state is ProgramState.RUNNING, (folder / "log").read_text
    )
    environ = {"FLEET_HOME": str(home.path), **engine.environ}
    pids = {
        "monitor": stack.enter_context(process([sys.executable, "-m", "monitor"], **environ)),
        "bare docker-py follower": stack.enter_context(
            process([sys.executable, "-c", FOLLOWER], **engine.environ)
        ),
        "supervisord": watched,
    }
    time.sleep(SETTLE)
    for pid in children_of(watched):
        if b"memmon" in Path(f"/proc/{pid}/cmdline").read_bytes():
            pids["superlance's memmon"] = pid
    if banning is not None and runs(banning):
        pids["fail2ban-server, one jail"] = banning
    return pids


def runs(pid: int) -> bool:
    """Return True if a child process still runs."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


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
        "threads from schedstat. The aim is the bare follower + 0.02 % of a core, and 38 MB. Every 30 s the monitor also "
        "checks `/api/ps` and the generator. supervisord runs that generator and memmon.",
    )


def measure() -> list[Report]:
    """Measure the processes for a minute."""
    with running_engine() as engine:
        engine.base_image()
        return [rest(engine)]
