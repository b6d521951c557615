"""`fleet_cli.py`, the generator and the start, run by whatever Python a person has."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from fleet.runtime.home import ROOT
from fleet_cli import main

PACKAGES = ("cli", "fleet", "generator", "monitor", "standin", "state")
ARGUMENTS = {"notify": ["--test"], "use": ["1"], "scan": ["-"], "watch": ["--count", "1"]}
COMMANDS = [[name, *ARGUMENTS.get(name, [])] for name in sorted(main.commands)]
SWITCHING = ("reset", "downgrade", "upgrade", "use", "unpin", "pause", "resume")
DONE, FAULTY, USAGE, SAVED = 0, 1, 2, 3


@pytest.fixture(scope="module")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return an interpreter that has no package, and one that has click alone."""
    found = find_spec("click")
    assert found is not None
    assert found.origin is not None
    made = {}
    for name in ("nothing", "click"):
        folder = tmp_path_factory.mktemp(name)
        venv.create(folder, symlinks=True)
        made[name] = folder / "bin" / "python"
        if name == "click":
            [packages] = folder.glob("lib/python*/site-packages")
            (packages / "click").symlink_to(Path(found.origin).parent)
    return made


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the program with a fleet that stands still, without the environment of `make setup`."""
    shutil.copy(ROOT / "fleet_cli.py", tmp_path)
    for name in (*PACKAGES, "fleet.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    home = tmp_path / "var"
    home.mkdir()
    state = {
        "current_model_index": 1,
        "vram_error_count": 0,
        "current_model": "phi3:mini",
        "timestamp": 1_790_000_000.0,
    }
    (home / "model_fleet_state.json").write_text(json.dumps(state))
    return tmp_path


def set_up(checkout: Path) -> None:
    (checkout / ".venv").symlink_to(sys.prefix)


def run(
    python: Path | str, checkout: Path, *arguments: str, options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLEET", "PYTHON"))}
    return subprocess.run(
        [python, *options, str(checkout / "fleet_cli.py"), *arguments],
        env={
            **environ,
            "FLEET_HOME": str(checkout / "var"),
            "OLLAMA_HOST": "127.0.0.1:9",
            "FLEET_NOTIFY_COMMAND": "cat",
        },
        cwd=checkout,
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("having", ["nothing", "click"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_command_uses_the_environment_of_make_setup(
    command: list[str], having: str, pythons: dict[str, Path], checkout: Path
) -> None:
    set_up(checkout)
    done = run(pythons[having], checkout, *command)
    assert "ModuleNotFoundError" not in done.stderr
    assert "fault of Model Fleet" not in done.stderr
    allowed = {SAVED} if command[0] in SWITCHING else {FAULTY} if command[0] == "doctor" else {DONE}
    if command[0] == "unpin":
        allowed = {DONE}
    assert done.returncode in allowed, done.stderr


@pytest.mark.parametrize("having", ["nothing", "click"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_it_a_command_works_or_names_make_setup(
    command: list[str], having: str, pythons: dict[str, Path], checkout: Path
) -> None:
    done = run(pythons[having], checkout, *command)
    if having == "click" and done.returncode != USAGE:
        assert command[0] not in SWITCHING
        return
    assert done.returncode == USAGE
    assert "Error: " in done.stderr
    assert "`make setup`" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_it_a_python_that_has_all_does(checkout: Path) -> None:
    assert run(sys.executable, checkout, "status", "--json").returncode == DONE
    assert run(sys.executable, checkout, "downgrade").returncode == SAVED


def test_without_it_an_isolated_python_that_has_all_does(checkout: Path) -> None:
    done = run(sys.executable, checkout, "status", "--json", options=["-I"])
    assert done.returncode == DONE, done.stderr


def test_a_character_that_the_terminal_lacks_stops_no_command(checkout: Path) -> None:
    environ = {**os.environ, "FLEET_HOME": str(checkout / "var"), "PYTHONIOENCODING": "iso-8859-1"}
    done = subprocess.run(
        [sys.executable, "fleet_cli.py", "doctor"],
        cwd=checkout,
        env=environ,
        capture_output=True,
        text=True,
        encoding="iso-8859-1",
        timeout=60,
        check=False,
    )
    assert done.returncode == FAULTY
    assert done.stderr == ""
    assert "\\u2192" in done.stdout


def test_its_own_interpreters_do_not_start_another_one(checkout: Path) -> None:
    set_up(checkout)
    script = (
        "import os, runpy, sys\n"
        "os.execv = lambda *_: sys.exit('started again')\n"
        "sys.argv = ['fleet_cli.py', '--help']\n"
        "runpy.run_path('fleet_cli.py', run_name='__main__')"
    )
    for python in sorted((checkout / ".venv" / "bin").glob("python*[0-9n]")):
        done = subprocess.run(
            [python, "-c", script], cwd=checkout, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == DONE, (python, done.stderr)


def test_an_environment_that_does_not_run_here_is_passed_over(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_bytes(b"\x00made for another machine")
    python.chmod(0o755)
    assert run(sys.executable, checkout, "status").returncode == DONE


def test_an_environment_that_was_not_filled_does_not_start_itself_again(
    checkout: Path, pythons: dict[str, Path]
) -> None:
    (checkout / ".venv").symlink_to(pythons["nothing"].parent.parent)
    done = run(sys.executable, checkout, "status")
    assert done.returncode == USAGE
    assert "`make setup`" in done.stderr


def test_a_python_that_is_too_old_is_named(checkout: Path) -> None:
    script = (
        "import runpy, sys\nsys.version_info = (3, 10, 0)\n"
        "runpy.run_path('fleet_cli.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == USAGE
    assert "3.11" in done.stderr


def module(python: Path, checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module such as the generator from a checkout whose modules are files of its own."""
    for name in ("fleet", "generator"):
        if not (checkout / name).is_symlink():
            continue
        (checkout / name).unlink()
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLEET", "PYTHON"))}
    return subprocess.run(
        [python, "-m", *words],
        env={**environ, "FLEET_HOME": str(checkout / "var")},
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("having", ["nothing", "click"])
def test_the_programs_use_the_environment_of_make_setup(
    having: str, pythons: dict[str, Path], checkout: Path
) -> None:
    set_up(checkout)
    done = module(pythons[having], checkout, "generator", "check", "rank(close)")
    assert (done.returncode, done.stdout) == (DONE, "ok: rank(close)\n"), done.stderr
    done = module(pythons[having], checkout, "fleet", "--config", "/nonexistent")
    assert (done.returncode, done.stderr.partition("\n")[0]) == (
        USAGE,
        "Error: there is no configuration file /nonexistent",
    )


@pytest.mark.parametrize("having", ["nothing", "click"])
def test_without_it_the_programs_name_make_setup(
    having: str, pythons: dict[str, Path], checkout: Path
) -> None:
    for words in (["generator", "check", "rank(close)"], ["fleet"]):
        done = module(pythons[having], checkout, *words)
        assert (done.returncode, done.stdout) == (USAGE, "")
        assert "`make setup`" in done.stderr
        assert "Traceback" not in done.stderr
