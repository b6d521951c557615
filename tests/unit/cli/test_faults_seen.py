"""From a home's files to the faults of its status: what is read, and what a person sees of it."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from click.testing import CliRunner

from cli.commands import main
from cli.doctor import examine
from cli.render import status_lines
from cli.status import collect_status
from cli.target import Fleet, find_fleet
from fleet.config.schema import SEED_LADDER
from fleet.policy.state import OperatorPause, Recovery, Unanswered
from fleet.runtime.home import FleetFile, Home
from state.codec import default_state, encode_state
from state.store import backup_of

URL = "http://127.0.0.1:9"
STATE = default_state(SEED_LADDER, 1.0)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    home = Home(tmp_path / "home")
    home.create()
    FleetFile("docker", URL, "file:x", "", str(home.socket), 1.0).write(home)
    home.state.write_text(encode_state(STATE, 1.0))
    return find_fleet(None, {"FLEET_HOME": str(home.path), "FLEET_OLLAMA_URL": URL})


def details(row: dict[str, Any]) -> dict[str, str]:
    return {one["part"]: one["detail"] for one in row["faults"]}


def test_a_fleet_that_does_not_run_names_what_is_away_once(fleet: Fleet) -> None:
    row = collect_status(fleet, within=10.0)
    assert set(details(row)) == {"supervisord", "ollama"}
    shown = unstyle("\n".join(status_lines(row, time.time())))
    assert shown.count("supervisord does not run") == 2, "beside the programs, and as away"
    assert "\nfault" not in shown


@pytest.mark.parametrize(("arguments", "patience"), [((), 0.35), (("--json",), 0.35), (("--check",), 2.0)])
def test_a_check_waits_longer_for_a_busy_machine(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], patience: float
) -> None:
    waited = []
    monkeypatch.setattr("cli.status._ollama", lambda _, within: waited.append(within))
    environ = {"FLEET_HOME": str(fleet.home.path)}
    CliRunner().invoke(main, ["status", *arguments], env=environ)
    assert waited == [patience]


@pytest.mark.parametrize("name", ["", "run", "log"])
def test_a_folder_of_the_home_that_cannot_be_written_is_a_fault(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, allowed = fleet.home.path / name, os.access
    assert collect_status(fleet)["unwritable"] is None
    monkeypatch.setattr(
        "os.access", lambda path, mode: allowed(path, mode) and not (path == folder and mode & os.W_OK)
    )
    assert details(collect_status(fleet))["home"] == f"{folder} cannot be written"


def test_a_full_disk_is_a_fault(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "disk" not in details(collect_status(fleet))
    disk = os.statvfs(fleet.home.path)
    full = os.statvfs_result((*disk[:4], 0, *disk[5:10]))
    monkeypatch.setattr("os.statvfs", lambda _: full)
    assert details(collect_status(fleet))["disk"] == f"0 B free for {fleet.home.path}"


def test_a_history_that_cannot_be_read_is_a_fault_and_the_rest_is_shown(fleet: Fleet) -> None:
    fleet.home.history.mkdir()
    row = collect_status(fleet, within=10.0)
    assert details(row)["history"] == f"{fleet.home.history} cannot be read: Is a directory"
    shown = unstyle("\n".join(status_lines(row, time.time())))
    assert "rung 0 of 0 to 3" in shown
    assert "away         history: " in shown
    assert "history" in [found.part for found in examine(fleet)]


@pytest.mark.parametrize(
    ("due", "shown"), [(-60.0, "due now, llama3.2:3b"), (90.5, "in 1m 30s, llama3.2:3b")]
)
def test_a_next_try_is_to_come_or_due(fleet: Fleet, due: float, shown: str) -> None:
    now = time.time()
    state = replace(
        STATE, current_model_index=1, current_model="phi3:mini", recovery=Recovery(600.0, now + due)
    )
    fleet.home.state.write_text(encode_state(state, now))
    assert shown in unstyle("\n".join(status_lines(collect_status(fleet), now)))


def test_a_state_without_a_key_says_which(fleet: Fleet) -> None:
    fleet.home.state.write_text("{}")
    assert "it lacks the key 'current_model_index'" in details(collect_status(fleet, within=10.0))["state"]


def test_a_damaged_state_is_a_fault_also_while_its_last_good_copy_serves(fleet: Fleet) -> None:
    assert collect_status(fleet)["state_damaged"] == ""
    fleet.home.state.rename(backup_of(fleet.home.state))
    fleet.home.state.write_bytes(b"\0" * 100)
    row = collect_status(fleet)
    assert "its last good copy is used" in details(row)["state"]
    assert "state" not in row["away"]


def test_a_row_of_failed_calls_is_shown_with_its_mend_and_obeyed_by_no_terminal(fleet: Fleet) -> None:
    failed = Unanswered(time.time() - 90, 14, "unexpected EOF\x1b[2J", reported=True)
    fleet.home.state.write_text(encode_state(replace(STATE, unanswered=failed), 1.0))
    row = collect_status(fleet)
    assert row["unanswered"]["calls"] == 14
    shown = unstyle("\n".join(status_lines(row, time.time())))
    assert "fault        calls: no answer for 1m 30s, 14 calls failed in a row" in shown
    assert "→ The runner died" in shown
    assert "\x1b" not in shown


def test_replies_that_give_nothing_are_shown_with_their_mend(fleet: Fleet) -> None:
    streak = {
        "since": time.time() - 300,
        "calls": 7,
        "reason": "the replies are empty",
        "mend": "Update Ollama.",
    }
    beat = {"model": "m:1b", "heartbeat": time.time(), "unusable": streak}
    fleet.home.generator_file.write_text(json.dumps(beat))
    shown = unstyle("\n".join(status_lines(collect_status(fleet), time.time())))
    assert "fault        replies: m:1b gives nothing usable for 5m, 7 calls in a row: the replies" in shown
    assert "→ Update Ollama." in shown


@pytest.mark.parametrize("odd", ["x", {"a": 1}, 1e18, -1e18, [], "NaN"])
def test_odd_times_in_a_homes_files_end_no_status(fleet: Fleet, odd: object) -> None:
    fleet.home.generator_file.write_text(json.dumps({"database_away": {"since": odd, "reason": "refused"}}))
    fleet.home.pause_file.write_text(json.dumps({"since": odd, "until": 1e18, "why": "x", "endless": False}))
    shown = unstyle("\n".join(status_lines(collect_status(fleet), time.time())))
    assert "database: refused" in shown
    assert "paused" not in shown


def test_a_pause_without_a_sensible_end_is_shown(fleet: Fleet) -> None:
    pause = OperatorPause(time.time(), 1e18, "by hand")
    fleet.home.state.write_text(encode_state(replace(STATE, pause=pause), 1.0))
    assert "9999" in unstyle("\n".join(status_lines(collect_status(fleet), time.time())))
