"""`[[hours]]`: days and ranges as people write them, the rung of a model, and time zones."""

import re
import sys
import zoneinfo

import pytest

from fleet.config.hours import parse_when, read_hours_row
from fleet.config.ladder import Ladder, Rung
from fleet.config.schema import SEED_LADDER

EVERY_DAY = frozenset(range(7))
WORKDAYS = frozenset(range(5))


@pytest.mark.parametrize(
    ("text", "days", "start", "end"),
    [
        ("mon-fri 18:00-23:30", WORKDAYS, 1080, 1410),
        ("18:00-23:30", EVERY_DAY, 1080, 1410),
        ("Sat,Sun 10:00-02:00", {5, 6}, 600, 120),
        ("sat, sun  9:05 - 10:00", {5, 6}, 545, 600),
        ("fri-mon 22:00-06:00", {4, 5, 6, 0}, 1320, 360),
        ("sun 00:00-24:00", {6}, 0, 1440),
        ("monday-wednesday,sat 1:00-2:00", {0, 1, 2, 5}, 60, 120),
        ("sun-mon 1:00-2:00", {6, 0}, 60, 120),
        ("wed-wed 1:00-2:00", {2}, 60, 120),
    ],
)
def test_days_and_a_range_are_read(text: str, days: set[int], start: int, end: int) -> None:
    assert parse_when(text) == (frozenset(days), start, end)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "cannot be read"),
        ("mon-fri", "cannot be read"),
        ("mon-fri 18-23", "cannot be read"),
        ("mon-fri 18:00", "cannot be read"),
        ("mo-fr 18:00-23:30", '"mo" is no day'),
        ("mon-fry 18:00-23:30", '"fry" is no day'),
        ("mon- 18:00-23:30", '"" is no day'),
        ("mon,,tue 18:00-23:30", '"" is no day'),
        ("18:60-19:00", "18:60 is no time"),
        ("18:00-24:01", "24:01 is no time"),
        ("24:00-02:00", "begins at 23:59 at the latest"),
        ("18:00-18:00", "00:00-24:00"),
        ("18:00-19:00 mon", "cannot be read"),
        ("²0:00-19:00", "cannot be read"),
    ],
)
def test_a_text_that_is_no_range_is_refused_with_the_fault(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        parse_when(text)


LADDER = Ladder(
    [Rung(0, "big:7b"), Rung(1, "big:7b", options={"num_ctx": 2048}), Rung(2, "small"), Rung(3, "tiny:1b")]
)


@pytest.mark.parametrize(
    ("model", "rung"),
    [
        ("none", None),
        ("big:7b", 0),
        ("big:7b (num_ctx=2048)", 1),
        ("small:latest", 2),
        ("library/tiny:1b", 3),
    ],
)
def test_a_model_stands_for_its_highest_rung(model: str, rung: int | None) -> None:
    row, faults = read_hours_row({"when": "1:00-2:00", "model": model}, LADDER)
    assert not faults
    assert row is not None
    assert (row.rung, row.zone) == (rung, None)


def test_a_faulty_ladder_is_not_blamed_on_the_hours() -> None:
    row, faults = read_hours_row({"when": "1:00-2:00", "model": "big:7b"}, None)
    assert not faults
    assert row is not None


def test_a_system_without_zone_data_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tzdata", None)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        row = {"when": "1:00-2:00", "model": "none", "timezone": "Europe/Berlin"}
        _, faults = read_hours_row(row, SEED_LADDER)
    finally:
        zoneinfo.reset_tzpath(before)
    assert [key for key, _ in faults] == ["timezone"]
    assert "this system has no time-zone data" in faults[0][1]
    assert "tzdata" in faults[0][1]
