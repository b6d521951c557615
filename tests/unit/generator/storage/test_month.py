"""A month of mining in short: the size of a database that is cleaned up as the generator does it."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.runtime.units import MEGABYTE
from generator.domain import Evaluated, Ruleset
from generator.storage.store import AlphaStore
from tests.reference.stored_rows import PANEL, STANDIN, call, candidate, figures

DAY = 86400.0
WEEK = 7 * DAY
CALLS_A_DAY = 10
PROMPT = "You search for alphas. " * 150
CHECKS = [{"name": f"CHECK_{number}", "result": "PASS", "limit": 0.5, "value": 0.25} for number in range(8)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alphas.db"


def days(path: Path, count: int, rules: Ruleset, *, standins: int) -> Iterator[int]:
    """Mine and clean up for this many days; yield the bytes on disk after each."""
    with closing(AlphaStore(f"sqlite:///{path}", owner="here")) as store:
        for day in range(count):
            for number in range(CALLS_A_DAY):
                _mine(store, rules, f"{day}-{number}", day * DAY + number)
            while store.clean_up(before=day * DAY - WEEK, texts=20_000, standins=standins, bred=9):
                pass
            yield sum(each.stat().st_size for each in path.parent.glob("alphas.db*"))


def _mine(store: AlphaStore, rules: Ruleset, name: str, now: float) -> None:
    one, source = candidate(f"digest-of-{name}", name), "stand-in" if rules is STANDIN else "model"
    store.record_call(replace(call(name, ended=now), prompt=PROMPT, source=source), [one], rules)
    found = replace(figures(), checks=CHECKS)
    store.finish(Evaluated(one, rules.source, rules.settings, found, time=now), rules)


def test_texts_and_checks_of_a_month_come_to_a_week_of_them_and_the_rows_are_small(path: Path) -> None:
    sizes = list(days(path, 30, PANEL, standins=0))
    grown = sizes[29] - sizes[14]
    assert grown <= 15 * CALLS_A_DAY * 1200
    with closing(AlphaStore(f"sqlite:///{path}", owner="here")) as store:
        assert store.count("done") == 30 * CALLS_A_DAY
        assert store.pending(PANEL, limit=1) == []


@pytest.mark.slow
def test_a_forgotten_stand_in_stops_growing(path: Path) -> None:
    sizes = list(days(path, 30, STANDIN, standins=5 * CALLS_A_DAY))
    assert sizes[29] <= 1.1 * sizes[9]
    with closing(AlphaStore(f"sqlite:///{path}", owner="here")) as store:
        assert store.count() == 5 * CALLS_A_DAY


def test_a_disk_gets_back_what_a_shorter_keep_calls_frees(path: Path) -> None:
    with closing(AlphaStore(f"sqlite:///{path}", owner="here")) as store:
        for number in range(40):
            store.record_call(replace(call(f"c{number}"), prompt="x" * MEGABYTE), [], PANEL)
        before = path.stat().st_size
        while store.clean_up(before=10.0, texts=100, standins=0, bred=9):
            pass
    assert before > 38 * MEGABYTE
    assert path.stat().st_size < 4 * MEGABYTE  # with the journal written back at the end
