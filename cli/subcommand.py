"""A command of the command line as a child process, for the page and the live view."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

from fleet.runtime.errors import FleetError
from fleet.runtime.home import ROOT, Home
from fleet.runtime.units import Seconds

LONGEST: Seconds = 900.0
_SAVED = 3


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command: True if it was done or saved, and a sentence."""

    done: bool
    sentence: str


async def run_command(home: Home, *arguments: str) -> CommandResult:
    """Run a command in a home to its end; end a command that takes longer than any switch."""
    return command_result(*await _output(home, *arguments))


async def run_json(home: Home, *arguments: str) -> Any:
    """Return the JSON output of a command; raise FleetError if it fails."""
    code, out, err = await _output(home, *arguments)
    if code:
        raise FleetError(command_result(code, out, err).sentence, hint="")
    return json.loads(out)


async def _output(home: Home, *arguments: str) -> tuple[int | None, bytes, bytes]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "fleet_cli.py"),
        *arguments,
        "--json",
        env={**os.environ, **home.environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C ends the view; the command that it began goes on
    )
    try:
        out, err = await asyncio.wait_for(child.communicate(), LONGEST)
    except TimeoutError:
        child.terminate()
        return None, b"", b"Error: the command took too long and was ended; see `history`"
    return child.returncode, out, err


def command_result(code: int | None, out: bytes, err: bytes) -> CommandResult:
    """Return the result of a command by its exit code and its output (pure)."""
    if code in {0, _SAVED}:
        try:
            row: Any = json.loads(out)
        except ValueError:
            row = {}
        return CommandResult(done=True, sentence=_said(row) or "done")
    lines = [line.strip() for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    reasons = [line.removeprefix("Error: ") for line in lines if line.startswith(("Error:", "Hint:"))]
    sentence = ". ".join(reason.rstrip(".") for reason in reasons)
    return CommandResult(done=False, sentence=sentence or f"the command ended with exit code {code}")


def _said(row: Any) -> str:
    """Return model and sentence of a command's row; of lanes those of each."""
    if not isinstance(row, dict):
        return ""
    if isinstance(row.get("lanes"), dict):
        return "; ".join(f"{lane}: {_said(one)}" for lane, one in row["lanes"].items())
    return ": ".join(str(part) for part in (row.get("model"), row.get("sentence")) if part)
