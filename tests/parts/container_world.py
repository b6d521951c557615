"""A container of a real Engine whose output a test writes, through a pipe that both hold."""

import fcntl
import gc
import os
import struct
import tempfile
import termios
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from monitor.sources.base import Keep, LogSource, Since, keep_all
from monitor.sources.open import open_source
from tests.parts.docker_engine import BASE, Engine
from tests.parts.supervisord import wait_until


class EngineWorld:
    """What is written while the container does not run waits in the pipe for its next run."""

    tty = False

    def __init__(self, engine: Engine, name: str = "ollama", **options: Any) -> None:
        self.engine = engine
        self.container_name = name
        self.client = engine.client()
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="fw-", dir="/tmp"))
        self._pipes = {stream: self._pipe(stream) for stream in ("out", "err")}
        self._environment = pytest.MonkeyPatch()
        self._environment.setenv("DOCKER_HOST", engine.url)
        self._lines = 0  # of the container that runs
        self.container = self.run()

    def run(self, **options: Any) -> Container:
        """Make and start the container; it prints what stands in the pipe."""
        self._lines = 0
        script = "cat /feed/err >&2 & exec cat /feed/out"
        self.container = self.client.containers.run(
            BASE,
            ["sh", "-c", script],
            name=self.container_name,
            detach=True,
            tty=self.tty,
            stop_signal="SIGKILL",  # a shell that is PID 1 heeds no other
            volumes={str(self._folder): {"bind": "/feed", "mode": "rw"}},
            **{**self._options, **options},
        )
        return self.container

    def source(self, *, keep: Keep = keep_all, since: Since = None) -> LogSource:
        self.settle()
        return open_source(f"docker:{self.container_name}", keep=keep, since=since)

    def write(self, data: bytes, stream: str = "out") -> None:
        self._lines += data.count(b"\n")
        view = memoryview(data)
        while view:
            view = view[os.write(self._pipes[stream], view) :]

    def settle(self) -> None:
        """Wait until all whole lines that were written stand in the Engine's log, if the container runs."""
        with suppress(NotFound):
            self.container.reload()
            if self.container.status == "running":
                wait_until(
                    lambda: self.container.logs().count(b"\n") >= self._lines, lambda: "not all is logged"
                )

    def logged(self) -> list[str]:
        """Return the lines that the Engine has of the container."""
        return [line.rstrip("\r") for line in self.container.logs().decode().split("\n") if line]

    def vanish(self) -> None:
        self.container.kill()

    def come_back(self) -> None:
        self.container.start()

    def remove(self) -> None:
        self.client.containers.get(self.container_name).remove(force=True)

    def close(self) -> None:
        with closing(self.client), suppress(NotFound):
            self.remove()
        self._environment.undo()
        for stream, descriptor in self._pipes.items():
            os.close(descriptor)
            (self._folder / stream).unlink()
        self._folder.rmdir()
        gc.collect()  # docker-py leaves closing to the garbage collector: in this test, not in a later one

    def _pipe(self, name: str) -> int:
        path = self._folder / name
        os.mkfifo(path)
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)


class EngineTerminalWorld(EngineWorld):
    tty = True


def _waiting(descriptor: int) -> int:
    found: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))[0]
    return found
