"""The Engine that a session's tests share."""

from collections.abc import Iterator

import pytest

from tests.parts.docker_engine import Engine, NoEngineError, PrivateEngine, running_engine
from tests.parts.images import Images
from tests.parts.require import require


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Give a Docker Engine with the base image `tests.parts.docker_engine.BASE`."""
    try:
        with running_engine() as found:
            found.base_image()
            yield found
    except NoEngineError as error:
        require("docker", str(error))


@pytest.fixture
def private_engine(engine: Engine) -> Iterator[PrivateEngine]:
    """Give a Docker Engine that a test may stop, kill and freeze; it runs again afterwards."""
    if not isinstance(engine, PrivateEngine):
        require("dockerd", "this stops the daemon, and the one that answers is not ours")
    yield engine
    engine.recover()


@pytest.fixture(scope="session")
def images(engine: Engine) -> Images:
    """Give the project's images, built when they are asked for."""
    return Images(engine)
