"""`notify --test`: each place gets a notice and its answer is shown, before the first start too."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.commands import main


@pytest.mark.parametrize(("command", "code", "reason"), [("cat", 0, ""), ("false", 1, "exit status 1")])
def test_a_test_notice_needs_no_fleet_that_was_started(
    tmp_path: Path, command: str, code: int, reason: str
) -> None:
    (tmp_path / "fleet.toml").write_text(f'[notify]\ncommand = "{command}"\n')
    environ = {"FLEET_HOME": str(tmp_path / "home"), "FLEET_CONFIG": str(tmp_path / "fleet.toml")}
    done = CliRunner().invoke(main, ["notify", "--test", "--json"], env=environ)
    assert done.exit_code == code, done.output
    [answer] = json.loads(done.stdout)
    assert answer["place"] == "command"
    assert reason in answer["reason"]
    assert bool(answer["reason"]) == bool(reason)


def test_without_a_place_it_says_how_to_name_one(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("")
    environ = {"FLEET_HOME": str(tmp_path / "home"), "FLEET_CONFIG": str(tmp_path / "fleet.toml")}
    done = CliRunner().invoke(main, ["notify", "--test"], env=environ)
    assert done.exit_code != 0
    assert "names no place" in str(done.exception) + done.output
