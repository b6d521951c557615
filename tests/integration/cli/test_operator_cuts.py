"""An operator's command while a load, a pull or a reload hangs: the later command wins, at once.

A whole fleet with its monitor, its stand-in and command lines of their own. What hangs would do so for the six minutes
of `first_token_timeout`; a command line that has not ended within a minute fails its test.
"""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from fleet.clients.ollama import Ollama
from fleet.policy.events import Event, EventKind
from fleet.policy.state import SwitchPhase
from fleet.runtime.errors import OllamaError
from fleet.runtime.home import ROOT, read_fleet_file
from state.history import read_history
from tests.processes.fleet import FleetProcess, eventually, running_fleet

TRIED, NEXT = "phi3:mini", "tinyllama:1.1b"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def running() -> Iterator[FleetProcess]:
    with running_fleet(
        FLEET_STANDIN_VRAM="64 GB", FLEET_POLICY_RECOVER_AFTER="0s", FLEET_OLLAMA_PULL_AHEAD="false"
    ) as fleet:
        eventually(lambda: answers(fleet), what="the stand-in answers")
        yield fleet


def answers(fleet: FleetProcess) -> bool:
    try:
        return bool(ollama(fleet).version())
    except OllamaError:
        return False


@pytest.fixture(params=["with the monitor", "without the monitor"])
def fleet(running: FleetProcess, request: pytest.FixtureRequest) -> Iterator[FleetProcess]:
    """Return the fleet at rest on its first rung."""
    if request.param == "without the monitor":
        running.supervisor.stop("monitor")
    at_rest(running)
    yield running
    faults(running, {"clear": True})
    running.supervisor.start("monitor")


def at_rest(fleet: FleetProcess) -> None:
    faults(fleet, {"clear": True})
    faults(fleet, {"kind": "add_model", "model": TRIED})
    done = fleet.cli("reset")
    assert done.returncode == 0, done.stderr
    eventually(lambda: fleet.generator_model() == "llama3.2:3b", what="the generator is on the first rung")


def ollama(fleet: FleetProcess) -> Ollama:
    started = read_fleet_file(fleet.home)
    assert started is not None
    return Ollama(started.ollama_url)


def faults(fleet: FleetProcess, document: object = None) -> list[dict[str, Any]]:
    """Put faults in force, if any are given, and return those there are."""
    url = f"{ollama(fleet).url}/standin/faults"
    data = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        rows = json.load(answer)["faults"]
    assert isinstance(rows, list)
    return rows


def happened(fleet: FleetProcess) -> int:
    return sum(row["happened"] for row in faults(fleet))


Begin = Callable[[FleetProcess], "subprocess.Popen[str]"]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Return what starts `use TRIED` and leaves it running; no process outlives its test."""
    with contextlib.ExitStack() as started:

        def use(fleet: FleetProcess) -> "subprocess.Popen[str]":
            command = subprocess.Popen(
                [sys.executable, str(ROOT / "fleet_cli.py"), "use", TRIED],
                cwd=ROOT, env=fleet.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            started.enter_context(command)
            started.callback(command.kill)
            return command

        yield use


def hanging_use(
    begin: Begin, fleet: FleetProcess, kind: str = "hang_load", **more: Any
) -> "subprocess.Popen[str]":
    """Start a `use` and wait until what it asks Ollama for hangs.

    A pull holds no lock: the command and the monitor ask for it in the same moment, and both hang.
    """
    faults(fleet, {"kind": kind, **more})
    command = begin(fleet)
    try:
        eventually(lambda: happened(fleet) >= 1, what=f"{kind} happens")
    except AssertionError as error:
        error.add_note(f"the command: {command.poll()}\n{fleet.output()}")
        raise
    return command


def ended(command: "subprocess.Popen[str]") -> tuple[int, str]:
    _, error = command.communicate(timeout=60)
    return command.returncode, error


def since(fleet: FleetProcess, number: int) -> list[Event]:
    return [event for event in read_history(fleet.home.history) if event.number > number]


def told(fleet: FleetProcess) -> int:
    return fleet.state.last_event_number


SWITCHED = [
    (EventKind.SWITCH_PLANNED, TRIED),
    (EventKind.SWITCH_SUPERSEDED, TRIED),
    (EventKind.SWITCH_PLANNED, NEXT),
    (EventKind.SWITCH_COMMITTED, NEXT),
]


def superseded(fleet: FleetProcess, first: "subprocess.Popen[str]", before: int) -> None:
    """Hold a fleet to what it is after `use NEXT` has superseded a hanging `use TRIED`."""
    done = fleet.cli("use", NEXT)
    assert done.returncode == 0, done.stderr
    code, error = ended(first)
    assert code == 1
    assert "superseded: a use was asked for meanwhile" in error
    assert fleet.generator_model() == fleet.state.current_model == NEXT
    assert not fleet.home.pause_file.exists()
    events = [(event.kind, event.fields.get("to")) for event in since(fleet, before)]
    assert [one for one in events if one[0] in dict(SWITCHED)][-len(SWITCHED) :] == SWITCHED
    assert TRIED not in [model.name for model in ollama(fleet).loaded()]


@pytest.mark.slow
@pytest.mark.parametrize("hang", [{"kind": "hang_load"}, {"kind": "slow", "first": 1000}])
def test_a_command_cuts_the_trial_of_another_command_line(
    begin: Begin, fleet: FleetProcess, hang: dict[str, Any]
) -> None:
    """Whether the model is being loaded or does not answer; one that was loaded does not stay."""
    before = told(fleet)
    first = hanging_use(begin, fleet, **hang, model=TRIED)
    superseded(fleet, first, before)
    assert happened(fleet) == 1, "it was loaded once"


@pytest.mark.slow
def test_a_command_cuts_the_generators_running_call(fleet: FleetProcess) -> None:
    """The call would hang for six minutes; its row says `cut`, and the monitor gets no signal of it."""
    at_rest(fleet)
    faults(fleet, {"kind": "slow", "first": 1000, "model": "llama3.2:3b"})
    eventually(lambda: happened(fleet) == 1, what="a call that hangs")
    failed = fleet.state.failed
    done = fleet.cli("use", TRIED)
    assert done.returncode == 0, done.stderr
    assert fleet.generator_model() == TRIED
    assert fleet.state.failed == failed
    with closing(sqlite3.connect(f"file:{fleet.home.database}?mode=ro", uri=True)) as rows:
        cut = "SELECT count(*) FROM calls WHERE done_reason = 'cut' AND error IS NULL"
        assert rows.execute(cut).fetchone()[0] >= 1


@pytest.mark.slow
def test_a_command_cuts_a_pull_that_hangs(begin: Begin, fleet: FleetProcess) -> None:
    faults(fleet, {"kind": "remove_model", "model": TRIED})
    before = told(fleet)
    first = hanging_use(begin, fleet, kind="stall", path="/api/pull")
    superseded(fleet, first, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_interrupted_cuts_its_trial(
    begin: Begin, running: FleetProcess, number: signal.Signals
) -> None:
    running.supervisor.stop("monitor")
    at_rest(running)
    first = hanging_use(begin, running, model=TRIED)
    assert running.home.pause_file.exists()
    first.send_signal(number)
    code, error = ended(first)
    assert code == 1
    assert "interrupted" in error
    assert not running.home.pause_file.exists()
    superseding = running.cli("use", NEXT)
    assert superseding.returncode == 0, superseding.stderr
    assert running.generator_model() == NEXT
    assert happened(running) == 1
    faults(running, {"clear": True})
    running.supervisor.start("monitor")


@pytest.mark.slow
def test_a_command_cuts_the_monitors_trial(begin: Begin, running: FleetProcess) -> None:
    """The monitor goes on with what a killed command line has begun; a monitor that ends leaves no pause."""
    at_rest(running)
    first = hanging_use(begin, running, model=TRIED)
    first.kill()
    ended(first)
    eventually(lambda: happened(running) == 2, what="the monitor tries it again")
    running.supervisor.stop("monitor")
    assert not running.home.pause_file.exists()
    switch = running.state.switch
    assert switch is not None
    assert switch.phase is SwitchPhase.TRIAL
    running.supervisor.start("monitor")
    eventually(lambda: happened(running) == 3, what="the next monitor resumes it")
    done = running.cli("use", NEXT)
    assert done.returncode == 0, done.stderr
    assert running.generator_model() == NEXT
    assert not running.home.pause_file.exists()
    assert happened(running) == 3
    faults(running, {"clear": True})


@pytest.mark.slow
def test_a_model_that_fails_is_tried_once_a_command(running: FleetProcess) -> None:
    at_rest(running)
    faults(running, {"kind": "fail_load", "model": TRIED})
    for number in range(1, 6):
        done = running.cli("use", TRIED)
        assert done.returncode == 1
        assert "unable to allocate" in done.stderr
        assert happened(running) == number
    assert running.state.switch is None
    assert running.generator_model() == "llama3.2:3b"
    faults(running, {"clear": True})
