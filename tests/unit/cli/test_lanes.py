"""Commands in a home with lanes: which lane they act on, and what they show of all of them."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.commands import main
from cli.lanes import lane_findings
from cli.target import find_fleet
from fleet.clients.supervisor import ProgramInfo, ProgramState, Supervisor, own_programs
from fleet.policy.events import Event, EventKind
from fleet.runtime.home import FleetFile, Home, find_home
from state.history import HistoryFile

TOML = """
[[lane]]
name = "gpu1"
url = "http://127.0.0.1:9"
log = "file:/one.log"
ladder = ["tinyllama:1.1b"]
[[lane]]
name = "b"
url = "http://127.0.0.1:9"
log = "file:/two.log"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home")
    (tmp_path / "fleet.toml").write_text(TOML)
    for one in (home, home.of_lane("gpu1"), home.of_lane("b")):
        one.create()
        text = json.dumps({"kind": "real", "profile": "native", "lane": one.lane or "default"})
        one.kind_file.write_text(text)
        config = str(tmp_path / "fleet.toml")
        FleetFile("native", "http://127.0.0.1:9", "file:/x", config, str(home.socket), time.time()).write(one)
    monkeypatch.setenv("FLEET_HOME", str(home.path))
    monkeypatch.delenv("FLEET_LANE", raising=False)
    return home


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_a_lanes_home_is_found_by_its_name_and_by_its_folder(home: Home) -> None:
    root, own = str(home.path), home.path / "lanes" / "gpu1"
    assert find_home({"FLEET_HOME": root, "FLEET_LANE": "gpu1"}) == Home(own, "gpu1")
    assert find_home({"FLEET_HOME": root, "FLEET_LANE": "default"}) == home
    assert find_home({"FLEET_HOME": str(own)}) == Home(own, "gpu1")
    assert find_home({"FLEET_HOME": str(own), "FLEET_LANE": "b"}) == home.of_lane("b")


def test_a_folder_called_lanes_makes_no_lane(tmp_path: Path) -> None:
    path = tmp_path / "lanes" / "mine"
    assert find_home({"FLEET_HOME": str(path)}) == Home(path)


def test_lanes_share_supervisord_the_database_and_the_hopeful_alphas(home: Home) -> None:
    lane = home.of_lane("gpu1")
    shared = ("socket", "pid_file", "supervisord_log", "database", "hopeful")
    assert [getattr(lane, name) for name in shared] == [getattr(home, name) for name in shared]
    own = ("state", "history", "signals", "run", "log", "pause_file", "owner_file", "switch_lock")
    assert all(getattr(lane, name).is_relative_to(lane.path) for name in own)


def test_messages_name_a_lanes_programs_and_commands(home: Home) -> None:
    lane = home.of_lane("gpu1")
    assert lane.supervisorctl("restart", "generator", "web").endswith("restart generator-gpu1 web")
    assert lane.command("python3 fleet_cli.py status").endswith("fleet_cli.py --lane gpu1 status")


def test_the_option_stands_before_and_after_the_commands_name(home: Home) -> None:
    for words in (
        ("--lane", "gpu1", "status"),
        ("status", "--lane", "gpu1"),
        ("--lane", "b", "status", "--lane", "gpu1"),
    ):
        row = json.loads(run(*words, "--json").stdout)
        assert (row["lane"], row["home"]) == ("gpu1", str(home.of_lane("gpu1").path))
        assert row["current_model"]["name"] == "tinyllama:1.1b"


def test_the_variable_chooses_a_lane_too(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_LANE", "b")
    assert json.loads(run("status", "--json").stdout)["lane"] == "b"
    assert json.loads(run("status", "--json", "--lane", "gpu1").stdout)["lane"] == "gpu1"
    assert home.path.exists()


@pytest.mark.usefixtures("home")
def test_a_status_without_a_lane_has_a_line_for_each() -> None:
    lines = run("status").stdout.splitlines()
    assert lines[0].startswith("gpu1  tinyllama:1.1b, rung 0 of 0 to 0; errors 0 of 3; not running")
    assert any(line.startswith("b     llama3.2:3b, rung 0 of 0 to 3") for line in lines)
    row = json.loads(run("status", "--json").stdout)
    assert list(row["lanes"]) == ["gpu1", "b"]
    assert row["lanes"]["b"]["fleet_size"] == 4


@pytest.mark.usefixtures("home")
def test_a_check_names_the_lane_of_each_reason() -> None:
    result = run("status", "--check")
    assert result.exit_code == 1
    assert "gpu1: supervisord: " in result.stdout
    assert "b: ollama: " in result.stdout


@pytest.mark.parametrize("name", [["downgrade"], ["upgrade"], ["reset"], ["use", "0"], ["unpin"]])
@pytest.mark.usefixtures("home")
def test_a_switch_without_a_lane_is_refused_with_the_lanes_names(name: list[str]) -> None:
    result = run(*name)
    assert result.exit_code == 2
    assert "this fleet has the lanes gpu1, b" in result.stderr
    assert "--lane gpu1" in result.stderr


@pytest.mark.parametrize("name", [["status"], ["downgrade"], ["alphas"], ["ladder"], ["doctor"], ["pause"]])
@pytest.mark.usefixtures("home")
def test_an_unknown_lane_is_refused_with_the_known_ones(name: list[str]) -> None:
    result = run(*name, "--lane", "gpu7")
    assert result.exit_code == 2
    assert "has no lane 'gpu7'" in result.stderr
    assert "Its lanes are gpu1, b." in result.stderr


def test_a_pause_without_a_lane_pauses_all_and_resume_ends_all(home: Home) -> None:
    result = run("pause", "1h", "--json")
    assert result.exit_code == 3  # supervisord does not run: saved
    assert list(json.loads(result.stdout)["lanes"]) == ["gpu1", "b"]
    rows = json.loads(run("status", "--json").stdout)["lanes"]
    assert all(row["pause"]["by"] == "operator" for row in rows.values())
    run("resume", "--lane", "b")
    rows = json.loads(run("status", "--json").stdout)["lanes"]
    assert (rows["gpu1"]["pause"] is not None, rows["b"]["pause"]) == (True, None)
    assert not home.state.exists()


def test_doctor_says_that_the_homes_own_lane_is_stopped_and_what_lanes_share(home: Home) -> None:
    found = lane_findings(find_fleet(None, {"FLEET_HOME": str(home.path)}), {"gpu1": [], "b": []})
    assert (found[0].part, str(found[0].health)) == ("lane default", "ok")
    assert "stopped" in found[0].detail
    assert [one.detail for one in found[1:]] == [
        "gpu1 and b share the Ollama http://127.0.0.1:9: each unloads the other's models",
        "gpu1 and b share the log file:/x: a failure counts in both",
    ]


def test_the_home_itself_is_the_lane_default(home: Home) -> None:
    row = json.loads(run("status", "--lane", "default", "--json").stdout)
    assert (row["lane"], row["home"]) == ("default", str(home.path))


def test_a_lane_sees_its_own_programs_and_the_first_one_those_of_all() -> None:
    def program(name: str) -> ProgramInfo:
        return ProgramInfo(name, ProgramState.RUNNING, 1)

    every = [
        program(name) for name in ("monitor-a", "generator-a", "monitor-b", "standin-b", "web", "notifier")
    ]
    assert [one.name for one in own_programs(every, "a", shared=False)] == ["monitor", "generator"]
    assert [one.name for one in own_programs(every, "b", shared=True)] == [
        "monitor",
        "standin",
        "web",
        "notifier",
    ]
    assert [one.name for one in own_programs(every, "default", shared=True)] == ["web", "notifier"]


def test_what_does_not_run_as_configured_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def running(supervisor: Supervisor) -> list[ProgramInfo]:
        names = ("monitor-gpu1", "generator-gpu1", "monitor-old", "generator-old")
        every = [ProgramInfo(name, ProgramState.RUNNING, 1) for name in names]
        return own_programs(every, supervisor._lane, shared=True) if supervisor._lane else every

    monkeypatch.setattr(Supervisor, "programs", running)
    rows = json.loads(run("status", "--json").stdout)["lanes"]
    assert list(rows["gpu1"]["programs"]) == ["monitor", "generator"]
    assert rows["b"]["programs"] is None
    assert "runs no program of the lane b" in rows["b"]["away"]["supervisord"]["reason"]
    alone = json.loads(run("status", "--lane", "default", "--json").stdout)
    assert "runs no program of the lane default" in alone["away"]["supervisord"]["reason"]
    found = lane_findings(find_fleet(None, {"FLEET_HOME": str(home.path)}), {})
    assert "old runs, and fleet.toml has no such lane" in [one.detail for one in found]


@pytest.mark.usefixtures("home")
def test_history_and_watch_show_each_event_with_its_lane(home: Home) -> None:
    for number, lane in enumerate(("gpu1", "b", "gpu1"), start=1):
        events = [Event(number, 1e9 + number, EventKind.OLLAMA_AWAY, {"reason": f"reason {number}"})]
        HistoryFile(home.of_lane(lane).history).append(events)
    lines = run("history").stdout.splitlines()
    assert [line.split("  ")[1].partition(":")[0] for line in lines] == ["gpu1", "b", "gpu1"]
    assert [row["lane"] for row in json.loads(run("history", "--json", "-n", "2").stdout)] == ["b", "gpu1"]
    view = run("watch", "--count", "1").stdout
    assert "reason 3" in view
    assert "\nb     llama3.2:3b" in view
    assert list(json.loads(run("watch", "--json").stdout)["lanes"]) == ["gpu1", "b"]


@pytest.mark.usefixtures("home")
def test_a_report_has_a_table_for_each_lane() -> None:
    assert "Lane b:" in run("report").stdout
    assert list(json.loads(run("report", "--json").stdout)["lanes"]) == ["gpu1", "b"]
