"""Settings of every test: hypothesis, and how tests are spread over workers."""

from pathlib import Path

import pytest
from hypothesis import settings

# A property test on a busy machine is slow, not wrong.
settings.register_profile("fleet", deadline=None)
settings.load_profile("fleet")

_DOCKER = Path(__file__).parent / "docker"


@pytest.hookimpl(tryfirst=True)  # xdist reads the mark in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a file's tests on one worker, and all Docker tests on one: they share an Engine and its images."""
    for item in items:
        docker = _DOCKER in item.path.parents
        item.add_marker(pytest.mark.xdist_group("docker" if docker else str(item.path)))
        if docker:
            item.add_marker(pytest.mark.slow)
