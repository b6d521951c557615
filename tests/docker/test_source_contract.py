"""What every log source promises, by the docker source on a real Engine."""

from collections.abc import Iterator

import pytest

from tests.parts.container_world import EngineTerminalWorld, EngineWorld
from tests.parts.docker_engine import Engine
from tests.sources.contract import SourceContract

pytestmark = pytest.mark.filterwarnings(
    # docker-py leaves the socket of a refused connection to the garbage collector
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(params=[EngineWorld, EngineTerminalWorld], ids=["frames", "terminal"])
def world(request: pytest.FixtureRequest, engine: Engine) -> Iterator[EngineWorld]:
    made: EngineWorld = request.param(engine)
    yield made
    made.close()


class TestSourceOnEngine(SourceContract):
    """Each promise over each kind of stream."""
