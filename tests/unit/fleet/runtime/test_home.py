"""Commands that messages name: they work for the home that they are about, pasted anywhere."""

import ast
import os
import shlex
from pathlib import Path

import pytest

from fleet.runtime.errors import ConfigError
from fleet.runtime.home import ROOT, Home, is_there

PRODUCT = ("fleet", "state", "monitor", "generator", "cli")


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put a supervisorctl on the PATH."""
    tool = tmp_path / "bin" / "supervisorctl"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))


@pytest.mark.usefixtures("on_path")
def test_the_default_home_needs_no_address(tmp_path: Path) -> None:
    assert Home(ROOT / "var").supervisorctl("status") == "supervisorctl status"
    assert Home(ROOT / "var").command("make run") == "make run"
    link = tmp_path / "link"
    link.symlink_to(ROOT / "var")
    assert Home(link).supervisorctl("status") == "supervisorctl status"


def test_a_supervisorctl_that_is_not_on_the_path_is_named_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "model fleet"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("fleet.runtime.home.ROOT", checkout)
    assert Home(checkout / "var").supervisorctl("status") == "supervisorctl status"
    tool = checkout / ".venv" / "bin" / "supervisorctl"
    tool.parent.mkdir(parents=True)
    tool.touch()
    assert Home(checkout / "var").supervisorctl("status") == ".venv/bin/supervisorctl status"
    other = Home(tmp_path / "home")
    assert shlex.split(other.supervisorctl("status")) == [str(tool), "-s", f"unix://{other.socket}", "status"]


@pytest.mark.parametrize(
    ("user", "writable", "refused"),
    [(0, True, True), (1000, True, False), (1000, False, False), (2000, True, False), (2000, False, True)],
)
def test_a_user_does_not_take_over_the_home_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, user: int, writable: bool, refused: bool
) -> None:
    home = Home(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("os.access", lambda *_: writable)
    home.require_owner()  # no fleet was started in it yet
    home.kind_file.write_text("{}")
    kept = home.kind_file.stat()
    monkeypatch.setattr(Path, "stat", lambda _: os.stat_result((*kept[:4], 1000, *kept[5:10])))
    if not refused:
        home.require_owner()
        return
    with pytest.raises(ConfigError, match="belongs to the user") as error:
        home.require_owner()
    assert "sudo -u" in error.value.hint
    assert f" env FLEET_HOME={tmp_path} …" in error.value.hint  # sudo passes no variables on


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize("name", ["fleet", "my fleet", "it's; rm -rf $HOME"])
def test_another_home_is_named_as_a_shell_reads_it(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    asked = shlex.split(home.supervisorctl("restart", "generator"))
    assert asked == ["supervisorctl", "-s", f"unix://{home.socket}", "restart", "generator"]
    assert shlex.split(home.command("make run")) == [f"FLEET_HOME={home.path}", "make", "run"]


def _texts(path: Path) -> list[tuple[str, int, str]]:
    tree = ast.parse(path.read_text("utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    owners = [node for node in ast.walk(tree) if isinstance(node, documented)]
    strings = {id(node.value) for owner in owners for node in owner.body if isinstance(node, ast.Expr)}
    return [
        (path.relative_to(ROOT).as_posix(), node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in strings
    ]


def test_no_message_names_supervisorctl_without_the_home() -> None:
    texts = [
        found for package in PRODUCT for path in (ROOT / package).rglob("*.py") for found in _texts(path)
    ]
    assert len(texts) > 1000
    named = [found for found in texts if "supervisorctl " in found[2] and found[0] != "fleet/runtime/home.py"]
    assert named == []


def test_links_in_a_circle_are_no_default_home(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    assert not Home(tmp_path / "circle" / "home").is_default


def test_a_name_that_cannot_be_looked_up_is_there_for_its_reader_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("nothing")
    assert is_there(tmp_path / "nowhere")
    assert is_there(tmp_path / ("x" * 300))
    assert not is_there(tmp_path / "file" / "below")
    assert not is_there(tmp_path / "none")

    def closed(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "lstat", closed)
    assert is_there(tmp_path / "none")
