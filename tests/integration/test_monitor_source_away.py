"""A log that is away: the state says since when and why, and so does `status`, whoever comes and goes."""

from pathlib import Path

from fleet.events import EventKind
from state.history import read_history
from tests.fleet_process import eventually
from tests.monitor_process import MonitorProcess, running_monitor
from tests.worlds import DockerWorld


def away(monitor: MonitorProcess) -> dict[str, object] | None:
    found = monitor.status()["log_source_away"]
    assert found is None or isinstance(found, dict)
    return found


def test_away_since_is_kept_over_a_restart_and_another_reason(tmp_path: Path) -> None:
    world = DockerWorld(tmp_path)
    try:
        with running_monitor("docker:ollama") as monitor:
            eventually(monitor.has_joined, what=monitor.output())
            assert away(monitor) is None
            world.engine.stop()
            first = eventually(lambda: away(monitor), what=monitor.output())
            assert "cannot be reached" in str(first["reason"])
            assert first["hint"]
            monitor.kill()
            monitor.start()
            world.engine.containers.clear()
            world.engine.start()
            second = eventually(
                lambda: (found := away(monitor)) and "no container" in str(found["reason"]) and found,
                what=monitor.output(),
            )
            assert second["since"] == first["since"]
            world.container = world.engine.run("ollama")
            eventually(lambda: away(monitor) is None, what=monitor.output())
            kinds = [event.kind for event in read_history(monitor.home.history)]
            assert kinds.count(EventKind.SOURCE_AWAY) == kinds.count(EventKind.SOURCE_BACK) == 1
    finally:
        world.close()
