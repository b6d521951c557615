"""A short soak, and the checker that every soak ends with."""

import random
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fleet.policy.events import Event, EventKind
from tests.soak import checker
from tests.soak.agreement import Books, disagreements
from tests.soak.lanes import soak_lanes
from tests.soak.mining import LogReader, mine
from tests.soak.resources import Resources, Sample
from tests.soak.run import soak

T = 1_800_000_000.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_half_a_minute_of_everything_that_goes_wrong() -> None:
    with TemporaryDirectory(prefix="fl-") as folder:
        assert soak(Path(folder), 20, 30.0, None) == []


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_half_a_minute_of_mining_through_faults() -> None:
    with TemporaryDirectory(prefix="fl-") as folder:
        assert mine(Path(folder), 20, 30.0) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_half_a_minute_of_three_lanes_that_are_killed() -> None:
    with TemporaryDirectory(prefix="fl ") as folder:
        assert soak_lanes(Path(folder), 20, 30.0) == []


def incident(number: int, moment: int, **fields: object) -> Event:
    row = {"id": f"i{number}", "at": moment / 1000, "cause": "allocation", "counted": True, "errors": 1}
    return Event(number, T, EventKind.INCIDENT, row | fields)


def commit(number: int, switches: int) -> Event:
    return Event(number, T, EventKind.SWITCH_COMMITTED, {"number_of_switch": switches})


WELL = [incident(1, 1001), commit(2, 1), incident(3, 1005), commit(4, 2)]


@pytest.mark.parametrize(
    ("events", "printed", "fault"),
    [
        (WELL, [1001, 1005], ""),
        (WELL, [1001, 1003, 1005], "1 incidents lost: [1003]"),
        (WELL, [1001], "1 incidents that no line was printed for: [1005]"),
        ([*WELL, incident(5, 1005)], [1001, 1005], "1 incidents doubled: [1005]"),
        ([*WELL, incident(6, 1009)], [1001, 1005, 1009], "1 events out of number: [6]"),
        ([*WELL[:3], commit(4, 3)], [1001, 1005], "1 switches out of number: [3]"),
        ([incident(1, 1001, cause="host")], [1001], "1 incidents of a wrong cause: ['host']"),
        ([incident(1, 1001, errors=2)], [1001], "1 counts beyond what was counted: [1]"),
        (
            [incident(1, 1001), replace(incident(2, 1005), fields=incident(1, 1005).fields)],
            [1001, 1005],
            "under one id",
        ),
    ],
    ids=["well", "lost", "not printed", "doubled", "gap", "switches", "cause", "count", "id"],
)
def test_the_checker_finds(events: list[Event], printed: list[int], fault: str) -> None:
    found = checker.faults(events, printed)
    assert any(fault in one for one in found) if fault else not found


RESULT = {
    "id": 7, "digest": "d", "settings_key": "k", "source": "brain", "state": "done", "expression": "rank(close)",
    "alpha_id": "A", "sharpe": 1.5,
}  # fmt: skip
SENT = {"id": 3, "expression": "rank(close)", "state": "ended", "sent": 9.0, "status": "COMPLETE"}
AGREE = Books(
    evaluations=[RESULT],
    simulations=[SENT],
    taken=["rank(close)"],
    alphas={"A": {"is": {"sharpe": 1.5}, "regular": {"code": "rank( close )"}}},
    log=[
        {"event": "evaluation.done", "id": 7},
        {"event": "simulation.ended", "id": 3},
        {"event": "call.cut"},
    ],
)
LOST = {**SENT, "id": 4, "state": "lost", "status": None}


@pytest.mark.parametrize(
    ("books", "fault"),
    [
        (AGREE, ""),
        (replace(AGREE, evaluations=[RESULT, {**RESULT, "id": 8}]), "1 expressions evaluated twice"),
        (replace(AGREE, evaluations=[{**RESULT, "sharpe": 1.4}]), "1 results that are not BRAIN's: [7]"),
        (replace(AGREE, evaluations=[{**RESULT, "alpha_id": "B"}]), "1 results that are not BRAIN's: [7]"),
        (replace(AGREE, taken=["rank(close)"] * 2), "simulated more or less often"),
        (replace(AGREE, taken=[]), "simulated more or less often"),
        (replace(AGREE, simulations=[SENT, LOST], log=[*AGREE.log, {"event": "simulation.lost", "id": 4}]), ""),
        (replace(AGREE, simulations=[SENT, LOST]), "1 rows without a line simulation.lost: [4]"),
        (replace(AGREE, log=AGREE.log[1:]), "1 rows without a line evaluation.done: [7]"),
        (replace(AGREE, log=AGREE.log[1:], kills=1), ""),
        (replace(AGREE, evaluations=[]), "1 lines evaluation.done without a row: [7]"),
        (replace(AGREE, log=[*AGREE.log, AGREE.log[0]]), "1 lines evaluation.done that came twice: [7]"),
    ],
    ids=[
        "well", "twice", "another figure", "another alpha", "paid twice", "never taken", "lost on the way",
        "loss unlogged", "unlogged", "unlogged by a kill", "no row", "logged twice",
    ],
)  # fmt: skip
def test_the_checker_of_mining_finds(books: Books, fault: str) -> None:
    found = disagreements(books)
    assert any(fault in one for one in found) if fault else not found


def test_a_log_is_read_whole_through_its_rotation(tmp_path: Path) -> None:
    path = tmp_path / "generator.log"
    reader = LogReader(path)
    reader.read()
    path.write_bytes(b'{"time": 1}\n{"time": 2')
    reader.read()
    with path.open("ab") as log:
        log.write(b'{"time": 3}\nno event\n')
        path.rename(tmp_path / "generator.log.1")
        path.write_bytes(b'{"time": 4}\n')
    reader.read()
    reader.close()
    events, odd = reader.events()
    assert ([one["time"] for one in events], odd) == ([1, 3, 4], [b"no event"])


@pytest.mark.parametrize(("growth", "grows"), [(0.0, False), (5.0, False), (40.0, True)])
def test_a_program_that_grows_is_found(growth: float, grows: bool) -> None:
    found = Resources()
    found.lives[7] = [Sample(float(second), 30_000 + growth * second, 20, 9) for second in range(480)]
    found.lives[8] = [Sample(0.0, 1, 1, 1)]
    assert bool(found.faults("monitor")) is grows
    assert found.slopes()["descriptors"] == 0


@pytest.mark.parametrize("minutes", [10, 25, 60])
@pytest.mark.parametrize(("leak", "grows"), [(0.0, False), (1.0, True), (3.4, True)])
def test_a_leak_shows_beyond_a_warm_up_and_noise(minutes: int, leak: float, grows: bool) -> None:
    """`leak` is in MiB a minute; the warm-up is 150 MiB in the first third of the life."""
    chance = random.Random(minutes)

    def memory(second: int) -> float:
        warm = 150.0 * min(1.0, second / (20.0 * minutes))
        return 1024.0 * (200.0 + warm + leak * second / 60.0 + chance.uniform(-2.0, 2.0))

    found = Resources({7: [Sample(float(second), memory(second), 20, 9) for second in range(60 * minutes)]})
    assert bool(found.faults("generator")) is grows


def test_a_life_that_is_all_warm_up_says_nothing() -> None:
    found = Resources({7: [Sample(float(second), 8_000.0 * second, 20, 9) for second in range(235)]})
    assert (found.slopes(), found.faults("generator")) == ({}, [])
