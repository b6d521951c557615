"""Actions of the page: each runs a command of the command line, with its code, its locks and its exit codes."""

import asyncio
import json
import os
import re
import sys
from dataclasses import dataclass
from typing import Any

from cli.commands import main as command_line
from cli.target import Fleet
from fleet.runtime.home import ROOT
from fleet.runtime.units import Seconds

NAMES = ("pause", "resume", "downgrade", "reset")
"""The actions in the order of their buttons."""

_DURATION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?(ms|s|m|h|d)")
_LONGEST: Seconds = 900.0
_SAVED = 3


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The result of an action: True if it was done or saved, and a sentence."""

    done: bool
    sentence: str


def available_actions() -> list[str]:
    """Return the actions that the command line has."""
    return [name for name in NAMES if name in command_line.commands]


class Actions:
    """Carries out one action at a time."""

    def __init__(self, fleet: Fleet) -> None:
        self._environ = {**os.environ, "FLEET_HOME": str(fleet.home.path)}
        self._lock = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Return True while an action is under way."""
        return self._lock.locked()

    async def run(self, name: str, duration: str = "") -> ActionResult:
        """Run an action to its end; a second one meanwhile is refused. Only a pause has a duration."""
        if name not in available_actions():
            return ActionResult(done=False, sentence=f"there is no action {name!r:.40}")
        if duration and (name != "pause" or not _DURATION.fullmatch(duration)):
            return ActionResult(done=False, sentence=f"{duration!r:.40} is no duration such as 30m or 2h")
        if self.busy:
            return ActionResult(done=False, sentence="another action is under way")
        async with self._lock:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                str(ROOT / "fleet_cli.py"),
                name,
                *([duration] if duration else []),
                "--json",
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                out, err = await asyncio.wait_for(child.communicate(), _LONGEST)
            finally:
                if child.returncode is None:
                    child.terminate()
        return result_of(child.returncode, out, err)


def result_of(code: int | None, out: bytes, err: bytes) -> ActionResult:
    """Return the result of a command by its exit code and its output (pure)."""
    if code in {0, _SAVED}:
        try:
            row: Any = json.loads(out)
        except ValueError:
            row = {}
        sentence = row.get("sentence") if isinstance(row, dict) else None
        model = row.get("model") if isinstance(row, dict) else None
        said = ": ".join(str(part) for part in (model, sentence) if part)
        return ActionResult(done=True, sentence=said or "done")
    lines = [line.strip() for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    reasons = [line.removeprefix("Error: ") for line in lines if line.startswith(("Error:", "Hint:"))]
    return ActionResult(done=False, sentence=" ".join(reasons) or f"the command ended with exit code {code}")
