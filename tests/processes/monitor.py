"""The monitor alone, as a process: without an Ollama, a supervisord and a generator."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleet.policy.events import EventKind
from fleet.runtime.home import ROOT, FleetFile, Home
from state.history import read_history
from state.store import read_state

SETTINGS = """
[policy]
threshold = 1000
window = "6h"
check_interval = "{interval}"
"""


class MonitorProcess:
    """The real monitor; what it finds stands in its history. No count of failures moves it."""

    def __init__(self, folder: Path, log_source: str, check_interval: str) -> None:
        self.home = Home(folder / "home")
        self.home.create()
        config = folder / "fleet.toml"
        config.write_text(SETTINGS.format(interval=check_interval))
        no_server = "http://127.0.0.1:9"
        FleetFile("docker", no_server, log_source, str(config), str(self.home.socket), time.time()).write(
            self.home
        )
        self._output = folder / "out"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "monitor"],
                cwd=ROOT,
                env={**os.environ, "FLEET_HOME": str(self.home.path)},
                stdout=output,
                stderr=output,
            )

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def status(self) -> dict[str, Any]:
        """Return `status --json` of its home."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "fleet_cli.py"), "status", "--json"],
            cwd=ROOT,
            env={**os.environ, "FLEET_HOME": str(self.home.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        row = json.loads(done.stdout)
        assert isinstance(row, dict), done.stderr
        return row

    def output(self) -> str:
        return self._output.read_text(errors="replace")[-4000:]

    def read_to(self) -> int:
        """Return the stamp of the last line that the state has been written for."""
        state = read_state(self.home)
        cursor = state.cursors.get("log") if state else None
        last = cursor.get("last") if cursor else None
        return last if isinstance(last, int) else 0

    def has_joined(self) -> bool:
        """Return True if the state holds a cursor of the log."""
        state = read_state(self.home)
        return state is not None and "log" in state.cursors

    def findings(self) -> str:
        """Return the incidents found and the output, for the message of a failed test."""
        found = [e for e in read_history(self.home.history) if e.kind is EventKind.INCIDENT]
        return "\n".join(str(dict(event.fields))[:300] for event in found) + self.output()

    def incidents(self) -> list[int]:
        """Return the numbers of the incidents in the history."""
        return [e.number for e in read_history(self.home.history) if e.kind is EventKind.INCIDENT]


@contextlib.contextmanager
def running_monitor(log_source: str, *, check_interval: str = "1s") -> Iterator[MonitorProcess]:
    """Run a monitor in a home of its own until the block ends."""
    with tempfile.TemporaryDirectory(prefix="fm-", dir="/tmp") as folder:
        monitor = MonitorProcess(Path(folder), log_source, check_interval)
        monitor.start()
        try:
            yield monitor
        finally:
            monitor.kill()
