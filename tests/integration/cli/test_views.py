"""What the command line prints of a real fleet: JSON by its schemas, and the rest when a part is away."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fleet.runtime.home import ROOT
from tests.processes.fleet import FleetProcess, eventually, running_fleet

SETTINGS = {
    "FLEET_STANDIN_VRAM": "64 GB",
    "FLEET_POLICY_CHECK_INTERVAL": "1s",
    "FLEET_STANDIN_PACE": "0.2",
}
ORIGINAL = {
    "current_model": {"name", "size_mb", "description", "index"},
    "vram_error_count": int,
    "max_vram_errors": int,
    "available_models": list,
    "fleet_size": int,
    "can_downgrade": bool,
}


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetProcess]:
    with running_fleet(**SETTINGS) as fleet:
        eventually(fleet.home.database.exists, what=f"a database\n{fleet.output()}")
        yield fleet


def schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((ROOT / "docs" / "schema" / f"{name}.json").read_text()))


def printed(fleet: FleetProcess, name: str, *arguments: str, code: int = 0) -> Any:
    """Run a command with --json, hold its output to a schema, and return it."""
    done = fleet.cli(*arguments, "--json")
    assert done.returncode == code, done.stderr
    row = json.loads(done.stdout)
    schema(name).validate(row)
    return row


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
def test_json_is_what_its_schema_says(fleet: FleetProcess) -> None:
    printed(fleet, "outcome", "downgrade", "--wait")
    printed(fleet, "outcome", "unpin")
    row = printed(fleet, "status", "status")
    assert set(ORIGINAL) <= set(row)
    assert row["current_model"]["size_mb"] == 2200
    assert row["last_switch"]["to"] == "phi3:mini"
    assert {event["kind"] for event in printed(fleet, "history", "history", "--kind", "switch")} >= {
        "switch.done"
    }
    printed(fleet, "doctor", "doctor")
    printed(fleet, "scan", "scan", str(fleet.log))
    schema("status").validate(json.loads(fleet.cli("watch", "--json").stdout))


@pytest.mark.slow
def test_a_report_has_a_row_for_each_model_and_what_is_known_of_it(fleet: FleetProcess) -> None:
    def used() -> Any:
        rows = {row["model"]: row for row in printed(fleet, "report", "report")["models"]}
        return rows if rows["phi3:mini"]["calls"] and rows["phi3:mini"]["vram_bytes"] else None

    fleet.cli("use", "phi3:mini")
    rows = eventually(used, what="calls of phi3:mini, and its memory")
    assert list(rows) == ["llama3.2:3b", "phi3:mini", "tinyllama:1.1b", "qwen2.5:0.5b"]
    assert rows["phi3:mini"]["seconds_in_use"] > 0
    assert rows["phi3:mini"]["valid_share"] == 1.0
    assert rows["qwen2.5:0.5b"]["calls"] == 0
    table = fleet.cli("report").stdout
    assert "stand-in" in table
    assert "phi3:mini" in table


@pytest.mark.slow
def test_a_frozen_ollama_is_told_and_the_rest_is_shown(fleet: FleetProcess) -> None:
    with frozen(fleet.pid("standin")):
        row = printed(fleet, "status", "status")
        assert set(row["away"]) == {"ollama"}
        assert row["available_models"] is None
        assert row["programs"]["monitor"]["state"] == "RUNNING"
        eventually(lambda: fleet.status()["away"].get("ollama", {}).get("since"), what="since when")
        assert "away         ollama since" in fleet.cli("status").stdout
    eventually(lambda: not fleet.status()["away"], what="Ollama back")


@pytest.mark.slow
def test_a_frozen_supervisord_is_told_and_the_rest_is_shown(fleet: FleetProcess) -> None:
    with frozen(int(fleet.home.pid_file.read_text())):
        row = printed(fleet, "status", "status")
        assert set(row["away"]) == {"supervisord"}
        assert row["programs"] is None
        assert row["available_models"]
        assert "supervisord does not answer" in fleet.cli("status").stdout
        second = subprocess.run(
            [sys.executable, "-m", "fleet"],
            cwd=ROOT,
            env=fleet.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert "runs in" in second.stderr


def test_a_damaged_state_and_database_are_told(fleet: FleetProcess) -> None:
    names = (
        "model_fleet_state.json",
        "model_fleet_state.json.bak",
        "alphas.db",
        "alphas.db-wal",
        "alphas.db-shm",
    )
    with frozen(fleet.pid("monitor")), frozen(fleet.pid("generator")):
        paths = [path for path in map(fleet.home.path.joinpath, names) if path.exists()]
        moved = [(path.rename(path.with_name(f"kept-{path.name}")), path) for path in paths]
        try:
            for path in (fleet.home.state, fleet.home.database):
                path.write_bytes(b"\0" * 4096)
            row = printed(fleet, "status", "status")
            assert set(row["away"]) == {"state", "database"}
            assert row["away"]["state"]["since"]
            assert row["available_models"]
            assert row["recent_alphas"] is None
            assert "the defaults" in fleet.cli("status").stdout
        finally:
            for kept, path in moved:
                kept.replace(path)


@pytest.mark.slow
def test_a_docker_log_without_an_engine_is_told(fleet: FleetProcess, tmp_path: Path) -> None:
    started = json.loads(fleet.home.fleet_file.read_text())
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    (home / "run" / "fleet.json").write_text(
        json.dumps({**started, "profile": "docker", "log_source": "docker:none"})
    )
    other = FleetProcess(home, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    row = printed(other, "status", "status")
    assert "docker" in row["away"]
    assert row["available_models"]
    done = other.cli("doctor")
    assert done.returncode == 1
    assert "the Docker Engine at" in done.stdout


def looked_at(fleet: FleetProcess, *arguments: str, rows: int = 40, columns: int = 60, **environ: str) -> str:
    """Return what a command shows to a person at a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "fleet_cli.py"), *arguments],
        cwd=ROOT,
        env={**fleet.environ, "LINES": str(rows), "COLUMNS": str(columns), "TERM": "xterm", **environ},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # the terminal is gone when the last who had it open has ended
    finally:
        os.close(ours)
        child.wait(30)
    assert child.returncode == 0
    return shown.decode()


@pytest.mark.slow
def test_a_person_sees_colours_and_lines_that_fit(fleet: FleetProcess) -> None:
    shown = looked_at(fleet, "status")
    assert "\x1b[1m" in shown
    plain = looked_at(fleet, "status", NO_COLOR="1")
    assert "\x1b" not in plain
    assert "\x1b" not in fleet.cli("status").stdout
    words = [line for line in plain.splitlines() if len(line) > 60 and " " in line.strip()[30:]]
    assert not words


@pytest.mark.slow
def test_watching_takes_the_other_screen_and_gives_it_back(fleet: FleetProcess) -> None:
    shown = looked_at(fleet, "watch", "--count", "2", "--interval", "0.2", rows=24, columns=80)
    assert shown.startswith("\x1b[?1049h")
    assert shown.endswith("\x1b[?1049l")
    views = shown.split("\x1b[H")[1:]
    assert len(views) == 2
    assert all(view.count("\n") < 24 for view in views)
    assert "\x1b[1m" not in looked_at(fleet, "watch", "--count", "1", NO_COLOR="1")
    dumb = looked_at(fleet, "watch", "--count", "2", "--interval", "0.2", TERM="dumb")
    assert "\x1b" not in dumb
    assert dumb.count("log source") == 2


@pytest.mark.slow
def test_an_interrupted_command_leaves_a_whole_fleet(fleet: FleetProcess) -> None:
    assert fleet.cli("use", "0", "--wait").returncode == 0
    with frozen(fleet.pid("standin")):
        child = subprocess.Popen(
            [sys.executable, str(ROOT / "fleet_cli.py"), "use", "2"],
            cwd=ROOT,
            env=fleet.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        eventually(lambda: fleet.state.switch, what="a switch under way")
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=30)
    assert child.returncode == 1, told
    assert "interrupted" in told
    assert "`use 0` takes it back" in told
    eventually(
        lambda: fleet.state.switch is None, what=f"the switch carried on by the monitor\n{fleet.output()}"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nosuch"], 2),
        (["use"], 2),
        (["use", "9"], 2),
        (["use", "nosuch"], 2),
        (["history", "--last", "0"], 2),
        (["history", "--since", "soon"], 2),
        (["history", "--kind", "nosuch"], 2),
        (["--config", "/none", "status"], 2),
        (["scan", "/none"], 1),
    ],
)
def test_exit_codes(fleet: FleetProcess, arguments: list[str], code: int) -> None:
    done = fleet.cli(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_end_of_the_ladder_is_exit_code_1(fleet: FleetProcess) -> None:
    assert fleet.cli("use", "0").returncode == 0
    done = fleet.cli("upgrade")
    assert done.returncode == 1
    assert "there is no larger model" in done.stderr


@pytest.mark.slow
def test_debug_shows_where(fleet: FleetProcess) -> None:
    done = fleet.cli("--debug", "use", "9")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
