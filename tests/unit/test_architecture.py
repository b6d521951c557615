"""The house: the folders of docs/architecture.md, import directions, names, and the paths that files outside Python name."""

import ast
import importlib.util
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
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
    "notifier": {"fleet", "state", "cli"},
    "web": {"fleet", "state", "monitor", "generator", "cli"},
}
FLEET_LAYERS = ({"runtime"}, {"memory_errors"}, {"config", "clients"}, {"policy", "startup"})
"""Rooms of fleet/, lowest first: a room imports only rooms below its own, and itself."""
HEAVY = {"numpy", "numba", "polars", "sqlalchemy", "lark", "matplotlib"}
MOST_MODULES = 14
SHARED_FUNCTIONS = {"main"}
"""Public functions that every program has."""
FAMILIES = ("generator/backtest/kernels",)
"""Folders whose functions are always named with their module, as `groups.zscore`."""
COMMANDS = ("cli/commands.py", "generator/cli/commands.py", "generator/cli/evaluate.py")
"""Files whose function names are the words of a command line."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def packages_imported(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_downwards(package: str) -> None:
    ours = {*MAY_IMPORT, "tests", "benchmarks", "fleet_cli"} - {package} - MAY_IMPORT[package]
    found = {short(path): ours & packages_imported(path) for path in modules(package)}
    assert not {path: names for path, names in found.items() if names}


def test_rooms_of_fleet_import_downwards() -> None:
    level = {room: height for height, rooms in enumerate(FLEET_LAYERS) for room in rooms}
    wrong = []
    for room, height in level.items():
        for path in modules(f"fleet/{room}"):
            targets = [name.split(".")[1] for name in imports(path) if name.startswith("fleet.")]
            wrong += [
                (short(path), target) for target in targets if target != room and level[target] >= height
            ]
    assert not wrong


def rooms_imported(package: str) -> dict[str, set[str]]:
    """Return which rooms (folders and top modules) of a package import which others."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in modules(package):
        room = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        for name in imports(path):
            if name.startswith(f"{package}.") and name.split(".")[1] != room:
                found[room].add(name.split(".")[1])
    return found


def cycles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return the groups of rooms that reach each other."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(graph.get(start, ()))
        while todo:
            room = todo.pop()
            if room not in seen:
                seen.add(room)
                todo += graph.get(room, ())
        return seen

    reached = {room: reach(room) for room in graph}
    return {
        frozenset({room, *(other for other in reached[room] if room in reached.get(other, ()))})
        for room in graph
        if room in reached[room]
    }


@pytest.mark.parametrize(
    "package", ["fleet", "state", "monitor", "generator", "standin", "cli", "notifier", "web"]
)
def test_rooms_import_without_cycles(package: str) -> None:
    assert not cycles(rooms_imported(package))


def imports_at_load(path: Path) -> set[str]:
    """Return the modules of ours that a module imports while it is loaded: not within functions, not for types alone."""
    found = set()
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if file_of(name) else node.module for name in inner}
    return {name for name in found if file_of(name)}


def file_of(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_modules_import_without_cycles(package: str) -> None:
    """With a cycle it depends on the module that is imported first whether any of them can be imported."""
    names = {
        path: short(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in modules(package)
    }
    assert not cycles({name: imports_at_load(path) for path, name in names.items()})


@pytest.mark.parametrize("package", ["fleet", "state", "monitor"])
def test_the_monitors_runtime_stays_light(package: str) -> None:
    found = {short(path): HEAVY & packages_imported(path) for path in modules(package)}
    assert not {path: names for path, names in found.items() if names}


def test_a_public_class_has_one_definition() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for package in MAY_IMPORT:
        for path in modules(package):
            for node in tree(path).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(short(path))
    assert not {name: paths for name, paths in found.items() if len(paths) > 1}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_public_function_has_one_definition_in_its_package(package: str) -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in modules(package):
        if short(path).startswith(FAMILIES) or short(path) in COMMANDS:
            continue
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                found[node.name].append(short(path))
    twice = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert not {name: paths for name, paths in twice.items() if name not in SHARED_FUNCTIONS}


def test_a_folder_holds_few_modules() -> None:
    folders = {path.parent for package in MAY_IMPORT for path in modules(package)}
    counts = {
        short(one): len([path for path in one.glob("*.py") if path.stem != "__init__"]) for one in folders
    }
    assert not {folder: count for folder, count in counts.items() if count > MOST_MODULES}


def tracked() -> list[str]:
    git = ["git", "ls-files", "-z"]  # a copy without its history is no repository
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        pytest.skip("this copy is no git repository")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_map_names_each_folder() -> None:
    folders = {name.partition("/")[0] for name in tracked() if "/" in name and not name.startswith(".")}
    named = set(re.findall(r"^\| `(\w+)/` \|", PAGE, flags=re.MULTILINE))
    assert folders - {"docs"} == named


@pytest.mark.parametrize("package", ["fleet", "monitor", "generator"])
def test_the_map_names_each_room_and_no_other(package: str) -> None:
    rooms = {f"{package}/{path.parent.name}/" for path in (ROOT / package).glob("*/__init__.py")}
    named = set(re.findall(rf"^\| `({package}/\w+/)` \|", PAGE, flags=re.MULTILINE))
    assert rooms == named


OURS = "|".join((*MAY_IMPORT, "tests", "tools", "benchmarks"))


def prose() -> Iterator[tuple[str, str]]:
    """Yield the files that name modules outside Python's imports, with their text."""
    for name in tracked():
        old = name == "CHANGELOG.md" or name.startswith("tests/data/")
        if not old and name.endswith(
            (".md", ".conf", ".toml", ".sh", ".yml", "Makefile", "Dockerfile", ".ci/run", ".py")
        ):
            yield name, (ROOT / name).read_text("utf-8")


def test_each_module_that_is_run_by_name_is_there() -> None:
    wanted = re.compile(rf"-m[\"', ]+((?:{OURS})(?:\.\w+)*)")
    found = {(name, module) for name, text in prose() for module in wanted.findall(text)}
    assert {"fleet", "monitor", "generator"} <= {module for _, module in found}
    assert not [(name, module) for name, module in sorted(found) if importlib.util.find_spec(module) is None]


def test_each_file_that_is_named_is_there() -> None:
    wanted = re.compile(rf"(?<![\w/.-])((?:{OURS})/[\w/-]+\.(?:py|toml|json|lark|conf|txt|md|yml))\b")
    found = {(name, path) for name, text in prose() for path in wanted.findall(text)}
    assert found
    assert not [(name, path) for name, path in sorted(found) if not (ROOT / path).exists()]


LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_link_of_the_pages_leads_somewhere() -> None:
    wrong = []
    for name in tracked():
        if not name.endswith(".md"):
            continue
        for target, anchor in LINK.findall((ROOT / name).read_text("utf-8")):
            path = (ROOT / name).parent / target if target else ROOT / name
            if not path.exists() or (anchor and anchor not in anchors(path)):
                wrong.append((name, target, anchor))
    assert not wrong


def test_no_text_holds_the_markers_of_a_merge() -> None:
    marker = re.compile(rb"^(<{7} |>{7} )", flags=re.MULTILINE)
    assert not [name for name in tracked() if marker.search((ROOT / name).read_bytes())]
