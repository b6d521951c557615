from datetime import date
from pathlib import Path

import pytest

from fleet.runtime.home import Home
from generator.brain.account_catalogue import is_fresh, kept_listing, listing_path
from generator.catalogue import Catalogue, load_catalogue, save


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
