"""The worlds that log sources live in: a log that a test can write to, take away and give back."""

import gc
import tempfile
from pathlib import Path
from random import Random
from typing import Protocol

import pytest

from monitor.sources.base import Keep, LogSource, Since, keep_all
from monitor.sources.file.source import FileSource
from monitor.sources.open import open_source
from tests.parts.fake_docker import FakeEngine


class World(Protocol):
    """A log and the source that follows it."""

    def source(self, *, keep: Keep = keep_all, since: Since = None) -> LogSource: ...

    def write(self, data: bytes) -> None:
        """Let the program write these bytes, which need not be whole lines."""

    def vanish(self) -> None:
        """Take the log away, such that its source must say so."""

    def come_back(self) -> None:
        """Give it back; what was written before is not lost."""

    def close(self) -> None: ...


class FileWorld:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "ollama.log"
        self._aside = folder / "aside"
        self.path.touch()

    def source(self, *, keep: Keep = keep_all, since: Since = None) -> FileSource:
        return FileSource(self.path, keep=keep, since=since)

    def write(self, data: bytes) -> None:
        with self.path.open("ab", buffering=0) as stream:
            stream.write(data)

    def vanish(self) -> None:
        self.path.rename(self._aside)

    def come_back(self) -> None:
        self._aside.rename(self.path)

    def close(self) -> None:
        pass


class DockerWorld:
    """A container of a fake Engine; its writes come in frames whose bytes arrive in any pieces."""

    tty = False

    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine(Path(tempfile.mkdtemp(prefix="fleet-")) / "s")
        self.engine.split = _shreds
        self.container = self.engine.run("ollama", tty=self.tty)
        self._environment = pytest.MonkeyPatch()
        self._environment.setenv("DOCKER_HOST", self.engine.url)

    def source(self, *, keep: Keep = keep_all, since: Since = None) -> LogSource:
        return open_source("docker:ollama", keep=keep, since=since)

    def write(self, data: bytes) -> None:
        self.engine.write(self.container, data)

    def vanish(self) -> None:
        self.engine.stop()

    def come_back(self) -> None:
        self.engine.start()

    def close(self) -> None:
        self.engine.stop()
        self.engine.path.parent.rmdir()
        self._environment.undo()
        gc.collect()  # docker-py leaves closing to the garbage collector: in this test, not in a later one


class TerminalWorld(DockerWorld):
    """The same with a terminal: no frames, other line ends."""

    tty = True


def _shreds(data: bytes) -> list[bytes]:
    """Cut what the Engine sends at three places, always the same ones for the same bytes."""
    random = Random(data)
    edges = sorted(random.randrange(len(data) + 1) for _ in range(3))
    return [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True)]
