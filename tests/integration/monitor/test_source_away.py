"""The log in the state: where it is followed from, and since when and why it is away."""

import time
from pathlib import Path

import pytest

from fleet.policy.events import EventKind
from state.history import read_history
from tests.processes.fleet import eventually, stamped_failure
from tests.processes.monitor import MonitorProcess, running_monitor
from tests.sources.worlds import DockerWorld


def away(monitor: MonitorProcess) -> dict[str, object] | None:
    found = monitor.status()["log_source_away"]
    assert found is None or isinstance(found, dict)
    return found


@pytest.mark.slow
def test_away_since_is_kept_over_a_restart_and_another_reason(tmp_path: Path) -> None:
    world = DockerWorld(tmp_path)
    try:
        with running_monitor("docker:ollama") as monitor:
            eventually(monitor.has_joined, what=monitor.findings())
            assert away(monitor) is None
            world.engine.stop()
            first = eventually(lambda: away(monitor), what=monitor.findings())
            assert "cannot be reached" in str(first["reason"])
            assert first["hint"]
            monitor.kill()
            monitor.start()
            world.engine.containers.clear()
            world.engine.start()
            second = eventually(
                lambda: (found := away(monitor)) and "no container" in str(found["reason"]) and found,
                what=monitor.findings(),
            )
            assert second["since"] == first["since"]
            world.container = world.engine.run("ollama")
            eventually(lambda: away(monitor) is None, what=monitor.findings())
            kinds = [event.kind for event in read_history(monitor.home.history)]
            assert kinds.count(EventKind.SOURCE_AWAY) == kinds.count(EventKind.SOURCE_BACK) == 1
    finally:
        world.close()


def test_where_a_silent_log_was_joined_is_written_at_once(tmp_path: Path) -> None:
    """What is printed while a monitor that died soon after is away would else be before the next one's beginning."""
    world = DockerWorld(tmp_path)
    try:
        with running_monitor("docker:ollama", check_interval="1h") as monitor:
            eventually(monitor.has_joined, what=monitor.findings())
            monitor.kill()
            world.write(f"{stamped_failure(time.time())}\n".encode())
            monitor.start()
            eventually(lambda: len(monitor.incidents()) == 1, what=monitor.findings())
    finally:
        world.close()
