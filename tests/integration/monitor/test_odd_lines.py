"""The real monitor reads what nothing can be made of, lives on as the same process, and counts the next failure."""

import time
from pathlib import Path

from state.store import read_state
from tests.processes.monitor import MonitorProcess, running_monitor

GPU = 'level=INFO source=types.go:32 msg="inference compute" library=CUDA description="x" total="12.0.1 GiB"'
UNLOAD = 'level=WARN source=sched.go:646 msg="gpu VRAM usage didn\'t recover within timeout" model=m'
LOG = f"""\
time=2026-11-23T22:22:42.331Z {GPU}
time=2026-11-23T22:22:43.331Z {UNLOAD} seconds=NaN
time=2026-11-23T22:22:53.331Z {UNLOAD} seconds=1e999
time=2026-11-23T22:23:03.331Z {UNLOAD} seconds={"9" * 5000}
{{"time": {"9" * 400}, "level": "ERROR", "msg": "Load failed"}}
"""
CALLS = f"""\
{{"id": "1", "started": 1, "ended": 2, "model": "m", "switches": 1e999, "status": 200, "error": null}}
{{"id": "2", "started": {"9" * 400}, "ended": NaN, "model": "m", "switches": 0, "status": 200, "error": null}}
{"[" * 50_000}
no call
"""
FAILURE = "2026-11-23T22:33:03.331Z CUDA error: out of memory\n"


def until(monitor: MonitorProcess, seconds: float, failures: int) -> float:
    """Return the seconds until so many incidents stand in the history."""
    began = time.monotonic()
    while len(monitor.incidents()) < failures:
        assert time.monotonic() - began < seconds, monitor.findings()
        time.sleep(0.05)
    return time.monotonic() - began


def test_odd_lines_cost_nothing_but_themselves(tmp_path: Path) -> None:
    log = tmp_path / "ollama.log"
    log.write_text("")
    with running_monitor(f"file:{log}", check_interval="1s") as monitor:
        while not monitor.has_joined():
            time.sleep(0.05)
        with log.open("a") as stream:
            stream.write(LOG)
        monitor.home.signals.write_text(CALLS)
        until(monitor, 30, 3)  # each of the three unloads is judged for all its seconds
        with log.open("a") as stream:
            stream.write(FAILURE)
        until(monitor, 10, 4)
        assert monitor._child is not None
        assert monitor._child.poll() is None
        assert "Traceback" not in monitor.findings()
        while (state := read_state(monitor.home)) is None or state.skipped is None:
            time.sleep(0.05)
        assert state.skipped.count == 2
