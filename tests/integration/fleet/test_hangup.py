"""A hangup: closing the terminal of a foreground run ends the fleet; a service takes SIGHUP as a reload."""

import contextlib
import os
import pty
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from fleet.runtime.errors import SupervisorError
from fleet.runtime.home import ROOT
from tests.processes.fleet import FleetProcess, eventually, running_fleet


@pytest.mark.slow
def test_closing_the_terminal_of_a_foreground_run_ends_the_fleet() -> None:
    with tempfile.TemporaryDirectory(prefix="fl-") as folder:
        close_terminal_of(FleetProcess(Path(folder) / "home"))


def close_terminal_of(fleet: FleetProcess) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", "fleet"], fleet.environ)
    try:
        eventually(fleet.home.generator_file.exists, within=120, what="a generator")
    finally:
        os.close(terminal)
    try:
        eventually(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, within=60, what="the end of supervisord")
    except AssertionError:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    eventually(lambda: not fleet.processes(), within=30, what="no process left")


@pytest.mark.slow
def test_a_hangup_of_a_service_stays_a_reload() -> None:
    with running_fleet() as fleet:
        before = fleet.pid("monitor")
        os.kill(int((fleet.home.run / "supervisord.pid").read_text()), signal.SIGHUP)

        def reloaded() -> bool:
            with contextlib.suppress(SupervisorError):  # it closes its socket in between
                return fleet.pid("monitor") not in {0, before}
            return False

        eventually(reloaded, within=120, what="a new monitor")
        assert not fleet.ended
