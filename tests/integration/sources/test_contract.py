"""What every log source promises, run over every kind that needs no Docker Engine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.parts.journal import JournalWorld
from tests.sources.contract import SourceContract
from tests.sources.worlds import DockerWorld, FileWorld, TerminalWorld, World

pytestmark = pytest.mark.filterwarnings(
    # docker-py leaves the socket of a refused connection to the garbage collector
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)

WORLDS: dict[str, Callable[[Path], World]] = {
    "file": FileWorld,
    "docker": DockerWorld,
    "docker-tty": TerminalWorld,
    "journal": JournalWorld,
}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = WORLDS[request.param](tmp_path)
    yield made
    made.close()


class TestSource(SourceContract):
    """Each promise over each world."""
