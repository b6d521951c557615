"""A short soak, and the checker that every soak ends with."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fleet.policy.events import Event, EventKind
from tests.soak import checker
from tests.soak.resources import Resources, Sample
from tests.soak.run import soak

T = 1_800_000_000.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_half_a_minute_of_everything_that_goes_wrong() -> None:
    with TemporaryDirectory(prefix="fl-") as folder:
        assert soak(Path(folder), 20, 30.0, None) == []


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


@pytest.mark.parametrize(("growth", "grows"), [(0.0, False), (5.0, False), (40.0, True)])
def test_a_program_that_grows_is_found(growth: float, grows: bool) -> None:
    found = Resources()
    found.lives[7] = [Sample(float(second), 30_000 + growth * second, 20, 9) for second in range(120)]
    found.lives[8] = [Sample(0.0, 1, 1, 1)]
    assert bool(found.faults("monitor")) is grows
    assert found.slopes()["descriptors"] == 0
