"""What no log line tells: models that spill, a GPU that is lost, an Ollama that hangs; with real processes."""

import pytest

from fleet.clients.ollama import Ollama
from fleet.runtime.home import read_fleet_file
from tests.processes.fleet import FleetProcess, eventually, running_fleet
from tests.processes.standin_faults import events, fault

SETTINGS = {
    "FLEET_POLICY_CHECK_INTERVAL": "500ms",
    "FLEET_POLICY_COOL_DOWN": "0s",
    "FLEET_STANDIN_PACE": "0.2",
}


@pytest.mark.slow
def test_a_model_that_spills_moves_the_fleet_down_and_says_why() -> None:
    with running_fleet(**SETTINGS, FLEET_STANDIN_SPILL="1", FLEET_STANDIN_VRAM="1.2 GB") as fleet:
        eventually(
            lambda: fleet.generator_model() == "tinyllama:1.1b", within=120, what=f"rung 2\n{fleet.output()}"
        )
        spills = events(fleet, "spill")
        assert [row["model"] for row in spills] == ["llama3.2:3b", "phi3:mini"]
        assert all(row["outcome"] == "moving down" and row["share"] < 0.8 for row in spills)
        told = {(row["cause"], row["counted"]) for row in events(fleet, "incident")}
        assert told <= {("spill", False)}, "what the log says of layers on the CPU is told and counts not"
        eventually(lambda: fleet.state.switch is None, what="the switch done")
        assert fleet.state.vram_error_count == 0


@pytest.mark.slow
def test_a_spill_is_only_reported_where_that_is_wanted() -> None:
    settings = SETTINGS | {"FLEET_POLICY_ON_SPILL": "report"}
    with running_fleet(**settings, FLEET_STANDIN_SPILL="1", FLEET_STANDIN_VRAM="1.2 GB") as fleet:
        (row,) = eventually(lambda: events(fleet, "spill"), within=120, what=f"a spill\n{fleet.output()}")
        assert row["outcome"] == "reported"
        assert fleet.state.current_model_index == 0
        assert fleet.state.switch is None


@pytest.mark.slow
def test_an_ollama_that_hangs_is_told_from_a_model_too_big() -> None:
    settings = SETTINGS | {"FLEET_OLLAMA_FIRST_TOKEN_TIMEOUT": "2s"}
    with running_fleet(**settings, FLEET_STANDIN_VRAM="64 GB") as fleet:
        eventually(fleet.home.signals.exists, what=f"a first call\n{fleet.output()}")
        fault(fleet, kind="stall", path="/api/generate")
        (row,) = eventually(
            lambda: events(fleet, "ollama.hangs"), within=150, what=f"a hang told\n{fleet.output()}"
        )
        assert "one within 2s" in row["reason"]
        assert "docker restart" in row["reason"]
        assert "Ollama hangs" in fleet.output()
        assert fleet.state.current_model_index == 0
        assert fleet.state.vram_error_count == 0
        fault(fleet, clear=True)
        eventually(lambda: fleet.state.unanswered is None, within=60, what="an answer")
        assert len(events(fleet, "ollama.hangs")) == 1


def unload(fleet: FleetProcess, model: str) -> None:
    started = read_fleet_file(fleet.home)
    assert started is not None
    Ollama(started.ollama_url).unload(model, timeout=10)


@pytest.mark.slow
def test_a_gpu_that_is_lost_ends_the_way_down_and_the_mend_is_named() -> None:
    with running_fleet(**SETTINGS, FLEET_STANDIN_SPILL="1", FLEET_STANDIN_VRAM="64 GB") as fleet:
        eventually(fleet.home.signals.exists, what=f"a first call\n{fleet.output()}")
        eventually(lambda: fleet.state.watch.get("spill", {}).get("on_gpu"), what="a model on the GPU")
        fault(fleet, kind="vram", size="1 MB")
        unload(fleet, "llama3.2:3b")
        (row,) = eventually(
            lambda: events(fleet, "gpu.lost"), within=120, what=f"a lost GPU told\n{fleet.output()}"
        )
        assert set(row["models"]) == {"llama3.2:3b", "phi3:mini"}
        assert "nvidia-smi" in row["reason"]
        eventually(lambda: fleet.state.switch is None, what="the switch done")
        assert fleet.state.current_model_index == 1
