"""`status --check` on a real fleet: a reason while something is wrong, whatever supervisord says, and none after it."""

import json
import os
import signal
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator

from fleet.clients.supervisor import ProgramState
from fleet.runtime.home import ROOT
from tests.processes.fleet import FleetProcess, eventually, running_fleet
from tests.processes.standin_faults import events, fault

SETTINGS = {
    "FLEET_STANDIN_VRAM": "64 GB",
    "FLEET_STANDIN_PACE": "0.2",
    "FLEET_POLICY_CHECK_INTERVAL": "500ms",
    "FLEET_OLLAMA_FIRST_TOKEN_TIMEOUT": "3s",
}


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetProcess]:
    with running_fleet(**SETTINGS) as fleet:
        eventually(fleet.home.signals.exists, what=f"a first call\n{fleet.output()}")
        yield fleet


def check(fleet: FleetProcess) -> str:
    """Return what the check says, in one line; its word and its exit code agree."""
    done = fleet.cli("status", "--check")
    assert done.stdout.count("\n") == 1, done.stderr
    assert done.returncode == (0 if done.stdout == "ok\n" else 1), done.stderr
    return done.stdout


def is_well(fleet: FleetProcess) -> bool:
    return check(fleet) == "ok\n"


def reason_with(fleet: FleetProcess, text: str) -> str:
    """Return the reasons as soon as one of them says this."""

    def look() -> str:
        said = check(fleet)
        return said if text in said else ""

    return eventually(look, what=f"{text}\n{fleet.output()[-3000:]}")


def faults_by_doctor(fleet: FleetProcess) -> str:
    done = fleet.cli("doctor")
    assert done.returncode == 1
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith("fault"))


@pytest.mark.slow
def test_a_well_fleet_is_well_also_in_json(fleet: FleetProcess) -> None:
    eventually(lambda: is_well(fleet), what=f"all well\n{check(fleet)}")
    done = fleet.cli("status", "--check", "--json")
    assert json.loads(done.stdout) == {"ok": True, "reasons": []}


@pytest.mark.slow
def test_a_runner_that_dies_at_every_call_is_a_fault_until_one_is_answered(fleet: FleetProcess) -> None:
    fault(fleet, kind="die", after=0)
    said = reason_with(fleet, "calls failed in a row")
    assert "unexpected EOF" in said
    assert all(one["state"] == "RUNNING" for one in fleet.status()["programs"].values())
    assert "The runner died" in fleet.cli("status").stdout
    assert "calls failed in a row" in faults_by_doctor(fleet)
    row = json.loads(fleet.cli("status", "--check", "--json").stdout)
    Draft202012Validator(json.loads((ROOT / "docs/schema/check.json").read_text())).validate(row)
    assert not row["ok"]
    eventually(lambda: (fleet.status()["unanswered"] or {}).get("calls", 0) > 5, what="more failures")
    status = fleet.status()
    Draft202012Validator(json.loads((ROOT / "docs/schema/status.json").read_text())).validate(status)
    fault(fleet, clear=True)
    eventually(lambda: is_well(fleet), what=f"all well\n{check(fleet)}")
    assert fleet.status()["unanswered"] is None
    assert (len(events(fleet, "unanswered")), len(events(fleet, "answered"))) == (1, 1)


@pytest.mark.slow
def test_an_ollama_that_hangs_is_a_fault_until_a_call_is_answered(fleet: FleetProcess) -> None:
    fault(fleet, kind="stall", path="/api/generate")
    said = reason_with(fleet, "Ollama hangs")
    assert "no answer for" in said
    assert "restart standin" in fleet.cli("status").stdout
    assert "Ollama hangs" in faults_by_doctor(fleet)
    fault(fleet, clear=True)
    eventually(lambda: is_well(fleet), what=f"all well\n{check(fleet)}")


def test_a_generator_that_a_person_stopped_is_no_fault(fleet: FleetProcess) -> None:
    fleet.supervisor.stop("generator")
    assert is_well(fleet), check(fleet)
    fleet.supervisor.start("generator")
    eventually(lambda: is_well(fleet), what="all well")


@pytest.mark.slow
def test_a_program_that_ended_again_and_again_is_a_fault_though_it_is_running(fleet: FleetProcess) -> None:
    for _ in range(3):
        pid = runs(fleet)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda dead=pid: runs(fleet) not in {0, dead}, what="the monitor back")
    assert fleet.status()["programs"]["monitor"]["state"] == "RUNNING"
    assert "monitor: it ended by itself 3 times within 10m" in check(fleet)
    assert "it ended by itself 3 times" in faults_by_doctor(fleet)
    fleet.supervisor.stop("monitor")
    fleet.supervisor.start("monitor")
    eventually(lambda: is_well(fleet), what=f"all well\n{check(fleet)}")


def runs(fleet: FleetProcess) -> int:
    """Return the monitor's process while it is RUNNING, else 0."""
    info = fleet.supervisor.program("monitor")
    return info.pid if info.state is ProgramState.RUNNING else 0


@pytest.mark.slow
def test_a_monitor_that_dies_at_every_start_is_a_fault_at_each_look(fleet: FleetProcess) -> None:
    """Without `fleet.json` it cannot start, and the command line reads the rest all the same."""
    kept = fleet.home.fleet_file.read_bytes()
    fleet.home.fleet_file.unlink()
    try:
        os.kill(fleet.pid("monitor"), signal.SIGKILL)
        reason_with(fleet, "monitor: it ended by itself")
        for _ in range(5):
            assert "monitor: it ended by itself" in check(fleet)
    finally:
        fleet.home.fleet_file.write_bytes(kept)


def test_no_fleet_here_is_exit_code_2(tmp_path_factory: pytest.TempPathFactory) -> None:
    done = FleetProcess(tmp_path_factory.mktemp("none") / "home").cli("status", "--check")
    assert done.returncode == 2
    assert done.stdout == ""
