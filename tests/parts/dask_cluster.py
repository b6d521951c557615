"""A dask scheduler and workers of ours on loopback, as processes that a test may kill; always stopped."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fleet.runtime.home import ROOT
from tests.parts.require import require

PART = "dask"


class DaskCluster:
    """A scheduler's port and the processes; the output of each is a file in the folder."""

    def __init__(
        self, folder: Path, *, scheme: str = "tcp", environ: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.scheme = scheme
        self.address = f"{scheme}://127.0.0.1:{self.port}"
        self.environ = {**os.environ, **(environ or {})}
        self.running: list[subprocess.Popen[bytes]] = []

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start the scheduler."""
        return self._start("scheduler", "tests.processes.dask_scheduler", self.scheme, str(self.port))

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker with a home of its own, which it keeps over a restart."""
        return self._start(name, "generator", "worker", self.address, "--threads", "1")

    def foreign_worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker of dask's own program."""
        return self._start(name, "distributed.cli.dask_worker", self.address, "--no-nanny", "--no-dashboard")

    def log(self, name: str) -> str:
        """Return what a process has printed."""
        return (self.folder / f"{name}.log").read_text()

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        environ = {**self.environ, "FLEET_HOME": str(self.folder / name)}
        with (self.folder / f"{name}.log").open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=ROOT, env=environ, stdout=log, stderr=log
            )
        self.running.append(started)
        return started

    def stop(self) -> None:
        """Kill all that still runs."""
        for process in self.running:
            process.send_signal(signal.SIGKILL)
            process.wait(10)


@contextmanager
def dask_cluster(
    folder: Path, *, scheme: str = "tcp", environ: Mapping[str, str] | None = None
) -> Iterator[DaskCluster]:
    """Give a cluster for the length of a `with` block; the test needs PART where dask is not installed."""
    if importlib.util.find_spec("distributed") is None:
        require(PART, "the extra `dask` is not installed")
    folder.mkdir()
    cluster = DaskCluster(folder, scheme=scheme, environ=environ)
    try:
        yield cluster
    finally:
        cluster.stop()
