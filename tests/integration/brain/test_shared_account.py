"""Two real generators with one database on one BRAIN account: together they keep its slots and its daily budget."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from generator.storage.dialect import lock_writers
from generator.storage.errors import StorageError
from generator.storage.schema import RUNNING, SENDING, SimulationRow
from generator.storage.store import AlphaStore
from standin.brain.server import StandinBrain, standin_brain
from standin.brain.settings import BrainStandinSettings
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.parts.postgresql import postgresql
from tests.processes.generator import GeneratorProcess, generating

SLOTS = 2


@pytest.fixture
def ollama() -> Iterator[StandinOllama]:
    with standin(settings=StandinSettings(pace=0.0)) as server:
        yield server


@pytest.fixture
def brain() -> Iterator[StandinBrain]:
    with standin_brain(BrainStandinSettings(seconds=0.7, retry_after=0.1, slots=10)) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/shared.db"
        return
    with postgresql() as cluster:
        yield cluster.create("shared")


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


def home(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    credentials = path / "credential.txt"
    credentials.write_text(json.dumps(["someone@example.com", "standin"]))
    credentials.chmod(0o600)
    return path


def beats(*generators: GeneratorProcess) -> list[int]:
    return [(one.heartbeat().get("brain") or {}).get("sent_today", 0) for one in generators]


def stop_with_all_slots(one: GeneratorProcess, database: str) -> None:
    """Stop a generator that holds all slots, and that holds up no writer: SQLite's lock would stay with it."""
    store = AlphaStore(database, owner="watcher")
    flying = select(func.count()).where(SimulationRow.state.in_((SENDING, RUNNING)))

    def stopped() -> bool:
        one.process.send_signal(signal.SIGSTOP)
        try:
            with store.transaction() as connection:
                lock_writers(connection)
                if connection.scalar(flying) == SLOTS:
                    return True
        except StorageError:
            pass
        one.process.send_signal(signal.SIGCONT)
        time.sleep(0.1)
        return False

    one.until(stopped, what="simulations in all slots")
    store.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_fleets_never_use_more_than_the_accounts_slots_and_budget(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain, database: str
) -> None:
    budget = 30
    running = busiest(brain)
    environ = {
        "FLEET_BRAIN_URL": brain.url,
        "FLEET_GENERATOR_DATABASE": database,
        "FLEET_BRAIN_SLOTS": str(SLOTS),
        "FLEET_BRAIN_MAX_SIMULATIONS_PER_DAY": str(budget),
    }
    with generating(home(tmp_path, "two"), ollama.url, **environ) as second:
        second.until(lambda: len(brain.world.taken) >= 6, what="simulations")
        # A stop and a kill leave simulations in flight that still count, until the other fleet takes them up.
        stop_with_all_slots(second, database)
        with generating(home(tmp_path, "one"), ollama.url, **environ) as first:
            first.until(
                lambda: len(brain.world.taken) >= 14, what="simulations beside a stopped one", seconds=200
            )
            second.process.send_signal(signal.SIGCONT)
            first.until(lambda: len(brain.world.taken) >= 18, what="simulations of both")
            first.end(signal.SIGKILL)
        with generating(first.home, ollama.url, **environ) as again:
            for one in (again, second):
                one.until(
                    lambda one=one: "budget of BRAIN simulations is used up" in one.told,  # type: ignore[misc]
                    what="the end of the budget",
                )
            again.until(lambda: beats(again, second) == [budget, budget], what="the same count in both")
            assert again.end(seconds=60.0)[0] == 0
            assert second.end(seconds=60.0)[0] == 0
            assert "Traceback" not in again.log + again.told + second.log + second.told
    assert max(running) == SLOTS
    assert len(brain.world.taken) == len(set(brain.world.taken)) == budget
