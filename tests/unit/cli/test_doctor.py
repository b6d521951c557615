"""What doctor says of a configuration that was changed under a running fleet."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cli.doctor import examine
from cli.faults import Health
from cli.target import Fleet
from fleet.clients.ollama import LoadedModel
from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.config.ladder import Ladder
from fleet.config.schema import Settings
from fleet.runtime.errors import FleetError, SupervisorAwayError
from fleet.runtime.home import FleetFile, Home
from state.store import StateStore


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Return a fleet whose monitor is this process."""
    home = Home(tmp_path / "home")
    home.create()
    config = tmp_path / "fleet.toml"
    config.write_text('[ollama]\nurl = "http://127.0.0.1:9"\n')
    monitor = ProgramInfo("monitor", ProgramState.RUNNING, os.getpid(), "")
    monkeypatch.setattr("fleet.clients.supervisor.Supervisor.programs", lambda _: [monitor])
    settings = Settings()
    ollama = replace(settings.ollama, url="http://127.0.0.1:9")
    return Fleet(home, replace(settings, source=str(config), ollama=ollama), None)


def found(fleet: Fleet) -> list[Health]:
    return [one.health for one in examine(fleet) if one.part == "configuration"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [(0.0, [Health.SOUND]), (time.time() + 60, [Health.SOUND, Health.WARNING])],
    ids=["before the monitor's start", "after it"],
)
def test_a_configuration_that_was_changed_is_told(
    fleet: Fleet, written: float, expected: list[Health]
) -> None:
    os.utime(fleet.settings.source, (written, written))
    assert found(fleet) == expected


@pytest.mark.parametrize(
    ("profile", "health"), [("embedded", Health.WARNING), ("native", Health.FAULT)], ids=["stand-in", "real"]
)
def test_a_card_tool_that_fails_is_no_fault_of_a_stand_in(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, profile: str, health: Health
) -> None:
    def fails() -> None:
        raise FleetError("nvidia-smi fails: no driver")

    monkeypatch.setattr("cli.doctor.cards", fails)
    started = FleetFile(profile, "http://127.0.0.1:9", "file:none", fleet.settings.source, "none", 0.0)
    findings = examine(replace(fleet, started=started))
    assert [one.health for one in findings if one.part == "gpu"] == [health]


def test_a_configuration_that_is_gone_is_no_change(fleet: Fleet) -> None:
    Path(fleet.settings.source).unlink()
    assert found(fleet) == [Health.SOUND]


def test_an_old_heartbeat_without_supervisord_sends_nobody_to_supervisorctl(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> list[ProgramInfo]:
        raise SupervisorAwayError("supervisord does not run", hint="Start the fleet.")

    monkeypatch.setattr("fleet.clients.supervisor.Supervisor.programs", away)
    fleet.home.generator_file.write_text(json.dumps({"heartbeat": time.time() - 600}))
    findings = [one for one in examine(fleet) if one.part in {"supervisord", "generator"}]
    assert [(one.part, one.health) for one in findings] == [
        ("supervisord", Health.FAULT),
        ("generator", Health.WARNING),
    ]
    assert all(one.hint and "supervisorctl" not in one.hint for one in findings)


def test_a_lane_that_was_never_started_has_no_home_yet_and_that_is_no_fault(fleet: Fleet) -> None:
    new = replace(fleet, home=fleet.home.of_lane("gpu1"))
    [home] = [one for one in examine(new) if one.part == "home"]
    assert home.health is Health.SOUND
    assert "the first start makes it" in home.detail
    assert "4 rungs" in next(one.detail for one in examine(new) if one.part == "configuration")
    alone = replace(new, settings=replace(new.settings, ladder=Ladder(list(new.settings.ladder)[:1])))
    assert next(one.detail for one in examine(alone) if one.part == "configuration").endswith(", 1 rung")


def test_a_check_that_the_system_refuses_is_a_fault_and_the_others_run(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise PermissionError(13, "Permission denied", "/closed")

    monkeypatch.setattr("cli.doctor.read_state", refused)
    findings = examine(fleet)
    assert [one.health for one in findings if one.part == "state" and "/closed" in one.detail] == [
        Health.FAULT
    ]
    assert findings[-1].part != "state"


@pytest.mark.parametrize(
    ("in_vram", "gpu", "health", "hint"),
    [
        (0, False, Health.SOUND, ""),
        (0, None, Health.WARNING, "Without one"),
        (0, True, Health.WARNING, "does not fit"),
        (40, None, Health.WARNING, "does not fit"),
        (100, None, Health.SOUND, ""),
    ],
    ids=["no GPU", "GPU unknown", "wholly on the CPU beside a GPU", "in part on the CPU", "on the GPU"],
)
def test_a_model_on_the_cpu_does_not_fit_only_where_there_is_a_gpu(
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
    *,
    in_vram: int,
    gpu: bool | None,
    health: Health,
    hint: str,
) -> None:
    """A real Ollama 0.17.4 without a GPU lists every model with `size_vram` 0: no smaller model fits better."""
    watch = {} if gpu is None else {"gpu": gpu}
    StateStore(fleet.home, fleet.settings.ladder).update(lambda state: replace(state, watch=watch))
    model = LoadedModel("llama3.2:3b", 100, in_vram)
    monkeypatch.setattr("fleet.clients.ollama.Ollama.loaded", lambda *_, **__: [model])
    (finding,) = [one for one in examine(fleet) if one.part == "gpu memory"]
    assert finding.health is health
    assert hint in finding.hint
    assert bool(hint) == bool(finding.hint)
