"""`fleet_cli.py status` beside `supervisorctl status`: complete processes, run in turn on one idle fleet."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median, quantiles

from benchmarks.report import Report
from fleet.runtime.home import ROOT
from tests.processes.fleet import FleetProcess, eventually, running_fleet

ROUNDS = 40
SETTINGS = {"FLEET_STANDIN_VRAM": "64 GB"}


def measure() -> list[Report]:
    """Measure the time and CPU of each command."""
    with running_fleet(**SETTINGS) as fleet:
        eventually(fleet.home.database.exists, what="a database of alphas")
        fleet.supervisor.stop("generator")  # an idle fleet: only the command costs time
        commands = _commands(fleet)
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                runs[name].append(_run(command, fleet.environ))
    base = runs["supervisorctl status"]
    rows = [[name, *_cells(found, base)] for name, found in runs.items()]
    head = ["command", "median, ms", "p95, ms", "CPU, ms", "time / supervisorctl", "CPU / supervisorctl"]
    return [
        Report("Status of the fleet", head, rows, f"Complete processes in turn, {ROUNDS} of each; medians.")
    ]


def _commands(fleet: FleetProcess) -> dict[str, list[str]]:
    python = sys.executable
    control = [python, "-m", "supervisor.supervisorctl", "-s", f"unix://{fleet.home.socket}", "status"]
    ours = [python, str(ROOT / "fleet_cli.py"), "status"]
    return {
        "supervisorctl status": control,
        "fleet_cli.py status": ours,
        "fleet_cli.py status --json": [*ours, "--json"],
        "python -c pass": [python, "-c", "pass"],
    }


def _run(command: Sequence[str], environ: dict[str, str]) -> tuple[float, float]:
    """Return a process's wall and CPU seconds."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, check=False)
    wall, after = time.perf_counter() - began, os.times()
    # Exit code 3 of supervisorctl: a program does not run, here the generator.
    assert done.returncode in {0, 3}, done
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


def _cells(runs: list[tuple[float, float]], base: list[tuple[float, float]]) -> list[str]:
    wall, cpu = [one[0] for one in runs], [one[1] for one in runs]
    time_ratio = median(wall) / median(one[0] for one in base)
    cpu_ratio = median(cpu) / median(one[1] for one in base)
    figures = (median(wall), quantiles(wall, n=20)[-1], median(cpu))
    return [*(f"{1000 * figure:.0f}" for figure in figures), f"{time_ratio:.2f}", f"{cpu_ratio:.2f}"]
