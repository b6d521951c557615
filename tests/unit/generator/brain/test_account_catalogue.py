from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fleet.runtime.home import Home
from generator.brain.account_catalogue import Listing, is_fresh, kept_listing, listing_path
from generator.brain.errors import BrainAwayError
from generator.catalogue import Catalogue, load_catalogue, save
from tests.reference.manual_clock import StillClock


@pytest.mark.parametrize(
    ("made", "today", "fresh"),
    [
        ("2026-11-20", date(2026, 11, 26), True),
        ("2026-11-20", date(2026, 11, 27), False),
        ("2026-11-20", date(2026, 11, 19), False),
        ("yesterday", date(2026, 11, 20), False),
        ("", date(2026, 11, 20), False),
    ],
)
def test_freshness(made: str, today: date, fresh: bool) -> None:
    assert is_fresh(Catalogue({}, {}, date=made), today) is fresh


class Lists:
    """BRAIN's lists; `away` fails each request."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    def operators(self) -> list[Any]:
        self.asked += 1
        if self.away:
            raise BrainAwayError("away")
        return [
            {"name": "rank", "category": "Cross Sectional", "definition": "rank(x)", "description": "A rank."}
        ]

    def data_fields(self, offset: int) -> tuple[list[Any], int]:
        return [{"id": "close", "type": "MATRIX", "description": "A price."}], 1


def test_the_lists_are_due_once_a_week_and_after_a_failure_the_next_day() -> None:
    lists, clock = Lists(), StillClock(1_000_000.0)
    listing = Listing(lists, clock)  # type: ignore[arg-type]  # all that it asks
    assert listing.is_due
    assert listing.step() is None
    assert listing.step() is not None
    assert not listing.is_due
    clock.now += 7 * 86400.0
    assert listing.is_due
    lists.away = True
    with pytest.raises(BrainAwayError):
        listing.step()
    listing.put_off()
    assert not listing.is_due
    clock.now += 86400.0
    lists.away = False
    assert listing.is_due
    assert [listing.step() is None for _ in range(2)] == [True, False]
    assert not listing.is_due
    assert lists.asked == 3


def test_nothing_is_not_fresh() -> None:
    assert not is_fresh(None, date(2026, 11, 20))


def test_each_region_delay_and_universe_has_its_file() -> None:
    found = listing_path(Home(Path("/home")), {"region": "EUR", "delay": 0, "universe": "TOP1200"})
    assert found == Path("/home/catalogue-EUR-D0-TOP1200.json")


def test_a_kept_list_is_read_and_a_damaged_or_empty_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.json"
    assert kept_listing(path) is None
    save(load_catalogue(), path)
    assert kept_listing(path) == load_catalogue()
    save(Catalogue({}, {}), path)
    assert kept_listing(path) is None
    path.write_text("{")
    assert kept_listing(path) is None
