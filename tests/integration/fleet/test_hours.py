"""`[[hours]]` and `reserve` on a whole fleet: down at the hour, a GPU left alone, back at once; a card that fills."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.clients.ollama import Ollama
from fleet.policy.events import EventKind
from fleet.runtime.home import ROOT, read_fleet_file
from state.history import read_history
from tests.processes.fleet import FleetProcess, eventually, running_fleet

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]
ALL_DAY = '[[hours]]\nwhen = "00:00-24:00"\nmodel = "{model}"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text((ROOT / "fleet.toml").read_text())
    return path


@pytest.fixture
def fleet(config: Path) -> Iterator[FleetProcess]:
    with running_fleet(
        FLEET_CONFIG=str(config),
        FLEET_STANDIN_VRAM="64 GB",
        FLEET_STANDIN_PACE="0",
        FLEET_OLLAMA_PULL_AHEAD="false",
        FLEET_POLICY_CHECK_INTERVAL="1s",
        FLEET_POLICY_COOL_DOWN="1s",
    ) as fleet:
        yield fleet


def edit(fleet: FleetProcess, config: Path, hours: str) -> None:
    """Let the monitor go by other hours, as a person does: edit the file and restart it."""
    config.write_text((ROOT / "fleet.toml").read_text() + "\n" + hours)
    fleet.supervisor.stop("monitor")
    fleet.supervisor.start("monitor")


def loaded(fleet: FleetProcess) -> list[str]:
    started = read_fleet_file(fleet.home)
    assert started is not None
    return [one.name for one in Ollama(started.ollama_url).loaded()]


def answering_on(fleet: FleetProcess, model: str) -> None:
    def there() -> bool:
        row = fleet.status()
        return fleet.generator_model() == row["current_model"]["name"] == model and row["switch"] is None

    eventually(there, what=f"{model} answers")


def test_a_cap_moves_down_none_pauses_and_their_end_brings_the_model_back(
    fleet: FleetProcess, config: Path
) -> None:
    answering_on(fleet, "llama3.2:3b")
    edit(fleet, config, ALL_DAY.format(model="tinyllama:1.1b"))
    answering_on(fleet, "tinyllama:1.1b")
    row = fleet.status()
    assert row["hours"] == {"cap": "tinyllama:1.1b", "until": None, "next": None}
    assert row["last_switch"]["why"] == "[[hours]] allow no model above tinyllama:1.1b now"
    assert row["ceiling"] is None
    refused = fleet.cli("use", "llama3.2:3b")
    assert refused.returncode == 1
    assert "above the cap" in refused.stderr

    edit(fleet, config, ALL_DAY.format(model="none"))
    eventually(lambda: not loaded(fleet) and fleet.status()["pause"], what="the GPU is left alone")
    assert fleet.status()["pause"]["by"] == "hours"
    assert fleet.cli("resume").returncode == 1
    assert fleet.cli("status", "--check").returncode == 0, fleet.cli("status").stdout

    edit(fleet, config, "")
    answering_on(fleet, "llama3.2:3b")
    eventually(lambda: loaded(fleet), what="it calls again")
    assert fleet.status()["hours"] is None
    kinds = [
        event.fields["model"] for event in read_history(fleet.home.history) if event.kind is EventKind.HOURS
    ]
    assert kinds == ["tinyllama:1.1b", "none", None]


def card(folder: Path, used: int, *, fails: bool = False) -> None:
    """Let the card show so many MiB of 8000 in use, by a tool on the PATH."""
    path = folder / "nvidia-smi"
    new = folder / ".new"
    new.write_text("#!/bin/sh\n" + ("exit 9\n" if fails else f'echo "Card, {used}, 8000"\n'))
    new.chmod(0o755)
    new.replace(path)


def test_a_card_that_others_fill_moves_the_fleet_down_pauses_it_and_gives_it_back(tmp_path: Path) -> None:
    card(tmp_path, 3000)
    with running_fleet(
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        FLEET_POLICY_RESERVE="1 GB",
        FLEET_STANDIN_VRAM="64 GB",
        FLEET_STANDIN_PACE="0",
        FLEET_OLLAMA_PULL_AHEAD="false",
        FLEET_POLICY_CHECK_INTERVAL="1s",
        FLEET_POLICY_COOL_DOWN="1s",
    ) as fleet:
        answering_on(fleet, "llama3.2:3b")
        eventually(lambda: (fleet.status()["reserve"] or {}).get("free"), what="the card is read")
        card(tmp_path, 7500)  # a game: what is ours of it, some 2.5 GB, leaves 1.5 GB beside the reserve
        eventually(lambda: fleet.status()["current_model"]["index"] >= 2, what="the fleet moves down")
        answering_on(fleet, fleet.state.current_model)
        card(tmp_path, 7990)
        eventually(
            lambda: (fleet.status()["pause"] or {}).get("by") == "reserve", what="no model leaves the reserve"
        )
        eventually(lambda: not loaded(fleet), what="the GPU is empty")
        card(tmp_path, 500)
        answering_on(fleet, "llama3.2:3b")
        eventually(lambda: loaded(fleet), what="it calls again")
        card(tmp_path, 0, fails=True)
        eventually(
            lambda: fleet.status()["reserve"]["unknown"], what="a card that cannot be read is said to be"
        )
        assert fleet.cli("status", "--check").returncode == 1
