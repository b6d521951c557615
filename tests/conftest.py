"""Settings of every test: hypothesis, and how tests are spread over workers."""

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

# A property test on a busy machine is slow, not wrong.
settings.register_profile("fleet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("brief", settings.get_profile("fleet"), max_examples=10)
settings.load_profile("fleet")

# jsonschema builds 38 grammars with it at its import, for a format that no schema of ours has.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

_TESTS = Path(__file__).parent
_DOCKER = _TESTS / "docker"
_UNIT = _TESTS / "unit"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the Docker tests as long ones, and bring files into the order in which workers take them."""
    for item in items:
        if _DOCKER in item.path.parents:
            item.add_marker(pytest.mark.slow)
    long = {item.path for item in items if item.get_closest_marker("slow")}
    order = in_turn(dict.fromkeys(item.path for item in items), long)
    items.sort(key=lambda item: order[item.path])


def in_turn(files: Iterable[Path], long: set[Path]) -> dict[Path, tuple[bool, float]]:
    """Return each file's place: Docker's first, then those with long tests; unit tests evenly among the others.

    None with long tests is left for the end. Unit tests compute and the others often wait: side by side they keep all
    cores busy.
    """
    alike: dict[tuple[bool, bool], list[Path]] = {}
    for path in files:
        if _DOCKER not in path.parents:
            alike.setdefault((path not in long, _UNIT in path.parents), []).append(path)
    return defaultdict(lambda: (False, -1.0)) | {
        path: (short, number / len(group))
        for (short, _), group in alike.items()
        for number, path in enumerate(group)
    }


class _Scheduling(LoadFileScheduling):  # type: ignore[misc]  # untyped
    """Runs a file's tests on one worker, and all Docker tests on one: they share an Engine and its images."""

    def _split_scope(self, nodeid: str) -> str:
        return "docker" if nodeid.startswith("tests/docker/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> _Scheduling:
    """Return how tests are spread: in the order of `pytest_collection_modifyitems`."""
    config.option.loadscopereorder = False
    return _Scheduling(config, log)
