"""Whatever happens to container, daemon and monitor: as many incidents as failures were printed."""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from random import Random

import pytest

from monitor.detection.detector import Detector
from monitor.sources.docker.dedup import parse_stamp
from tests.parts.container_world import EngineWorld
from tests.parts.docker_engine import PrivateEngine
from tests.processes.fleet import eventually
from tests.processes.monitor import MonitorProcess, running_monitor

CORPUS = Path(__file__).parents[1] / "data" / "corpus"
HEALTHY = (CORPUS / "log-healthy.txt").read_text("utf-8").splitlines()
START = HEALTHY[: next(n for n, line in enumerate(HEALTHY) if "Listening on" in line) + 1]
DETECTOR = Detector()
ORDINARY = [line for line in HEALTHY if not list(DETECTOR.candidates(f"{line}\n".encode()))]
"""Lines out of a log that are told in any order: none speaks of a load or a request."""

TIMED = re.compile(r"seconds=|\[GIN\].*\|\s+(?:[\d.]+m)?[\d.]+s \|")
EPISODES = [
    episode
    for episode in map(json.loads, (CORPUS / "episodes.jsonl").read_text("utf-8").splitlines())
    if not TIMED.search("\n".join(episode["lines"]))
]
"""Each is the end of another server's log, so each stands behind a server's start here. Left out are those that
say how many seconds something took: printed sooner after another, they would speak of that one's failure."""


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


ROUNDS = int(os.environ.get("FLEET_SOAK_ROUNDS", "1"))
"""Each round is another course of events; one takes about a minute."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 20 + ROUNDS))
def test_incidents_are_exactly_what_was_printed(private_engine: PrivateEngine, seed: int) -> None:
    random = Random(seed)
    kinds = ["nothing", "restart", "recreate"] * 4 + ["daemon", "daemon killed"]
    random.shuffle(kinds)
    world = EngineWorld(private_engine, restart_policy={"Name": "always"})
    try:
        with running_monitor(f"docker:{world.container_name}") as monitor:
            eventually(monitor.has_joined, what=monitor.findings())
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
                lambda: len(monitor.incidents()) >= printed, what=f"{printed} incidents\n{monitor.findings()}"
            )
            time.sleep(2.0)
            numbers = monitor.incidents()
        assert len(numbers) == len(set(numbers)) == printed
    finally:
        private_engine.recover()
        world.close()
