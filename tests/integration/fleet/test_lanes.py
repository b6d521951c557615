"""A home of today becomes one with lanes and back, under a real supervisord, in a folder with spaces."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fleet.runtime.errors import SupervisorError
from fleet.runtime.home import Home, process_environ
from state.history import read_history
from state.store import read_state
from tests.processes.fleet import FleetProcess, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_PATIENCE = 280.0
"""Wait for what takes seconds on a free machine."""

LADDER = '[[ladder]]\nmodel = "tinyllama:1.1b"\n[[ladder]]\nmodel = "qwen2.5:0.5b"\n'
LANE_A = '[[lane]]\nname = "a"\nladder = ["qwen2.5:0.5b"]\n'
LANE_B = '[[lane]]\nname = "b"\n'


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetProcess]:
    home = tmp_path / "my home"
    home.mkdir()
    fleet = FleetProcess(home, FLEET_CONFIG=str(tmp_path / "fleet.toml"))
    try:
        yield fleet
    finally:
        fleet.stop()


def running(fleet: FleetProcess, toml: str) -> FleetProcess:
    """Start the fleet anew on a configuration."""
    fleet.stop()
    Path(fleet.environ["FLEET_CONFIG"]).write_text(toml)
    fleet.launch()
    eventually(fleet._all_running, within=_PATIENCE, what=f"all programs RUNNING\n{fleet.output()}")
    return fleet


def names(fleet: FleetProcess) -> list[str]:
    return sorted(program.name for program in fleet.supervisor.programs())


def comes_to(fleet: FleetProcess, program: str, model: str) -> None:
    """Wait until a generator runs on a model; its launcher shows it a moment after the start."""

    def shown() -> bool:
        with suppress(SupervisorError):
            return process_environ(fleet.pid(program)).get("FLEET_MODEL") == model
        return False

    eventually(shown, within=_PATIENCE, what=f"{program} on {model}")


def answered(home: Home) -> bool:
    state = read_state(home)
    return state is not None and state.finished > 0


def test_lanes_come_and_go_by_the_configuration_and_nothing_is_lost(fleet: FleetProcess) -> None:
    home = fleet.home
    running(fleet, LADDER)
    assert names(fleet) == ["generator", "monitor", "standin"]
    assert fleet.cli("downgrade").returncode == 0
    eventually(lambda: fleet.state.switch is None, within=_PATIENCE, what="the downgrade ends")
    fleet.stop()
    before, history = home.state.read_bytes(), read_history(home.history)
    assert fleet.state.current_model == "qwen2.5:0.5b"

    running(fleet, LADDER + LANE_A + LANE_B)
    programs = ["generator", "monitor", "standin"]
    assert names(fleet) == sorted(f"{program}-{lane}" for program in programs for lane in "ab")
    comes_to(fleet, "generator-a", "qwen2.5:0.5b")
    comes_to(fleet, "generator-b", "tinyllama:1.1b")
    for lane in "ab":
        eventually(
            lambda lane=lane: answered(home.of_lane(lane)), within=_PATIENCE, what=f"lane {lane} mines"
        )
        assert not home.of_lane(lane).database.is_relative_to(home.of_lane(lane).path)
    shown = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisorctl", "-s", f"unix://{home.socket}", "status"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert all(f"{program}-{lane}" in shown for program in ("monitor", "generator") for lane in "ab")
    done = fleet.cli("downgrade", "--lane", "b")
    assert done.returncode == 0, done.stderr
    comes_to(fleet, "generator-b", "qwen2.5:0.5b")
    rows = json.loads(fleet.cli("status", "--json").stdout)["lanes"]
    assert [row["current_model"]["index"] for row in rows.values()] == [0, 1]
    assert home.state.read_bytes() == before
    found = fleet.cli("doctor").stdout
    assert "lane default" in found
    assert "stopped" in found

    running(fleet, LADDER + LANE_B)
    assert names(fleet) == sorted(f"{program}-b" for program in programs)
    assert home.of_lane("a").state.exists()
    comes_to(fleet, "generator-b", "qwen2.5:0.5b")

    running(fleet, LADDER)
    assert names(fleet) == programs
    assert fleet.state.current_model == "qwen2.5:0.5b"
    assert read_history(home.history)[: len(history)] == history
