"""Commands that messages name: they work for the home that they are about, pasted anywhere."""

import ast
import shlex
from pathlib import Path

import pytest

from fleet.runtime.home import ROOT, Home

PRODUCT = ("fleet", "state", "monitor", "generator", "cli")


def test_the_default_home_needs_no_address(tmp_path: Path) -> None:
    assert Home(ROOT / "var").supervisorctl("status") == "supervisorctl status"
    assert Home(ROOT / "var").command("make run") == "make run"
    link = tmp_path / "link"
    link.symlink_to(ROOT / "var")
    assert Home(link).supervisorctl("status") == "supervisorctl status"


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
