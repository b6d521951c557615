"""What `status` shows of a pause, of the hours and of the reserve, without any program that runs."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cli.render import status_lines
from cli.status import collect_status
from cli.target import Fleet
from fleet.config.hours import HoursRow
from fleet.config.schema import SEED_LADDER, PolicySettings, Settings
from fleet.config.values import Reserve
from fleet.policy.state import FleetState, Hold, OperatorPause, ReserveCap, Switch, SwitchKind, SwitchPhase
from fleet.runtime.home import ROOT, Home
from fleet.runtime.pause_request import pause
from fleet.runtime.units import GIGABYTE
from state.codec import default_state, encode_state

ALL_DAY = HoursRow("00:00-24:00", frozenset(range(7)), 0, 1440, "tinyllama:1.1b", 2)
SCHEMA = Draft202012Validator(json.loads((ROOT / "docs" / "schema" / "status.json").read_text("utf-8")))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def shown(home: Home, settings: Settings | None = None, **changes: Any) -> tuple[dict[str, Any], str]:
    """Return the row and the lines of a status whose state has these changes."""
    now = time.time()
    state: FleetState = replace(default_state(SEED_LADDER, now), **changes)
    home.state.write_text(encode_state(state, now))
    row = collect_status(Fleet(home, settings or Settings(), None))
    SCHEMA.validate(row)
    return row, "\n".join(status_lines(row, now))


def test_without_any_of_them_nothing_is_shown(home: Home) -> None:
    row, lines = shown(home)
    assert (row["pause"], row["hours"], row["reserve"]) == (None, None, None)
    assert not {"paused", "hours", "reserve"} & {line.split(" ")[0] for line in lines.split("\n")}


def test_a_switch_is_shown_with_the_keys_of_the_state_file(home: Home) -> None:
    switch = Switch(1, SwitchKind.USE, SwitchPhase.PULL, 0, 2, time.time(), "asked for by hand", by_hand=True)
    row, _ = shown(home, switch=switch)
    assert row["switch"] == json.loads(home.state.read_text())["switch"]
    assert "extra" not in row["switch"]


def test_a_pause_is_shown_with_its_end_and_is_no_fault_beside_a_hold(home: Home) -> None:
    now = time.time()
    row, lines = shown(
        home, pause=OperatorPause(now - 5, now + 7200, "why"), hold=Hold(now + 60, 0, "all fail")
    )
    assert row["pause"] == {"by": "operator", "since": now - 5, "until": now + 7200, "why": "why"}
    assert "by hand; `resume` ends it: why" in lines
    assert "the fleet is paused" in row["recovery"]["why"]
    assert "generator" not in {fault["part"] for fault in row["faults"]}
    row, _ = shown(home, pause=OperatorPause(now - 5, now - 1, "over"))
    assert row["pause"] is None
    assert "paused" not in row["recovery"]["why"]


@pytest.mark.parametrize(("seconds", "by"), [(300.0, "step"), (10**8, "leftover")])
def test_a_request_that_the_state_does_not_explain_is_shown(home: Home, seconds: float, by: str) -> None:
    now = time.time()
    pause(home, since=now, until=now + seconds, why="trying phi3:mini")
    row, lines = shown(home)
    assert (row["pause"]["by"], row["pause"]["why"]) == (by, "trying phi3:mini")
    assert "trying phi3:mini" in lines
    faults = [fault["hint"] for fault in row["faults"] if fault["part"] == "generator"]
    assert faults == (["`resume` removes the request."] if by == "leftover" else [])


def test_the_cap_by_the_clock_is_shown_also_where_no_monitor_has_seen_it(home: Home) -> None:
    row, lines = shown(home, Settings(hours=(ALL_DAY,)))
    assert row["hours"] == {"cap": "tinyllama:1.1b", "until": None, "next": None}
    assert "no model above tinyllama:1.1b, always" in lines
    none = replace(ALL_DAY, model="none", rung=None)
    row, lines = shown(home, Settings(hours=(none,)))
    assert row["pause"]["by"] == "hours"
    assert "the GPU is left alone" in lines
    yesterday = frozenset({(time.localtime().tm_wday - 1) % 7})
    row, lines = shown(home, Settings(hours=(replace(ALL_DAY, days=yesterday),)))
    assert (row["hours"]["cap"], row["hours"]["next"]) == (None, "tinyllama:1.1b")
    assert "no cap until" in lines
    assert "then no model above tinyllama:1.1b" in lines


def test_the_reserve_is_shown_with_what_is_free_or_why_that_is_unknown(home: Home) -> None:
    settings = Settings(policy=PolicySettings(reserve=Reserve(share=0.25)))
    row, lines = shown(home, settings)
    assert (row["reserve"]["bytes"], row["reserve"]["unknown"]) == (None, "")
    assert "the card is not read yet" in lines
    home.card_file.write_text(json.dumps({"free": 3 * GIGABYTE, "total": 8 * GIGABYTE, "unknown": ""}))
    row, lines = shown(home, settings, reserve=ReserveCap(2, 1.0))
    assert (row["reserve"]["bytes"], row["reserve"]["cap"]) == (2 * GIGABYTE, "tinyllama:1.1b")
    assert "2.0 GB left to others; 3.0 GB free now; no model above tinyllama:1.1b" in lines
    home.card_file.write_text(json.dumps({"unknown": "no driver"}))
    row, lines = shown(home, settings)
    assert "the card cannot be read: no driver" in lines
    assert [fault["detail"] for fault in row["faults"] if fault["part"] == "reserve"]
