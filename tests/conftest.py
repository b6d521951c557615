"""What holds for every test."""

from pathlib import Path

import pytest
from hypothesis import settings

# A property test on a busy machine is slow, not wrong.
settings.register_profile("fleet", deadline=None)
settings.load_profile("fleet")

_DOCKER = Path(__file__).parent / "docker"


@pytest.hookimpl(tryfirst=True)  # xdist reads the mark in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, keep a file's together, and all that share an Engine and its images."""
    for item in items:
        group = "docker" if _DOCKER in item.path.parents else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
