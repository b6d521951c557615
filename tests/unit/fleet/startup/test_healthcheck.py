from pathlib import Path

import pytest

from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.runtime.heartbeat import GRACE, HeartbeatFile, read_heartbeat
from fleet.runtime.home import Home
from fleet.startup.healthcheck import check, find_problems

NOW = 1000.0
UP = [ProgramInfo("monitor", ProgramState.RUNNING, 1), ProgramInfo("generator", ProgramState.RUNNING, 2)]
FRESH = {"heartbeat": NOW - 1, "next": NOW + 29}


@pytest.mark.parametrize(
    ("programs", "monitor", "generator", "found"),
    [
        (UP, FRESH, {"heartbeat": NOW - 5}, []),
        (UP, FRESH, {"heartbeat": NOW - GRACE}, []),
        (UP, FRESH, {"heartbeat": NOW - GRACE - 1}, ["generator has written no heartbeat for 31 s"]),
        (UP, {"heartbeat": NOW - 59, "next": NOW - 29}, FRESH, []),
        (
            UP,
            {"heartbeat": NOW - 90, "next": NOW - 60},
            FRESH,
            ["monitor has written no heartbeat for 90 s"],
        ),
        (UP, {"heartbeat": NOW + 3600, "next": NOW + 3630}, FRESH, []),
        (UP, None, FRESH, ["monitor has written no heartbeat"]),
        (UP, {"heartbeat": "soon"}, FRESH, ["monitor has written no heartbeat"]),
        (UP, FRESH, {"pid": 7}, ["generator has written no heartbeat"]),
        ([UP[0], ProgramInfo("generator", ProgramState.STOPPED, 0)], FRESH, None, ["generator is STOPPED"]),
        (
            [
                ProgramInfo("monitor", ProgramState.FATAL, 0),
                ProgramInfo("generator", ProgramState.BACKOFF, 0),
            ],
            FRESH,
            FRESH,
            ["monitor is FATAL", "generator is BACKOFF"],
        ),
        ([*UP, ProgramInfo("standin", ProgramState.RUNNING, 3)], FRESH, FRESH, []),
        ([*UP, ProgramInfo("standin", ProgramState.EXITED, 0)], FRESH, FRESH, ["standin is EXITED"]),
        ([], FRESH, FRESH, ["supervisord has no programs"]),
    ],
)
def test_what_is_wrong(
    programs: list[ProgramInfo],
    monitor: dict[str, object] | None,
    generator: dict[str, object] | None,
    found: list[str],
) -> None:
    assert list(find_problems(programs, {"monitor": monitor, "generator": generator}, NOW)) == found


def test_each_beat_says_when_the_next_one_comes_and_only_the_first_is_written(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    pulse = HeartbeatFile(home, "monitor", within=30.0)
    pulse.beat(NOW)
    written = home.heartbeat("monitor").stat().st_ino
    pulse.beat(NOW + 29)
    row = read_heartbeat(home, "monitor")
    assert row is not None
    assert (row["heartbeat"], row["next"]) == (NOW + 29, NOW + 59)
    assert home.heartbeat("monitor").stat().st_ino == written
    home.heartbeat("monitor").unlink()
    pulse.beat(NOW + 60)
    row = read_heartbeat(home, "monitor")
    assert row is not None
    assert (row["heartbeat"], row["next"]) == (NOW + 60, NOW + 90)


def test_a_clock_that_was_set_back_takes_the_signs_of_life_back_with_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    pulse = HeartbeatFile(home, "monitor", within=30.0)
    pulse.beat(NOW)
    pulse.beat(NOW - 500)
    row = read_heartbeat(home, "monitor")
    assert row is not None
    assert row["heartbeat"] == NOW - 500


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"heartbeat": "soon", "next": 3}'])
def test_a_file_that_holds_no_beat_is_none(tmp_path: Path, text: str) -> None:
    home = Home(tmp_path)
    home.create()
    home.heartbeat("monitor").write_text(text)
    row = read_heartbeat(home, "monitor")
    assert list(find_problems(UP, {"monitor": row, "generator": FRESH}, NOW)) == [
        "monitor has written no heartbeat"
    ]


def test_no_supervisord_is_no_health(tmp_path: Path) -> None:
    (problem,) = check(Home(tmp_path), NOW)
    assert "supervisord" in problem


def test_each_lane_has_heartbeats_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    for lane, beat in (("a", NOW), ("b", NOW - 90)):
        home.of_lane(lane).create()
        HeartbeatFile(home.of_lane(lane), "monitor", within=30.0).beat(beat)
    names = ("monitor-a", "monitor-b", "web")
    programs = [ProgramInfo(name, ProgramState.RUNNING, 1) for name in names]
    monkeypatch.setattr("fleet.clients.supervisor.Supervisor.programs", lambda _: programs)
    assert check(home, NOW) == ["monitor-b has written no heartbeat for 90 s"]
