"""Programs that end by themselves, counted in lines as a real supervisord writes them."""

import time
from pathlib import Path

import pytest

from fleet.clients.supervisor_log import (
    CRASH_LOOP_EXITS,
    CRASH_LOOP_WINDOW,
    count_exits,
    is_crash_loop,
    read_exits,
)

NOW = time.mktime((2026, 11, 28, 18, 0, 0, 0, 0, -1))


def line(ago: float, text: str, level: str = "INFO") -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW - ago)) + f",123 {level} {text}"


def death(ago: float, name: str = "monitor") -> str:
    return line(ago, f"exited: {name} (exit status 1; not expected)", "WARN")


STARTED = "supervisord started with pid 7"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([death(9), line(8, "spawned: 'monitor' with pid 12"), death(7)], {"monitor": 2}),
        ([death(9), death(8, "generator"), death(7)], {"monitor": 2, "generator": 1}),
        ([line(5, "exited: monitor (exit status 0; expected)")], {"monitor": 1}),
        ([line(5, "exited: monitor (terminated by SIGKILL; not expected)", "WARN")], {"monitor": 1}),
        ([death(CRASH_LOOP_WINDOW + 1), death(CRASH_LOOP_WINDOW)], {"monitor": 1}),
        ([death(-30)], {"monitor": 1}),
        ([death(9), line(8, "stopped: monitor (exit status 0)"), death(7)], {"monitor": 1}),
        ([death(9), line(8, "stopped: generator (terminated by SIGTERM)")], {"monitor": 1}),
        ([death(9), line(8, STARTED), death(7)], {"monitor": 1}),
        ([line(5, "gave up: monitor entered FATAL state, too many start retries too quickly")], {}),
        (
            [
                "",
                "exited: monitor (x)",
                "Unlinking stale socket",
                "not a stamp, at all INFO exited: monitor (x)",
            ],
            {},
        ),
    ],
    ids=[
        "two",
        "two programs",
        "by 0",
        "killed",
        "the edge",
        "future",
        "stopped",
        "another",
        "anew",
        "up",
        "odd",
    ],
)
def test_ends_by_itself_are_counted(lines: list[str], expected: dict[str, int]) -> None:
    assert count_exits(lines, NOW) == expected


def test_one_or_two_ends_are_no_loop() -> None:
    assert [is_crash_loop(ends) for ends in range(CRASH_LOOP_EXITS + 1)] == [False, False, False, True]


def test_the_log_is_read_over_its_rotation_and_only_at_its_end(tmp_path: Path) -> None:
    log = tmp_path / "supervisord.log"
    assert read_exits(log, NOW) == {}
    log.write_bytes(b"\xff" * 300_000 + ("\n" + death(3) + "\n").encode())
    assert read_exits(log, NOW) == {"monitor": 1}
    log.rename(tmp_path / "supervisord.log.1")
    log.write_text(death(1) + "\n")
    assert read_exits(log, NOW) == {"monitor": 2}
