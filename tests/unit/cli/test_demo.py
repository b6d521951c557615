"""The demonstration starts on the stand-in, whatever the configuration beside it names."""

import json
from pathlib import Path

import pytest

from cli.demo import clear, demo_environ
from fleet.clients.supervisor import ProgramInfo
from fleet.config.load import load_settings
from fleet.config.schema import Settings
from fleet.runtime.errors import FleetError
from fleet.runtime.home import Home


def test_the_demonstration_takes_nothing_from_the_configuration_in_use() -> None:
    given = {
        "FLEET_OLLAMA_URL": "http://gpu:11434",
        "FLEET_CONFIG": "mine.toml",
        "FLEET_PROFILE": "native",
        "PATH": "/bin",
    }
    environ = demo_environ(given, Home(Path("/demo")))
    assert environ.keys() == {"PATH", "FLEET_HOME", "FLEET_PROFILE", "FLEET_CONFIG"}
    assert (environ["FLEET_HOME"], environ["FLEET_PROFILE"]) == ("/demo", "embedded")
    config = Path(environ["FLEET_CONFIG"])
    assert load_settings(config, environ) == Settings(source=str(config))


def test_only_an_earlier_demonstration_that_has_ended_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "demo")
    home.create()
    with pytest.raises(FleetError, match="no demonstration's home") as refused:
        clear(home)
    assert "DEMO_HOME" in refused.value.hint
    home.kind_file.write_text(json.dumps({"kind": "stand-in"}))
    with monkeypatch.context() as running:
        running.setattr("fleet.clients.supervisor.Supervisor.programs", lambda _: list[ProgramInfo]())
        with pytest.raises(FleetError, match="a fleet runs in"):
            clear(home)
    assert home.kind_file.exists()
    clear(home)
    assert not home.path.exists()


def test_a_home_that_cannot_be_looked_at_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(FleetError, match="cannot be cleared: Permission denied"):
        clear(Home(tmp_path))
