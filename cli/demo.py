"""`make demo`: a bounded run on the stand-in with failures, two downgrades and the first alphas.

The demo uses its own home, and prints events as they happen and a summary at the end. It exits 0 only if the failures
and downgrades are in the history and the alphas in the database.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from cli.console import colour
from fleet.policy.events import Event, EventKind
from fleet.runtime.errors import FleetError
from fleet.runtime.home import ROOT, Home, read_json
from fleet.runtime.logging import plain_text
from fleet.runtime.process import require_linux
from fleet.startup.launch import refuse_running_fleet
from fleet.startup.stdout_relay import append_output
from generator.storage.read import AlphaRow, recent_alphas
from state.history import read_history
from state.store import read_state

LIMIT = 55.0
ALPHAS_WANTED = 3
DOWNGRADES_WANTED = 2
_BEST = 3
_ANOTHER = "Name another folder: make demo DEMO_HOME=FOLDER."
_INTRODUCTION = (
    "A demonstration: four models, and a GPU with room for only the two small ones.\n"
    "The first model fails, the fleet moves down until a model fits, and alphas appear.\n"
)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The failures, downgrades and alphas in the run's history and database."""

    incidents: Sequence[Event]
    downgrades: Sequence[Event]
    alphas: Sequence[AlphaRow]
    model: str

    @property
    def complete(self) -> bool:
        """Return True if there were failures, two downgrades, and alphas after them."""
        return bool(
            self.incidents and len(self.downgrades) >= DOWNGRADES_WANTED and len(self.alphas) >= ALPHAS_WANTED
        )


def clear(home: Home) -> None:
    """Remove an earlier demonstration's home; raise FleetError if the folder is something else, or a fleet runs in it."""
    try:
        if not home.path.exists():
            return
        kind = read_json(home.kind_file) or {}
        if kind.get("kind") != "stand-in" and any(home.path.iterdir()):
            raise FleetError(f"{home.path} is no demonstration's home", hint=_ANOTHER)
        refuse_running_fleet(home)
        shutil.rmtree(home.path)
    except OSError as error:
        raise FleetError(f"{home.path} cannot be cleared: {error.strerror}", hint=_ANOTHER) from error


def result_of(home: Home) -> DemoResult:
    """Return the result so far, read from history, database and state."""
    events = read_history(home.history)
    down = [event for event in events if event.kind is EventKind.SWITCH_COMMITTED]
    alphas = recent_alphas(home.database, 100) if home.database.exists() else []
    last = max((event.time for event in down), default=0.0)
    state = read_state(home)
    return DemoResult(
        [event for event in events if event.kind is EventKind.INCIDENT and event.fields.get("counted")],
        [event for event in down if event.fields.get("switch") == "downgrade"],
        [alpha for alpha in alphas if alpha.time >= last and alpha.sharpe is not None],
        state.current_model if state else "",
    )


def watch_run(home: Home, child: "subprocess.Popen[bytes]") -> DemoResult:
    """Wait until the result is complete, the fleet has ended, or LIMIT has passed; return the result."""
    end = time.monotonic() + LIMIT
    result = result_of(home)
    while time.monotonic() < end and child.poll() is None and not result.complete:
        time.sleep(0.25)
        result = result_of(home)
    return result


def end_fleet(child: "subprocess.Popen[bytes]") -> None:
    """Stop supervisord and with it all programs."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(15)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def summary(result: DemoResult, seconds: float, home: Home) -> list[str]:
    """Return the summary, one screen of lines."""
    best = sorted(result.alphas, key=lambda alpha: alpha.sharpe or 0.0, reverse=True)[:_BEST]
    path = [str(result.downgrades[0].fields["from"])] if result.downgrades else []
    path += [str(event.fields["to"]) for event in result.downgrades]
    lines = [
        "",
        click.style("What happened", bold=True) + f" in {seconds:.0f} seconds, on a stand-in for Ollama:",
        f"  GPU-memory incidents  {len(result.incidents)}",
        f"  moved down            {' → '.join(path) or 'not at all'}",
        f"  serving now           {result.model or 'nothing'}",
        f"  alphas since then     {len(result.alphas)}"
        + (" (random expressions of the stand-in, on a synthetic panel)" if result.alphas else ""),
        *(
            f"  {'the best of them' if not place else '':<21} Sharpe {alpha.sharpe:+.2f}  {plain_text(alpha.expression)}"
            for place, alpha in enumerate(best)
        ),
    ]
    if not result.complete:
        return [*lines, click.style(f"Not everything happened; see the logs in {home.log}.", fg="red")]
    return [
        *lines,
        click.style("All of it worked.", fg="green"),
        "Next: `make run` runs a fleet until Ctrl-C; look in with `python3 fleet_cli.py status` or `watch`.",
    ]


def demo_environ(environ: Mapping[str, str], home: Home) -> dict[str, str]:
    """Return the environment of the demonstration's fleet.

    The demo has its own configuration: the one in use may name a database, people to notify, and another ladder.
    """
    others = {name: value for name, value in environ.items() if not name.startswith("FLEET_")}
    ours = {"FLEET_PROFILE": "embedded", "FLEET_CONFIG": str(ROOT / "cli" / "demo.toml")}
    return {**others, "FLEET_HOME": str(home.path), **ours}


def main() -> int:
    """Run the demonstration; return its exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description="Show a fleet at work on the stand-in.")
    parser.add_argument("--home", type=Path, default=ROOT / "var-demo", help="the demonstration's own home")
    home = Home(parser.parse_args().home.absolute())
    try:
        require_linux()
        clear(home)
    except FleetError as error:
        click.echo(f"Error: {error}\nHint: {error.hint}", err=True)
        return 1
    append_output()
    click.echo(_INTRODUCTION)
    started = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "fleet"], cwd=ROOT, env=demo_environ(os.environ, home))
    try:
        result = watch_run(home, child)
    except KeyboardInterrupt:
        end_fleet(child)
        return 130
    if child.poll() and not home.log.exists():
        return child.returncode  # nothing was started, and the start has printed the reason
    end_fleet(child)
    click.echo("\n".join(summary(result, time.monotonic() - started, home)), color=colour())
    return 0 if result.complete else 1


if __name__ == "__main__":
    sys.exit(main())
