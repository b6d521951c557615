"""Settings of every test: hypothesis, and how tests are spread over workers."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

# A property test on a busy machine is slow, not wrong.
settings.register_profile("fleet", deadline=None)
settings.load_profile("fleet")

_DOCKER = Path(__file__).parent / "docker"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the Docker tests as long ones, and put files with long tests first: none of them is left for the end."""
    for item in items:
        if _DOCKER in item.path.parents:
            item.add_marker(pytest.mark.slow)
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


class _Scheduling(LoadFileScheduling):  # type: ignore[misc]  # untyped
    """Runs a file's tests on one worker, and all Docker tests on one: they share an Engine and its images."""

    def _split_scope(self, nodeid: str) -> str:
        return "docker" if nodeid.startswith("tests/docker/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> _Scheduling:
    """Return how tests are spread: in the order of `pytest_collection_modifyitems`, the Docker tests first."""
    config.option.loadscopereorder = False
    return _Scheduling(config, log)
