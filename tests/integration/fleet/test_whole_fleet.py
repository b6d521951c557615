"""The whole fleet, with real processes: what a newcomer and an operator are promised."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.runtime.errors import SupervisorError
from fleet.runtime.home import ROOT
from tests.processes.fleet import MEMORY_FAILURE, FleetProcess, eventually, running_fleet

# The gap between failures is shortened, and the stand-in has room for every model: no failure but the test's.
SETTINGS = {
    "FLEET_STANDIN_VRAM": "64 GB",
    "FLEET_POLICY_INCIDENT_GAP": "300ms",
    "FLEET_POLICY_COOL_DOWN": "0s",
    "FLEET_POLICY_CHECK_INTERVAL": "1s",
}
APART = 0.5


@pytest.fixture
def fleet() -> Iterator[FleetProcess]:
    with running_fleet(**SETTINGS) as fleet:
        eventually(fleet.home.signals.exists, what=f"a first call\n{fleet.output()}")
        yield fleet


def settled_on(fleet: FleetProcess, index: int) -> bool:
    state = fleet.state
    return state.current_model_index == index and state.switch is None


@pytest.mark.slow
def test_three_failures_move_the_generator_to_the_next_model(fleet: FleetProcess) -> None:
    before = fleet.pid("generator")
    assert fleet.generator_model() == "llama3.2:3b"
    fleet.fail(3, apart=APART)
    eventually(lambda: fleet.generator_model() == "phi3:mini", what="a generator on phi3:mini")
    eventually(lambda: settled_on(fleet, 1), what=f"the switch done\n{fleet.output()}")
    assert fleet.pid("generator") != before
    row = fleet.status()
    assert row["current_model"]["index"] == 1
    assert row["current_model"]["size_mb"] == 2200
    assert row["vram_error_count"] == 0
    eventually(lambda: fleet.status()["away"] == {}, what="answers of all parts, also on a busy machine")
    assert {one["state"] for one in row["programs"].values()} == {"RUNNING"}


def test_three_failures_within_one_gap_count_once(fleet: FleetProcess) -> None:
    fleet.write("\n".join([MEMORY_FAILURE] * 3))
    eventually(lambda: fleet.status()["vram_error_count"] == 1)
    assert fleet.state.current_model_index == 0


@pytest.mark.slow
def test_a_killed_generator_comes_back_on_its_model(fleet: FleetProcess) -> None:
    assert fleet.cli("downgrade").returncode == 0
    before = fleet.pid("generator")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: fleet.pid("generator") not in {0, before}, what="a new generator")
    eventually(lambda: fleet.generator_model() == "phi3:mini")


@pytest.mark.slow
def test_a_killed_monitor_counts_nothing_twice(fleet: FleetProcess) -> None:
    fleet.fail(2, apart=APART)
    eventually(lambda: fleet.status()["vram_error_count"] == 2)
    before = fleet.pid("monitor")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: fleet.pid("monitor") not in {0, before}, what="a new monitor")
    fleet.cli("history")
    assert fleet.status()["vram_error_count"] == 2
    fleet.fail()
    eventually(lambda: settled_on(fleet, 1), what=f"a downgrade\n{fleet.output()}")
    counted = [row for row in json.loads(fleet.cli("history", "--json").stdout) if row["kind"] == "incident"]
    assert len(counted) == 3


@pytest.mark.slow
def test_what_failed_while_the_monitor_was_away_is_counted(fleet: FleetProcess) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "supervisor.supervisorctl",
            "-s",
            f"unix://{fleet.home.socket}",
            "stop",
            "monitor",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    fleet.fail(2)
    fleet.supervisor.start("monitor")
    eventually(
        lambda: fleet.status()["vram_error_count"] == 1, what="both lines, within one gap, counted once"
    )


@pytest.mark.slow
def test_a_killed_supervisord_leaves_nothing_behind_and_the_model_is_remembered(fleet: FleetProcess) -> None:
    assert fleet.cli("use", "tinyllama:1.1b").returncode == 0
    fleet.stop(signal.SIGKILL)
    eventually(lambda: not fleet.processes(), within=10, what="programs that end with their supervisor")
    fleet.start()
    eventually(lambda: fleet.generator_model() == "tinyllama:1.1b")
    assert len(fleet.processes()) == 4


@pytest.mark.slow
def test_the_command_line_goes_down_to_the_bottom_and_back(fleet: FleetProcess) -> None:
    for model in ("phi3:mini", "tinyllama:1.1b", "qwen2.5:0.5b"):
        done = fleet.cli("downgrade")
        assert done.returncode == 0, done.stderr
        assert fleet.generator_model() == model
    at_bottom = fleet.cli("downgrade")
    assert at_bottom.returncode == 1
    assert "there is no smaller model" in at_bottom.stderr
    done = fleet.cli("reset", "--wait")
    assert done.returncode == 0, done.stderr
    assert fleet.generator_model() == "llama3.2:3b"


@pytest.mark.slow
def test_use_pins_and_unpin_lifts_it(fleet: FleetProcess) -> None:
    assert fleet.cli("use", "1", "--pin").returncode == 0
    assert fleet.status()["pinned"] is True
    fleet.fail(3, apart=APART)
    eventually(lambda: fleet.status()["vram_error_count"] >= 3)
    assert fleet.state.current_model_index == 1
    assert fleet.cli("unpin").returncode == 0
    assert fleet.status()["pinned"] is False


@pytest.mark.slow
def test_switches_without_supervisord_are_saved_for_later(fleet: FleetProcess) -> None:
    assert fleet.stop() == 0
    assert not fleet.processes()
    for index in (1, 2, 3):
        done = fleet.cli("downgrade", "--json")
        assert done.returncode == 3, done.stderr
        assert json.loads(done.stdout)["index"] == index
    assert fleet.cli("downgrade").returncode == 1
    assert fleet.cli("reset").returncode == 3
    assert fleet.cli("use", "phi3:mini").returncode == 3
    fleet.start()
    eventually(lambda: fleet.generator_model() == "phi3:mini")
    eventually(lambda: fleet.state.switch is None, what="the switch done")


@pytest.mark.slow
def test_a_generator_that_a_person_stopped_stays_stopped(fleet: FleetProcess) -> None:
    fleet.supervisor.stop("generator")
    done = fleet.cli("downgrade")
    assert done.returncode == 0, done.stderr
    assert fleet.pid("generator") == 0
    fleet.supervisor.start("generator")
    eventually(lambda: fleet.generator_model() == "phi3:mini")


@pytest.mark.slow
def test_a_model_that_is_not_there_is_pulled_by_hand() -> None:
    with running_fleet(**SETTINGS, FLEET_STANDIN_MISSING="phi3:mini", FLEET_STANDIN_PACE="0") as fleet:
        done = fleet.cli("downgrade")
        assert done.returncode == 0, done.stderr
        assert fleet.generator_model() == "phi3:mini"


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", '{"current_model_index": 1, "vram_err'])
def test_a_damaged_state_is_set_aside_and_the_fleet_goes_on(fleet: FleetProcess, content: str) -> None:
    fleet.stop()
    fleet.home.state.write_text(content)
    fleet.home.state.with_name("model_fleet_state.json.bak").unlink(missing_ok=True)
    fleet.start()
    eventually(lambda: "the state file was repaired" in fleet.output())
    assert [path.read_text() for path in fleet.home.path.glob("*.corrupt-*")] == [content]
    assert fleet.state.current_model_index == 0
    assert "damaged" in (fleet.home.log / "monitor.log").read_text()


@pytest.mark.slow
def test_an_originals_state_is_taken_over(fleet: FleetProcess) -> None:
    fleet.stop()
    fleet.home.state.write_text(
        '{"current_model_index": 2, "vram_error_count": 1, "current_model": "tinyllama:1.1b", "timestamp": 1e9}'
    )
    fleet.home.state.with_name("model_fleet_state.json.bak").unlink(missing_ok=True)
    fleet.start()
    eventually(lambda: fleet.generator_model() == "tinyllama:1.1b")
    assert fleet.status()["current_model"]["name"] == "tinyllama:1.1b"


@pytest.mark.slow
def test_a_faulty_configuration_starts_nothing(tmp_path: Path) -> None:
    config = tmp_path / "fleet.toml"
    config.write_text('[policy]\ntreshold = 2\nwindow = "10"\n[ollam]\n[[ladder]]\nsize = "big"\n')
    fleet = FleetProcess(tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-m", "fleet", "--config", str(config)],
        cwd=ROOT,
        env=fleet.environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    for part in (
        "5 problems",
        "policy.threshold?",
        "policy.window",
        "ollama?",
        "ladder[0].model",
        "ladder[0].size",
    ):
        assert part in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_second_start_in_one_home_is_refused(fleet: FleetProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fleet"],
        cwd=ROOT,
        env=fleet.environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "runs in" in done.stderr


@pytest.mark.slow
def test_status_tells_what_is_away(fleet: FleetProcess) -> None:
    fleet.stop()
    row = fleet.status()
    assert set(row["away"]) >= {"ollama", "supervisord"}
    assert row["available_models"] is None
    assert row["programs"] is None
    assert "supervisord does not run" in fleet.cli("status").stdout


def test_no_fleet_here(tmp_path: Path) -> None:
    done = FleetProcess(tmp_path / "nothing").cli("status")
    assert done.returncode == 2
    assert "there is no fleet in" in done.stderr
    assert "docker exec" in done.stderr


@pytest.mark.slow
def test_ollama_away_is_no_crash_loop(fleet: FleetProcess) -> None:
    fleet.supervisor.stop("standin")
    before = (fleet.pid("monitor"), fleet.pid("generator"))
    with pytest.raises(SupervisorError):
        fleet.supervisor.program("nosuch")
    eventually(lambda: "ollama" in fleet.status()["away"])
    eventually(lambda: "Ollama is away" in fleet.output(), within=30)
    assert (fleet.pid("monitor"), fleet.pid("generator")) == before
    fleet.supervisor.start("standin")
    eventually(lambda: "Ollama is back" in fleet.output(), within=30)
