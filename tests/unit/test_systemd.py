"""The systemd units: systemd takes them, and they start what `make run` starts."""

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fleet.clients.supervisor import Supervisor
from fleet.runtime.errors import ConfigError, SupervisorAwayError
from fleet.runtime.home import ROOT
from fleet.startup.launch import plan, prepare

UNITS = {"user": "%h/model-fleet", "system": "/opt/model-fleet"}


def unit(kind: str) -> Path:
    return ROOT / "systemd" / kind / "model-fleet.service"


def service(kind: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their letters
    parser.read(unit(kind))
    return parser["Service"]


@pytest.mark.parametrize("kind", UNITS)
def test_systemd_takes_the_unit(kind: str, tmp_path: Path) -> None:
    """Its paths are of this checkout here: systemd looks whether the program is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(shutil.which("true") or "/bin/true")
    placed = tmp_path / "model-fleet.service"
    placed.write_text(unit(kind).read_text().replace(UNITS[kind], str(tmp_path)))
    command = ["systemd-analyze", "verify", "--man=no", *(["--user"] if kind == "user" else []), str(placed)]
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    complaints = [line for line in done.stderr.splitlines() if "model-fleet" in line]
    assert (done.returncode, complaints) == (0, [])
    placed.write_text(placed.read_text().replace("Type=exec", "Type=exactly"))
    wrong = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert "exactly" in wrong.stderr, "it would see a mistake"


@pytest.mark.parametrize("kind", UNITS)
def test_it_starts_the_fleet_of_the_checkout(kind: str) -> None:
    found = service(kind)
    assert found["WorkingDirectory"] == UNITS[kind]
    assert found["ExecStart"] == f"{UNITS[kind]}/.venv/bin/python -m fleet"
    assert found["RestartPreventExitStatus"] == str(ConfigError.exit_code)


@pytest.mark.parametrize(
    ("kind", "command"), [("user", "systemctl --user start"), ("system", "systemctl start")]
)
def test_hints_name_the_unit_that_starts_the_fleet(kind: str, command: str, tmp_path: Path) -> None:
    name, start = "FLEET_START", f"{command} model-fleet"
    assert f'Environment="{name}={start}"' in unit(kind).read_text().replace("%N", "model-fleet")
    ready = plan(None, {"FLEET_HOME": str(tmp_path), "FLEET_PROFILE": "embedded"}, ROOT)
    ready.home.create()
    for environ, hint in (({name: start}, start), ({}, f"FLEET_HOME={tmp_path} make run")):
        prepare(ready, environ, 1.0)
        with pytest.raises(SupervisorAwayError) as caught:
            Supervisor(ready.home.socket).programs()
        assert caught.value.hint == f"Start the fleet with `{hint}`."


@pytest.mark.parametrize("kind", UNITS)
def test_it_waits_longer_than_the_programs_take_to_stop(kind: str) -> None:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
    parser.read(ROOT / "supervisord.conf")
    waits = [
        parser.getint(name, "stopwaitsecs")
        for name in parser.sections()
        if parser.has_option(name, "stopwaitsecs")
    ]
    assert waits
    assert int(service(kind)["TimeoutStopSec"]) > sum(waits)
    assert service(kind)["KillMode"] == "mixed"


def test_the_machine_s_fleet_writes_to_its_home_alone() -> None:
    found = service("system")
    assert found["ProtectSystem"] == "strict"
    assert found["StateDirectory"] == "model-fleet"
    assert "ReadWritePaths" not in found


def test_the_machine_s_user_reads_the_journal_in_the_unit_and_in_commands() -> None:
    assert service("system")["SupplementaryGroups"] == "systemd-journal"
    text = unit("system").read_text()
    assert "useradd --system" in text
    assert "--groups systemd-journal model-fleet" in text


def test_a_call_that_the_unit_s_filter_refuses_is_an_error_and_kills_no_program() -> None:
    found = service("system")
    assert found["SystemCallFilter"] == "@system-service"
    assert found["SystemCallErrorNumber"] == "EPERM"
    assert {"PrivateDevices", "DeviceAllow", "MemoryDenyWriteExecute"}.isdisjoint(found), (
        "the card and the kernels"
    )
