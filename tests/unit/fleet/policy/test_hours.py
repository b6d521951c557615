"""The calendar: which cap is in force, until when, and what follows, over midnight and both changes of the clock."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from fleet.config.hours import HoursRow, parse_when
from fleet.policy.hours import CapForecast, ClockCap, forecast

BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
UTC = ZoneInfo("UTC")
MODELS = {"none": None, "top": 0, "middle": 1, "low": 2}
NONE, MIDDLE, LOW = (ClockCap(name, MODELS[name]) for name in ("none", "middle", "low"))


def row(when: str, model: str = "low", zone: ZoneInfo | None = BERLIN) -> HoursRow:
    days, start, end = parse_when(when)
    return HoursRow(when, days, start, end, model, MODELS[model], zone)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def shown(moment: float | None, zone: ZoneInfo = BERLIN) -> str:
    return "" if moment is None else f"{datetime.fromtimestamp(moment, zone):%a %Y-%m-%d %H:%M:%S%z}"


EVENING = [row("mon-fri 18:00-23:30")]
NIGHT = [row("fri 22:00-06:00", "none")]
SPRING, AUTUMN = "2026-03-29", "2026-10-25"  # 02:00 becomes 03:00; 03:00 becomes 02:00


@pytest.mark.parametrize(
    ("rows", "now", "cap", "until", "following"),
    [
        ([], at("2026-11-27T19:00"), None, "", None),
        # 2026-11-27 is a Friday
        (EVENING, at("2026-11-27T17:59:59"), None, "Fri 2026-11-27 18:00:00+0100", LOW),
        (EVENING, at("2026-11-27T18:00"), LOW, "Fri 2026-11-27 23:30:00+0100", None),
        (EVENING, at("2026-11-27T23:29:59"), LOW, "Fri 2026-11-27 23:30:00+0100", None),
        (EVENING, at("2026-11-27T23:30"), None, "Mon 2026-11-30 18:00:00+0100", LOW),
        # over midnight: Friday's night is Saturday's morning
        (NIGHT, at("2026-11-28T05:00"), NONE, "Sat 2026-11-28 06:00:00+0100", None),
        (NIGHT, at("2026-11-28T06:00"), None, "Fri 2026-12-04 22:00:00+0100", NONE),
        (NIGHT, at("2026-11-27T05:00"), None, "Fri 2026-11-27 22:00:00+0100", NONE),
        # of overlapping caps the lowest is in force; "none" is lower than any rung
        ([row("18:00-22:00"), row("20:00-23:00", "middle")], at("2026-11-27T21:00"), LOW,
         "Fri 2026-11-27 22:00:00+0100", MIDDLE),
        ([row("18:00-22:00"), row("20:00-21:00", "none")], at("2026-11-27T20:30"), NONE,
         "Fri 2026-11-27 21:00:00+0100", LOW),
        # one cap that goes on in another row goes on
        ([row("18:00-22:00"), row("22:00-23:00")], at("2026-11-27T19:00"), LOW, "Fri 2026-11-27 23:00:00+0100", None),
        ([row("00:00-24:00")], at("2026-11-27T19:00"), LOW, "", None),
        ([row("sat 00:00-24:00")], at("2026-11-28T19:00"), LOW, "Sun 2026-11-29 00:00:00+0100", None),
        ([row("mon-sun 22:00-21:59")], at("2026-11-27T10:00"), LOW, "Fri 2026-11-27 21:59:00+0100", None),
        # the clock is put forward: the range is an hour shorter, and a missing moment is the jump itself
        ([row("00:30-04:00")], at(f"{SPRING}T00:00"), None, "Sun 2026-03-29 00:30:00+0100", LOW),
        ([row("00:30-04:00")], at(f"{SPRING}T03:30"), LOW, "Sun 2026-03-29 04:00:00+0200", None),
        ([row("02:30-04:00")], at(f"{SPRING}T01:00"), None, "Sun 2026-03-29 03:00:00+0200", LOW),
        ([row("01:00-02:30")], at(f"{SPRING}T01:30"), LOW, "Sun 2026-03-29 03:00:00+0200", None),
        ([row("sun 02:10-02:40")], at(f"{SPRING}T01:00"), None, "Sun 2026-04-05 02:10:00+0200", LOW),
        # the clock is put back: a range begins at the first of two equal moments and ends at the second
        ([row("02:30-04:00")], at(f"{AUTUMN}T01:00"), None, "Sun 2026-10-25 02:30:00+0200", LOW),
        ([row("02:30-04:00")], at(f"{AUTUMN}T02:10", fold=1), LOW, "Sun 2026-10-25 04:00:00+0100", None),
        ([row("01:00-02:30")], at(f"{AUTUMN}T02:45"), LOW, "Sun 2026-10-25 02:30:00+0100", None),
        ([row("23:00-05:00", "none")], at(f"{AUTUMN}T01:00"), NONE, "Sun 2026-10-25 05:00:00+0100", None),
    ],
)  # fmt: skip
def test_the_cap_until_when_and_the_next_one(
    rows: list[HoursRow], now: float, cap: ClockCap | None, until: str, following: ClockCap | None
) -> None:
    found = forecast(rows, now)
    assert (found.cap, shown(found.until), found.next) == (cap, until, following)


def test_a_clock_that_is_put_forward_by_half_an_hour() -> None:
    """Lord Howe: on 2026-10-04 at 02:00 it becomes 02:30."""
    found = forecast([row("02:10-05:00", zone=LORD_HOWE)], at("2026-10-04T01:00", LORD_HOWE))
    assert shown(found.until, LORD_HOWE) == "Sun 2026-10-04 02:30:00+1100"


def test_each_row_has_its_own_zone() -> None:
    rows = [row("18:00-20:00", "middle", UTC), row("18:00-20:00", "low", ZoneInfo("Asia/Tokyo"))]
    assert forecast(rows, at("2026-11-27T10:00", UTC)).cap == LOW
    assert forecast(rows, at("2026-11-27T19:00", UTC)).cap == MIDDLE


@pytest.fixture
def machine_in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("machine_in_berlin")
@pytest.mark.parametrize("when", ["01:00-02:30", "02:30-04:00", "mon-fri 18:00-23:30", "23:00-05:00"])
def test_the_machines_clock_gives_what_its_zone_gives(when: str) -> None:
    for day in (f"{SPRING}T", f"{AUTUMN}T", "2026-11-27T"):
        for hour in range(24):
            now = at(f"{day}{hour:02}:15")
            assert forecast([row(when, zone=None)], now) == forecast([row(when)], now)


def by_the_wall(rows: list[HoursRow], now: float) -> ClockCap | None:
    """Return the cap by what the clock on the wall shows, which is right outside of a repeated hour."""
    found = []
    for one in rows:
        wall = datetime.fromtimestamp(now, one.zone)
        minute, day, before = (
            wall.hour * 60 + wall.minute,
            wall.weekday(),
            (wall - timedelta(days=1)).weekday(),
        )
        if one.start < one.end:
            inside = day in one.days and one.start <= minute < one.end
        else:
            inside = (day in one.days and minute >= one.start) or (before in one.days and minute < one.end)
        if inside:
            found.append(ClockCap(one.model, one.rung))
    return max(found, key=lambda cap: 99 if cap.rung is None else cap.rung, default=None)


def test_a_year_of_random_hours_is_as_the_clock_on_the_wall_shows() -> None:
    chance, start = Random(5), at("2026-01-01T00:00")
    days = ("", "mon-fri ", "sat,sun ", "fri-mon ", "wed ")
    for _ in range(40):
        rows = [
            row(f"{chance.choice(days)}{chance.randrange(24)}:{chance.choice(['00', '30'])}-"
                f"{chance.randrange(24)}:{chance.choice(['10', '45'])}", chance.choice(list(MODELS)))
            for _ in range(chance.randint(1, 4))
        ]  # fmt: skip
        for _ in range(40):
            now = start + chance.uniform(0, 365 * 86400)
            wall = datetime.fromtimestamp(now, BERLIN)
            if wall.strftime("%m-%d") in {"03-29", "10-25"} and wall.hour < 4:
                continue  # the cases above
            found = forecast(rows, now)
            assert found.cap == by_the_wall(rows, now), (rows, wall)
            if found.until is not None and not 0 < found.until - now < 3600:
                assert forecast(rows, now + 1800).cap == found.cap
            if found.until is not None:
                assert forecast(rows, found.until - 1).cap == found.cap
                assert forecast(rows, found.until).cap == found.next != found.cap


def test_nothing_in_force_and_nothing_to_come() -> None:
    assert forecast([], 0.0) == CapForecast()
