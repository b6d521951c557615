"""`pause` and `resume` on a whole fleet: the call is cut, the GPU is empty, and it stays so over every death."""

import contextlib
import json
import os
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime

import pytest

from cli.operator import OperatorCommands
from fleet.clients.ollama import Ollama
from fleet.policy.events import EventKind
from fleet.runtime.clock import SystemClock
from fleet.runtime.errors import OllamaError
from fleet.runtime.home import read_fleet_file, read_json
from fleet.runtime.pause_request import pause as request_pause
from fleet.runtime.pause_request import read_pause
from monitor.pauses import Pauses
from monitor.switching.freeing import free_gpu
from state.history import read_history
from tests.processes.fleet import FleetProcess, eventually, running_fleet
from tests.processes.kill_at_call import ALL_CALLS, Killer, in_child
from tests.processes.small_fleet import SmallFleet, small_fleet

pytestmark = pytest.mark.timeout(240)
_FUZZ = "FLEET_FUZZ" in os.environ


@pytest.fixture(scope="module")
def running() -> Iterator[FleetProcess]:
    # A pace of 3 makes each call last for seconds, so that there is always one to cut.
    with running_fleet(
        FLEET_STANDIN_VRAM="64 GB",
        FLEET_STANDIN_PACE="3",
        FLEET_OLLAMA_PULL_AHEAD="false",
        FLEET_POLICY_CHECK_INTERVAL="1s",
    ) as fleet:
        yield fleet


@pytest.fixture
def fleet(running: FleetProcess) -> Iterator[FleetProcess]:
    """Return the fleet with a call in flight."""
    running.cli("resume")
    running.cli("reset")
    eventually(lambda: calling(running) and loaded(running), what=running.output())
    yield running
    running.supervisor.start("monitor")


def calling(fleet: FleetProcess) -> bool:
    return (read_json(fleet.home.generator_file) or {}).get("request_since") is not None


def waits_for_an_answer(fleet: FleetProcess) -> bool:
    """Return True if a call is older than any that is answered at the usual pace."""
    since = (read_json(fleet.home.generator_file) or {}).get("request_since")
    return isinstance(since, float) and time.time() - since > 5


def faults(fleet: FleetProcess, document: object) -> None:
    """Put a fault of the stand-in in force."""
    started = read_fleet_file(fleet.home)
    assert started is not None
    data, kind = json.dumps(document).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{started.ollama_url}/standin/faults", data, kind)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def loaded(fleet: FleetProcess) -> list[str]:
    started = read_fleet_file(fleet.home)
    assert started is not None
    try:
        return [one.name for one in Ollama(started.ollama_url).loaded()]
    except OllamaError:
        return []


def cut_calls(fleet: FleetProcess) -> int:
    with (
        closing(sqlite3.connect(fleet.home.database)) as database,
        contextlib.suppress(sqlite3.OperationalError),
    ):
        rows = database.execute("SELECT count(*) FROM calls WHERE done_reason = 'cut' AND error IS NULL")
        return int(rows.fetchone()[0])
    return 0  # the generator has not made its tables yet


def stays_empty(fleet: FleetProcess, seconds: float = 2.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert loaded(fleet) == [], fleet.output()
        time.sleep(0.05)


MONITOR = ["with the monitor", pytest.param("without the monitor", marks=pytest.mark.slow)]


@pytest.mark.parametrize("monitor", MONITOR)
def test_the_running_call_is_cut_and_the_gpu_is_empty_when_the_command_returns(
    fleet: FleetProcess, monitor: str
) -> None:
    if monitor == "without the monitor":
        fleet.supervisor.stop("monitor")
    faults(fleet, {"kind": "slow", "first": 60})
    eventually(lambda: waits_for_an_answer(fleet), what="a call that lasts")
    before, failed = cut_calls(fleet), fleet.state.failed
    done = fleet.cli("pause", "2h")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the model is unloaded" in done.stdout
    stays_empty(fleet)
    eventually(lambda: cut_calls(fleet) > before, what="the row of the cut call")
    assert fleet.state.failed == failed, "a cut call is no failure"
    row = fleet.status()["pause"]
    assert row["by"] == "operator"
    assert 7190 < row["until"] - time.time() <= 7200
    assert "by hand; `resume` ends it" in fleet.cli("status").stdout
    assert fleet.cli("status", "--check").returncode == (0 if monitor == "with the monitor" else 1)
    assert fleet.cli("pause").returncode == 0, "again, now until `resume`"
    assert fleet.status()["pause"]["until"] is None
    faults(fleet, {"clear": True})
    done = fleet.cli("resume", "--json")
    assert done.returncode == 0
    eventually(lambda: loaded(fleet) and calling(fleet), what="it calls again")


@pytest.mark.parametrize("monitor", MONITOR)
def test_a_command_changes_the_rung_and_loads_nothing(fleet: FleetProcess, monitor: str) -> None:
    if monitor == "without the monitor":
        fleet.supervisor.stop("monitor")
    assert fleet.cli("pause").returncode == 0
    for arguments, model in [
        (("use", "tinyllama:1.1b"), "tinyllama:1.1b"),
        (("downgrade",), "qwen2.5:0.5b"),
        (("upgrade",), "tinyllama:1.1b"),
        (("reset",), "llama3.2:3b"),
    ]:
        assert fleet.cli(*arguments).returncode == 0
        assert fleet.generator_model() == model
        stays_empty(fleet, 0.5)
    assert fleet.status()["pause"]["by"] == "operator"


@pytest.mark.slow
def test_it_outlives_the_death_of_every_program_and_ends_by_itself(fleet: FleetProcess) -> None:
    assert fleet.cli("pause", "1h").returncode == 0
    for program in ("generator", "monitor"):
        old = fleet.pid(program)
        os.kill(old, signal.SIGKILL)
        eventually(lambda was=old, name=program: fleet.pid(name) not in {0, was}, what=f"{program} is back")  # type: ignore[misc]
        stays_empty(fleet, 3.0)
    fleet.stop(signal.SIGKILL)
    eventually(lambda: not fleet.processes(), what="all programs end with supervisord")
    fleet.home.pause_file.unlink(missing_ok=True)
    fleet.start()
    eventually(
        lambda: read_pause(fleet.home.pause_file, time.time()), what="the state alone brings the pause back"
    )
    eventually(lambda: not loaded(fleet), what="and empties the GPU")
    stays_empty(fleet)
    assert fleet.cli("pause", "3s").returncode == 0
    fleet.stop()
    fleet.start()
    eventually(lambda: loaded(fleet) and calling(fleet), what="it calls again")
    eventually(lambda: fleet.state.pause is None, what="the pause is over")
    ended = [one for one in read_history(fleet.home.history) if one.kind is EventKind.RESUMED]
    assert ended[-1].fields["why"] == "its time is over"


@pytest.mark.slow
def test_a_model_that_is_being_loaded_is_unloaded_too(fleet: FleetProcess) -> None:
    old = fleet.pid("generator")
    assert fleet.cli("use", "phi3:mini").returncode == 0
    eventually(lambda: fleet.pid("generator") != old and calling(fleet), what="the new generator calls")
    assert fleet.cli("pause").returncode == 0
    stays_empty(fleet, 4.0)


def test_a_request_that_nothing_explains_is_shown_and_removed_by_resume(fleet: FleetProcess) -> None:
    request_pause(fleet.home, since=time.time(), until=time.time() + 10**8, why="left behind")
    row = fleet.status()
    assert row["pause"]["by"] == "leftover"
    assert any("left behind" in fault["detail"] for fault in row["faults"])
    assert fleet.cli("status", "--check").returncode == 1
    assert fleet.cli("resume").returncode == 0
    assert fleet.status()["pause"] is None


@pytest.mark.slow
def test_looking_never_lengthens_a_models_stay(fleet: FleetProcess) -> None:
    """Ollama lists when each model leaves: after a pause of the calls, no look moves that moment."""
    request_pause(fleet.home, since=time.time(), until=time.time() + 60, why="a quiet moment", cut=True)
    eventually(lambda: not calling(fleet), what="no call")
    time.sleep(0.3)
    before = expiries(fleet)
    assert before
    for arguments in (
        ("status",),
        ("status", "--json"),
        ("doctor",),
        ("watch", "-n", "2"),
        ("report",),
        ("history",),
    ):
        fleet.cli(*arguments)
    time.sleep(3.0)  # the monitor has looked several times
    after = expiries(fleet)
    assert all(after[model] <= until + 0.5 for model, until in before.items())


def expiries(fleet: FleetProcess) -> dict[str, float]:
    """Return when each loaded model leaves, in Unix seconds."""
    started = read_fleet_file(fleet.home)
    assert started is not None
    with urllib.request.urlopen(f"{started.ollama_url}/api/ps", timeout=5) as answer:
        rows = json.load(answer)["models"]
    return {row["name"]: datetime.fromisoformat(row["expires_at"]).timestamp() for row in rows}


@pytest.mark.slow
def test_without_supervisord_it_is_saved(fleet: FleetProcess) -> None:
    fleet.stop()
    try:
        done = fleet.cli("pause", "1h")
        assert done.returncode == 3, done.stderr
        assert "supervisord does not run" in done.stdout
        assert fleet.cli("status", "--json").returncode == 0
        done = fleet.cli("resume")
        assert done.returncode == 3
        assert fleet.state.pause is None
    finally:
        fleet.start()


# Killed at any call


@pytest.fixture(scope="module")
def small() -> Iterator[SmallFleet]:
    with small_fleet() as made:
        made.start()
        yield made


def pausing(fleet: SmallFleet, *, after: bool) -> Iterator[tuple[int, int]]:
    """Kill a `pause` at one call after the other; yield the call and the child's status."""
    step = 1 if _FUZZ else 4
    for at in range(1, 2000, step):
        Ollama(fleet.url).generate({"model": "llama3.2:3b", "prompt": "1"}, first_token=30, stall=30)

        def work(number: int = at) -> None:
            operator = OperatorCommands(fleet.fleet)
            Killer(number, after=after, calls=ALL_CALLS).arm()
            operator.pause(3600.0)

        status = in_child(work)
        yield at, status
        if status == 0:
            return


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after it"])
def test_a_pause_that_is_killed_anywhere_is_whole_or_not_there(small: SmallFleet, after: bool) -> None:
    deaths = 0
    for at, status in pausing(small, after=after):
        deaths += status != 0
        store = small.store
        state = store.read()
        if state.pause is None:
            assert status != 0
            assert read_pause(small.home.pause_file, time.time()) is None, at
            continue
        # What the monitor does when it comes:
        Pauses(small.home).follow(state, time.time())
        kept = free_gpu(
            Ollama(small.url),
            small.settings.ladder,
            state.current_model,
            SystemClock(),
            idle=lambda: True,
        )
        assert kept == [], at
        request = read_pause(small.home.pause_file, time.time())
        assert request is not None, at
        assert (request.cut, request.until) == (True, state.pause.until), at
        OperatorCommands(small.fleet).resume()
        assert store.read().pause is None
        assert not small.home.pause_file.exists()
    assert deaths >= 10
