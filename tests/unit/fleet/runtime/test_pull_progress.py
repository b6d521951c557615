"""The progress of a pull, as the views read it from another program's file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.runtime.home import Home
from fleet.runtime.pull_progress import RunningPull, pull_ended, read_pull, write_pull
from fleet.runtime.units import GIGABYTE, MEGABYTE

NOW = 1_800_000_000.0
PULL = RunningPull("phi3:mini", GIGABYTE, 2 * GIGABYTE, 20 * MEGABYTE, NOW - 60, NOW)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


def test_a_pull_is_read_as_it_was_written_until_it_ends(home: Home) -> None:
    assert read_pull(home, NOW) is None
    write_pull(home, PULL, NOW)
    assert read_pull(home, NOW + 1) == PULL
    assert PULL.text == "1.0 GB of 2.0 GB, 20 MB/s, 51s left"
    pull_ended(home)
    pull_ended(home)
    assert read_pull(home, NOW) is None


def test_a_stall_shows_how_long_it_lasts_by_the_readers_clock(home: Home) -> None:
    write_pull(home, replace(PULL, moved=NOW - 30), NOW)
    found = read_pull(home, NOW + 5)
    assert found is not None
    assert found.still_seconds == 35
    assert found.text == "1.0 GB of 2.0 GB, stands still for 35s"


def test_the_file_of_a_program_that_is_gone_or_hangs_is_no_pull(home: Home) -> None:
    write_pull(home, PULL, NOW)
    assert read_pull(home, NOW + 31) is None
    row = json.loads(home.pull_file.read_text())
    home.pull_file.write_text(json.dumps({**row, "pid": 10**9}))
    assert read_pull(home, NOW) is None


@pytest.mark.parametrize("change", [{"total_bytes": None}, {"moved": "x"}, {"pid": True}, {"at": 1e999}])
def test_a_damaged_file_is_no_pull(home: Home, change: dict[str, object]) -> None:
    write_pull(home, PULL, NOW)
    row = json.loads(home.pull_file.read_text())
    home.pull_file.write_text(json.dumps({**row, **change}))
    assert read_pull(home, NOW) is None
