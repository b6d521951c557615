"""What every soak needs: the stand-in Ollama as a process, waits with an end, lines for the person who watches."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fleet.runtime.home import ROOT
from fleet.runtime.units import Seconds
from tests.processes.fleet import FleetProcess
from tests.soak.resources import Resources


class Server:
    """The stand-in Ollama: a process of its own at one address, started again whenever it was killed.

    Its log goes to a file, if one is given.
    """

    def __init__(self, environ: dict[str, str], log: Path = Path(os.devnull)) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._environ = environ
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ensure(self) -> int:
        """Start it if it does not run; return its process."""
        if self._child is None or self._child.poll() is not None:
            command = [sys.executable, "-m", "standin", "--port", str(self.port)]
            with self._log.open("ab") as log:
                self._child = subprocess.Popen(
                    command, cwd=ROOT, env=self._environ, stdout=subprocess.DEVNULL, stderr=log
                )
        return self._child.pid

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()


def end(fleet: FleetProcess, server: Server) -> None:
    """End a fleet and its stand-in; leave no process behind."""
    fleet.stop()
    server.stop()
    for pid in fleet.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def growth(found: Resources) -> str:
    """Return the growth a minute of a program's longest life, and where it ended."""
    life, slopes = found.longest, found.slopes()
    if not slopes:
        return "no life was long enough to say"
    last, seconds = life[-1], life[-1].at - life[0].at
    units = {"memory": " KiB", "descriptors": "", "threads": ""}
    sign = ", ".join(f"{name} {slope:+.1f}{units[name]}" for name, slope in slopes.items())
    end = f"{last.memory / 1024:.1f} MiB, {last.descriptors:.0f} and {last.threads:.0f}"
    return f"{sign} a minute over {seconds:.0f} s, then {end}"


def await_(look: Callable[[], object], within: Seconds, *, keep: Callable[[], None] | None = None) -> bool:
    """Return whether something came about in time, keeping things up meanwhile."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if look():
            return True
        if keep is not None:
            keep()
        time.sleep(0.2)
    return bool(look())


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
