"""Two lanes of one fleet on one BRAIN account and one database: slots are kept, nothing is paid or stored twice."""

import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from standin.brain.server import StandinBrain, standin_brain
from standin.brain.settings import BrainStandinSettings
from tests.processes.fleet import FleetProcess, eventually
from tests.soak.parts import Server

LANES = ("a", "b")
SLOTS = 2


@pytest.fixture
def brain() -> Iterator[StandinBrain]:
    with standin_brain(BrainStandinSettings(seconds=0.5, retry_after=0.1, slots=10)) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, brain: StandinBrain) -> Iterator[FleetProcess]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FLEET_", "OLLAMA_"))}
    servers = {
        lane: Server({**clean, "FLEET_STANDIN_VRAM": "64 GB"}, tmp_path / f"{lane}.log") for lane in LANES
    }
    rows = [f"[brain]\nslots = {SLOTS}\n"]
    for lane, server in servers.items():
        server.ensure()
        rows.append(f'[[lane]]\nname = "{lane}"\nurl = "{server.url}"\nlog = "file:{tmp_path}/{lane}.log"\n')
    (tmp_path / "fleet.toml").write_text("".join(rows))
    home = tmp_path / "home"
    home.mkdir()
    (home / "credential.txt").write_text(json.dumps(["someone@example.com", "standin"]))
    (home / "credential.txt").chmod(0o600)
    config = str(tmp_path / "fleet.toml")
    fleet = FleetProcess(home, FLEET_PROFILE="native", FLEET_CONFIG=config, FLEET_BRAIN_URL=brain.url)
    try:
        yield fleet
    finally:
        fleet.stop()
        for server in servers.values():
            server.stop()


def busiest(brain: StandinBrain) -> list[int]:
    """Note at each request how many simulations run on BRAIN, which itself would allow more."""
    seen: list[int] = []
    answer, lock = brain._httpd.answer, threading.Lock()

    def noting(exchange: object) -> None:
        answer(exchange)  # type: ignore[arg-type]
        with lock, brain.world.lock:
            seen.append(brain.world.running())

    brain._httpd.answer = noting
    return seen


def sent_by(fleet: FleetProcess) -> Counter[str]:
    """Return how many simulations each lane has sent, by the owners of their rows."""
    if not fleet.home.database.exists():
        return Counter()
    with closing(sqlite3.connect(fleet.home.database, timeout=10)) as database:
        try:
            owners = database.execute("SELECT owner FROM simulations").fetchall()
        except sqlite3.Error:  # the tables are being made
            return Counter()
    return Counter(owner.rpartition("/")[2] for (owner,) in owners)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_lanes_keep_the_slots_and_store_nothing_twice(fleet: FleetProcess, brain: StandinBrain) -> None:
    running = busiest(brain)
    fleet.launch()

    def both() -> bool:
        sent = sent_by(fleet)
        return sent.total() >= 12 and set(sent) == set(LANES)

    eventually(both, within=500, what=f"simulations of both lanes\n{fleet.output()}")
    fleet.stop()
    assert max(running) <= SLOTS
    assert len(brain.world.taken) == len(set(brain.world.taken))
    with closing(sqlite3.connect(fleet.home.database)) as database:
        rows = database.execute("SELECT digest, settings_key, source FROM evaluations").fetchall()
    assert len(rows) == len(set(rows)) > 0
    published = json.loads(fleet.home.hopeful.read_text()) if fleet.home.hopeful.exists() else []
    ids = [alpha["alpha_id"] for alpha in published]
    assert len(ids) == len(set(ids))
    assert not (fleet.home.path / "lanes" / "a" / "hopeful_alphas.json").exists()
