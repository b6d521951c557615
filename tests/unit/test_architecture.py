"""What docs/architecture.md says of the folders and of who imports whom."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.runtime.home import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
MAY_IMPORT = {
    "fleet": set(),
    "state": {"fleet"},
    "monitor": {"fleet", "state"},
    "generator": {"fleet", "state"},
    "standin": {"fleet"},
    "cli": {"fleet", "state", "monitor", "generator"},
}
HEAVY = {"numpy", "numba", "polars", "sqlalchemy", "lark", "matplotlib"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    ours = {*MAY_IMPORT, "tests", "benchmarks", "fleet_cli"} - {package} - MAY_IMPORT[package]
    found = {path: ours & set(imports(path)) for path in (ROOT / package).rglob("*.py")}
    assert found
    assert not {str(path): names for path, names in found.items() if names}


@pytest.mark.parametrize("package", ["fleet", "state", "monitor"])
def test_the_monitors_runtime_stays_light(package: str) -> None:
    found = {path: HEAVY & set(imports(path)) for path in (ROOT / package).rglob("*.py")}
    assert not {str(path): names for path, names in found.items() if names}


def tracked() -> list[str]:
    git = ["git", "ls-files", "-z"]  # a copy without its history is no repository
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        pytest.skip("this copy is no repository of git")
    return [name for name in done.stdout.split("\0") if name]


def test_the_map_names_each_folder() -> None:
    folders = {name.partition("/")[0] for name in tracked() if "/" in name and not name.startswith(".")}
    named = set(re.findall(r"^\| `(\w+)/` \|", PAGE, flags=re.MULTILINE))
    assert folders - {"docs"} == named


def test_no_text_holds_the_markers_of_a_merge() -> None:
    marker = re.compile(rb"^(<{7} |>{7} )", flags=re.MULTILINE)
    files = [ROOT / name for name in tracked()]
    assert not [str(path) for path in files if path.is_file() and marker.search(path.read_bytes())]
