"""A fleet starts whatever its standard output is: also one that cannot be opened by its name again."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.runtime.home import ROOT
from tests.processes.fleet import FleetProcess, eventually


class _Listener:
    """Keeps what comes through a socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._heard = b""
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while piece := self._end.recv(65536):
            self._heard += piece

    @property
    def heard(self) -> str:
        return self._heard.decode(errors="replace")

    def wait(self) -> None:
        """Wait until the last writer has ended."""
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.mark.slow
def test_a_socket_is_written_to_and_closed_with_the_fleet() -> None:
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory(prefix="fl-") as folder, ours:
        fleet = FleetProcess(Path(folder) / "home")
        child = subprocess.Popen(
            [sys.executable, "-m", "fleet"], cwd=ROOT, env=fleet.environ, stdout=theirs, stderr=theirs
        )
        theirs.close()
        listener = _Listener(ours)
        try:
            eventually(lambda: "monitor follows" in listener.heard, what="what the monitor tells")
        finally:
            child.terminate()
            child.wait(20)
        listener.wait()
        assert not fleet.processes()


@pytest.mark.slow
@pytest.mark.parametrize("close", [lambda: os.close(1), lambda: (os.close(0), os.close(1))])
def test_a_closed_output_stops_no_program(close: Callable[[], object]) -> None:
    with tempfile.TemporaryDirectory(prefix="fl-") as folder:
        fleet = FleetProcess(Path(folder) / "home")
        child = subprocess.Popen(
            [sys.executable, "-m", "fleet"],
            cwd=ROOT,
            env=fleet.environ,
            preexec_fn=close,  # noqa: PLW1509  # nothing else runs in this test
            stderr=subprocess.DEVNULL,
        )
        try:
            eventually(fleet.home.generator_file.exists, what="a generator")
            eventually(fleet.home.state.exists, what="a monitor")
        finally:
            child.terminate()
            child.wait(20)
        eventually(lambda: not fleet.processes(), within=10, what="no process left")
