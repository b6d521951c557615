"""Actions of the page: each runs a command of the command line, with its locks and exit codes."""

import asyncio
import re

from cli.commands import main as command_line
from cli.subcommand import CommandResult, run_command
from fleet.runtime.home import Home

NAMES = ("pause", "resume", "downgrade", "reset")
"""The actions in the order of their buttons."""

OF_ALL_LANES = ("pause", "resume")
"""The actions that a fleet with lanes takes for all of them."""

_DURATION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?(ms|s|m|h|d)")


def available_actions() -> list[str]:
    """Return the actions that the command line has."""
    return [name for name in NAMES if name in command_line.commands]


class Actions:
    """Carries out one action at a time, on one lane or on the whole fleet."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Return True while an action is under way."""
        return self._lock.locked()

    async def run(self, name: str, duration: str = "") -> CommandResult:
        """Run an action to its end; a second one meanwhile is refused. Only a pause has a duration."""
        if name not in available_actions():
            return CommandResult(done=False, sentence=f"there is no action {name!r:.40}")
        if duration and (name != "pause" or not _DURATION.fullmatch(duration)):
            return CommandResult(done=False, sentence=f"{duration!r:.40} is no duration such as 30m or 2h")
        if self.busy:
            return CommandResult(done=False, sentence="another action is under way")
        async with self._lock:
            return await run_command(self._home, name, *([duration] if duration else []))
