"""What a system other than Linux gets: one sentence and a mend, before anything is written."""

import runpy
import sys
from pathlib import Path

import pytest

from cli import demo
from fleet import __main__ as program
from fleet.runtime.home import ROOT


@pytest.fixture(params=["darwin", "win32"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setattr(sys, "platform", name)
    return name


def test_a_start_elsewhere_names_the_system_and_where_a_fleet_runs(
    platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["fleet"])
    assert program.main() == 1
    shown = capsys.readouterr().err
    assert f"Error: a fleet needs Linux, and this system is {platform}\nHint: " in shown
    assert "WSL 2" in shown
    assert "docs/docker.md" in shown
    assert not (tmp_path / "home").exists()


def test_a_demonstration_elsewhere_starts_nothing(
    platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo", "--home", str(tmp_path / "home")])
    assert demo.main() == 1
    assert f"this system is {platform}" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_the_command_line_on_windows_names_wsl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "fleet_cli.py"), run_name="__main__")
    assert ended.value.code == 2
    assert "WSL 2" in capsys.readouterr().err
