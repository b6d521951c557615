"""Whatever happens to container, daemon and monitor: as many incidents as failures were printed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from fleet.events import EventKind
from fleet.home import ROOT, FleetFile, Home
from monitor.detector import Detector
from monitor.sources.stamps import parse_stamp
from state.history import read_history
from state.store import read_state
from tests.engine import PrivateEngine
from tests.engine_world import EngineWorld
from tests.fleet_process import eventually

CORPUS = Path(__file__).parents[1] / "data" / "corpus"
HEALTHY = (CORPUS / "log-healthy.txt").read_text("utf-8").splitlines()
START = HEALTHY[: next(n for n, line in enumerate(HEALTHY) if "Listening on" in line) + 1]
DETECTOR = Detector()
ORDINARY = [line for line in HEALTHY if not list(DETECTOR.candidates(f"{line}\n".encode()))]
"""Lines out of a log that are told in any order: none speaks of a load or a request."""

EPISODES = [json.loads(line) for line in (CORPUS / "episodes.jsonl").read_text("utf-8").splitlines()]
"""Each is the end of another server's log, so each stands behind a server's start here."""
SETTINGS = """
[policy]
threshold = 1000
window = "6h"
check_interval = "1s"
"""


class MonitorProcess:
    """The real monitor, without an Ollama and a supervisord; what it finds stands in its history."""

    def __init__(self, folder: Path, log_source: str) -> None:
        self.home = Home(folder / "home")
        self.home.create()
        config = folder / "fleet.toml"
        config.write_text(SETTINGS)
        nobody = "http://127.0.0.1:9"
        FleetFile("docker", nobody, log_source, str(config), str(self.home.socket), time.time()).write(
            self.home
        )
        self._output = folder / "out"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "monitor"],
                cwd=ROOT,
                env={**os.environ, "FLEET_HOME": str(self.home.path)},
                stdout=output,
                stderr=output,
            )

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def output(self) -> str:
        return self._output.read_text(errors="replace")[-4000:]

    def read_to(self) -> int:
        """Return the stamp of the last line that the state has been written for."""
        state = read_state(self.home)
        cursor = state.cursors.get("log") if state else None
        last = cursor.get("last") if cursor else None
        return last if isinstance(last, int) else 0

    def has_joined(self) -> bool:
        """Tell whether the state says from where on the log is followed."""
        state = read_state(self.home)
        return state is not None and "log" in state.cursors

    def told(self) -> str:
        """Return the incidents that were found, to show where a test fails."""
        found = [e for e in read_history(self.home.history) if e.kind is EventKind.INCIDENT]
        return "\n".join(str(dict(event.fields))[:300] for event in found) + self.output()

    def incidents(self) -> list[int]:
        """Return the numbers of the incidents in the history."""
        return [e.number for e in read_history(self.home.history) if e.kind is EventKind.INCIDENT]


@contextlib.contextmanager
def monitor_of(world: EngineWorld) -> Iterator[MonitorProcess]:
    with tempfile.TemporaryDirectory(prefix="fm-", dir="/tmp") as folder:
        monitor = MonitorProcess(Path(folder), f"docker:{world.container_name}")
        monitor.start()
        try:
            yield monitor
        finally:
            monitor.kill()


def encoded(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def last_stamp(world: EngineWorld) -> int:
    """Return the stamp of the last line in the Engine's log, in nanoseconds."""
    found = parse_stamp(world.container.logs(tail=1, timestamps=True).partition(b" ")[0])
    assert found is not None
    return found


def disturb(kind: str, world: EngineWorld, engine: PrivateEngine, monitor: MonitorProcess) -> None:
    """Let something happen to the container or the daemon; what was printed stands in the log by now."""
    match kind:
        case "restart":
            world.container.restart(timeout=0)
        case "recreate":  # the old log goes with its container, so it has to be read before
            eventually(lambda: monitor.read_to() >= last_stamp(world), what="the log read to its end")
            world.remove()
            world.run()
        case "daemon":
            engine.restart()
        case "daemon killed":
            engine.restart(signal.SIGKILL)


def killed_soon(monitor: MonitorProcess, random: Random) -> threading.Thread:
    """Kill the monitor at a random moment of the next second, and start it again."""

    def strike(delay: float) -> None:
        time.sleep(delay)
        monitor.kill()
        monitor.start()

    thread = threading.Thread(target=strike, args=(random.uniform(0.0, 1.0),))
    thread.start()
    return thread


def test_incidents_are_exactly_what_was_printed(private_engine: PrivateEngine) -> None:
    random = Random(20)
    kinds = ["nothing", "restart", "recreate"] * 4 + ["daemon", "daemon killed"]
    random.shuffle(kinds)
    world = EngineWorld(private_engine, restart_policy={"Name": "always"})
    try:
        with monitor_of(world) as monitor:
            eventually(monitor.has_joined, what=monitor.output())
            printed = 0
            for kind in kinds:
                killer = killed_soon(monitor, random) if random.random() < 0.6 else None
                for episode in random.sample(EPISODES, 2):
                    between = random.sample(ORDINARY, 20)
                    world.write(encoded([*START, *between, *episode["lines"], *between]))
                    printed += episode["incidents"]
                    time.sleep(random.uniform(0.0, 0.3))
                world.settle()
                disturb(kind, world, private_engine, monitor)
                if killer is not None:
                    killer.join()
            world.write(encoded(START))
            eventually(
                lambda: len(monitor.incidents()) >= printed, what=f"{printed} incidents\n{monitor.told()}"
            )
            time.sleep(2.0)
            numbers = monitor.incidents()
        assert len(numbers) == len(set(numbers)) == printed
    finally:
        private_engine.recover()
        world.close()
