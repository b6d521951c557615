"""What doctor says of a configuration that was changed under a running fleet."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cli.doctor import examine
from cli.faults import Health
from cli.target import Fleet
from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.config.schema import Settings
from fleet.runtime.home import Home


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


def test_a_configuration_that_is_gone_is_no_change(fleet: Fleet) -> None:
    Path(fleet.settings.source).unlink()
    assert found(fleet) == [Health.SOUND]
