"""Images and a fleet in a container: image sizes, start and stop times, memory.

The images are built from the real Dockerfiles on a private Engine. It needs root and the tools of `make test-docker`.
"""

import json
import re
import statistics
import time
from contextlib import closing
from datetime import UTC, datetime

from benchmarks.report import Report
from tests.parts.containers import HARDENED, Docker, FleetContainer, Stack, compose_commands, running
from tests.parts.docker_engine import Engine, PrivateEngine, running_engine
from tests.parts.images import BASE, Images
from tests.processes.fleet import eventually

ROUNDS = 5
MEGABYTE = 1_000_000
RUNNING = re.compile(r"^(\S+ \S+?),(\d+) INFO success: (\w+) entered RUNNING", re.MULTILINE)
SLEEPS = """\
[supervisord]
nodaemon=true
logfile=/tmp/s.log
pidfile=/tmp/s.pid
[program:one]
command=sleep 1000
startsecs=1
[program:two]
command=sleep 1000
startsecs=1
"""


def sizes(images: Images) -> Report:
    built = (("model-fleet", images.full(), 650), ("model-fleet:slim", images.slim(), 120))
    base = images.size(BASE)
    rows = [["base (Debian with Python)", f"{base / MEGABYTE:.0f}", "", ""]]
    for name, tag, aim in built:
        size = images.size(tag)
        rows.append([name, f"{size / MEGABYTE:.0f}", f"{(size - base) / MEGABYTE:.0f}", f"≤ {aim}"])
    return Report("Images", ["image", "MB", "over the base, MB", "aim"], rows)


def until_running(docker: Docker, name: str, log: str, programs: int) -> float:
    """Return the seconds from a container's start until supervisord reports its last program RUNNING."""

    def entered() -> list[tuple[str, ...]]:
        found = RUNNING.findall(docker.run("exec", name, "cat", log).stdout)
        return found if len(found) >= programs else []

    last = max(
        datetime.strptime(f"{second}.{milli}", "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
        for second, milli, _ in eventually(entered, what=f"{programs} programs RUNNING")
    )
    started = docker.inspect(name)["State"]["StartedAt"]
    return last.timestamp() - datetime.fromisoformat(started[:26] + "+00:00").timestamp()


def start(engine: Engine, image: str) -> Report:
    docker = Docker(engine)
    ours: list[float] = []
    bare: list[float] = []
    stops: list[float] = []
    for _ in range(ROUNDS):
        with running(engine, image, "--network", "none", "--env", "FLEET_PROFILE=docker") as fleet:
            ours.append(until_running(docker, fleet.name, "var/log/supervisord.log", 2))
            begun = time.monotonic()
            docker("stop", "--time", "20", fleet.name)
            stops.append(time.monotonic() - begun)
        script = f"printf '%s' '{SLEEPS}' > /tmp/s.conf; exec supervisord -c /tmp/s.conf"
        name = docker(
            *("run", "-d", *HARDENED, "--network", "none", "--entrypoint", "sh", image, "-c", script)
        )
        try:
            bare.append(until_running(docker, name, "/tmp/s.log", 2))
        finally:
            docker("rm", "--force", "--volumes", name)
    floor, median = statistics.median(bare), statistics.median(ours)
    rows = [
        ["supervisord with two sleeps", f"{floor:.2f}", f"{max(bare):.2f}", "", ""],
        ["the fleet", f"{median:.2f}", f"{max(ours):.2f}", f"{median / floor:.2f}", "≤ 3"],
    ]
    stopped = statistics.median(stops)
    rows.append(["docker stop of the fleet", f"{stopped:.2f}", f"{max(stops):.2f}", "", "< 5"])
    head = ["container", "median, s", "worst, s", "ratio", "aim, s"]
    return Report(
        "From a container's start to both programs RUNNING, and its stop",
        head,
        rows,
        f"{ROUNDS} starts each of the same image, hardened. supervisord reports a program RUNNING after one second.",
    )


def memory(images: Images, engine: PrivateEngine) -> Report:
    tool = next(iter(compose_commands().values()))
    environ = {
        "FLEET_IMAGE": images.full(),
        "LOG_PROXY_IMAGE": images.proxy(),
        "DOCKER_SOCKET_FOLDER": str(engine.socket_folder),
    }
    files = ("docker-compose.yml", "docker-compose.cpu.yml", "tests/docker/stacked.yml")
    stack = Stack(engine, tool, files, environ)
    try:
        stack.up()
        eventually(
            lambda: not stack.fleet.status().get("log_source_away", True), what="a log that is followed"
        )
        found = {name: resident(stack.fleet, name) for name in ("supervisord", "monitor", "generator")}
    finally:
        stack.down()
    rows = [[name, f"{rss:.1f}", f"{pss:.1f}", ""] for name, (rss, pss) in found.items()]
    both = [found["supervisord"][part] + found["monitor"][part] for part in (0, 1)]
    rows.append(["monitor + supervisord", f"{both[0]:.1f}", f"{both[1]:.1f}", "≤ 80"])
    return Report(
        "Memory in the container",
        ["process", "RSS, MB", "PSS, MB", "aim, MB"],
        rows,
        "In the Compose stack. The monitor follows Ollama's log through the proxy, and the generator runs its backtest.",
    )


def resident(fleet: FleetContainer, program: str) -> tuple[float, float]:
    pid = "1" if program == "supervisord" else fleet.sh(f"supervisorctl pid {program}")
    lines = fleet.sh(f"cat /proc/{pid}/smaps_rollup").splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
    return int(values["Rss"]) * 1024 / MEGABYTE, int(values["Pss"]) * 1024 / MEGABYTE


def measure() -> list[Report]:
    """Build the images; measure sizes, starts and memory."""
    with running_engine() as engine:
        if not isinstance(engine, PrivateEngine):
            raise SystemExit("this benchmark starts a private Engine: run it as root")
        images = Images(engine)
        with closing(engine.client()) as client:
            version = json.dumps(client.version()["Version"])
        weighed = sizes(images)
        weighed = Report(weighed.title, weighed.head, weighed.rows, f"Docker Engine {version}, overlay2.")
        return [weighed, start(engine, images.full()), memory(images, engine)]
