"""Pictures of an alpha's running PnL, drawn by `python3 -m generator evaluate --plot` and kept for a while."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fleet.runtime.errors import FleetError
from fleet.runtime.home import ROOT, Home
from fleet.runtime.units import Seconds

_LONGEST: Seconds = 120.0
_MOST = 200
_NICE = 10
_OPTIONS = ("delay", "decay", "neutralization", "truncation")


class Plots:
    """The pictures of one home, at most `_MOST`; one is drawn at a time."""

    def __init__(self, home: Home, config: str) -> None:
        self._folder = home.run / "plots"
        self._environ = {**os.environ, **home.environ, "MPLCONFIGDIR": str(home.run / "plots")}
        if config:
            self._environ["FLEET_CONFIG"] = config
        self._lock = asyncio.Lock()

    async def picture(self, alpha: Mapping[str, Any]) -> bytes:
        """Return the PNG of an alpha's row; raise FleetError if it cannot be drawn."""
        # Not by its number: a new database counts from 1 again.
        path = self._folder / f"{alpha['digest'][:16]}-{alpha['settings_key'][:16]}.png"
        async with self._lock:
            if not path.exists():
                await self._draw(alpha, path)
            return path.read_bytes()

    async def _draw(self, alpha: Mapping[str, Any], path: Path) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for old in sorted(self._folder.glob("*.png"), key=lambda one: one.stat().st_mtime)[:-_MOST]:
            old.unlink(missing_ok=True)
        fresh = path.with_suffix(".new")
        command = [sys.executable, "-m", "generator", "evaluate", *options_of(alpha["settings"] or {})]
        child = await asyncio.create_subprocess_exec(
            *command, "--json", "--plot", str(fresh), "--", str(alpha["expression"]),
            cwd=ROOT, env=self._environ, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            preexec_fn=lambda: os.nice(_NICE),  # mining comes first
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(child.communicate(), _LONGEST)
        except TimeoutError:
            child.kill()
            raise FleetError(
                "the backtest took too long", hint="Try `python3 -m generator evaluate`."
            ) from None
        if child.returncode or not fresh.exists():
            raise FleetError(reason_of(out, err), hint="The panel or the account's lists may have changed.")
        fresh.replace(path)


def reason_of(out: bytes, err: bytes) -> str:
    """Return why `generator evaluate --json` made no picture, by its output (pure)."""
    for line in out.splitlines():
        with suppress(ValueError):
            row = json.loads(line)
            error = row.get("error") if isinstance(row, dict) else None
            if isinstance(error, dict) and error.get("reason"):
                return str(error["reason"])
    lines = [line for line in err.decode("utf-8", "replace").splitlines() if line.startswith("Error: ")]
    return lines[-1].removeprefix("Error: ") if lines else "it cannot be drawn"


def options_of(settings: Mapping[str, Any]) -> list[str]:
    """Return the options of `generator evaluate` that an alpha's settings name (pure)."""
    return [
        f"--{name}={settings[name]}"
        for name in _OPTIONS
        if isinstance(settings.get(name), (int, float, str)) and str(settings[name]) != ""
    ]
