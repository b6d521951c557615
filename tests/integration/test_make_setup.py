"""`make setup`: what it does in a checkout that has none, some or all of what it makes; `make up`: its files."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fleet.runtime.home import ROOT

KERNELS = "generator/backtest/kernels"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout that shares the environment of another."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for path in (
        "requirements/dev.txt",
        f"{KERNELS}/rank.py",
        f"{KERNELS}/__pycache__/rank.pyc",
        ".venv/.ready",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def planned(checkout: Path, *target: str) -> str:
    """Return the commands that a target would run, by default the setup."""
    command = ["make", "--dry-run", *(target or ["setup"])]
    # The make that runs the tests would pass its own options on, and print folders.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        command, cwd=checkout, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_each_checkout_compiles_its_kernels_once_and_again_after_a_change(checkout: Path) -> None:
    compiles = "-m generator.backtest.warm"
    assert compiles in planned(checkout)
    stamp, kernel = checkout / KERNELS / "__pycache__/.warm", checkout / KERNELS / "rank.py"
    stamp.touch()
    os.utime(kernel, (1, 1))
    assert compiles not in planned(checkout)
    for path, moment in {"requirements/dev.txt": 1, ".venv/.ready": 2}.items():
        os.utime(checkout / path, (moment, moment))
    os.utime(stamp, (3, 3))
    assert compiles not in planned(checkout)
    os.utime(kernel, (4, 4))
    assert compiles in planned(checkout)


@pytest.mark.parametrize(
    ("gpu", "files"),
    [("nvidia", "-f docker-compose.yml"), ("cpu", "-f docker-compose.yml -f docker-compose.cpu.yml")],
)
def test_up_and_down_read_an_override_of_the_users(checkout: Path, gpu: str, files: str) -> None:
    def named(target: str) -> str:
        return " ".join(planned(checkout, target, f"GPU={gpu}", "COMPOSE=compose").split())

    assert named("up") == f"compose {files} up -d --build"
    (checkout / "docker-compose.override.yml").touch()
    assert named("up") == f"compose {files} -f docker-compose.override.yml up -d --build"
    assert named("down") == f"compose {files} -f docker-compose.override.yml down"
