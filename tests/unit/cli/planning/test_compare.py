"""`scan A.toml B.toml LOG`: where two policies part, and how long each is on which rung."""

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from cli.planning.compare import HELD, Course, Divergence, divergence, simulate
from cli.planning.replay import replay
from cli.planning.scan import scan_log
from fleet.config.load import load_settings
from fleet.policy.rules import Rules
from fleet.runtime.home import ROOT
from fleet_cli import main
from tests.reference.ollama_log import T0, failed_load, gin, loaded

HOUR = 3600.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "ollama.log"


def write(path: Path, *parts: Iterable[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in chain(*parts)), "utf-8")
    return str(path)


def policy(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.toml"
    path.write_text(f"[policy]\n{text}\n")
    return str(path)


def course(log: str, config: str) -> Course:
    settings = load_settings(Path(config), {})
    return simulate(scan_log(log, settings).report, Rules(settings.ladder, settings.policy))


def parted(log: str, first: str, second: str) -> Divergence | None:
    return divergence(course(log, first), course(log, second))


def failing(seconds: Iterable[float]) -> Iterable[str]:
    return chain.from_iterable(failed_load(T0 + at) for at in seconds)


def test_the_same_policy_twice_never_parts(log: Path, tmp_path: Path) -> None:
    name = write(log, failing([0, 60, 120, HOUR]))
    policies = [policy(tmp_path, name, "threshold = 2") for name in "ab"]
    assert parted(name, *policies) is None


def test_the_lower_threshold_moves_first(log: Path, tmp_path: Path) -> None:
    name = write(log, failing([0, 60, 120]))
    found = parted(name, policy(tmp_path, "a", "threshold = 3"), policy(tmp_path, "b", "threshold = 2"))
    assert found is not None
    assert found.first == ""
    assert found.second.startswith("downgrade to phi3:mini (2 incidents")
    assert found.line == len(list(failed_load(T0))) * 2 - 1


def test_policies_may_part_where_no_line_is(log: Path, tmp_path: Path) -> None:
    """One climbs back after ten minutes, the other never."""
    name = write(log, failing([0, 60, 120, 2 * HOUR]))
    found = parted(name, policy(tmp_path, "a", ""), policy(tmp_path, "b", 'recover_after = "0s"'))
    assert found is not None
    assert (found.line, found.second) == (0, "")
    assert found.first.startswith("probe to llama3.2:3b")
    assert found.time == pytest.approx(T0 + 120 + 600, abs=30)


@pytest.mark.parametrize("text", ["", "threshold = 1", 'recover_after = "0s"', 'selection = "fits"'])
def test_every_second_of_the_log_is_somewhere(log: Path, tmp_path: Path, text: str) -> None:
    answered = [*loaded(T0 + 5 * HOUR), gin(T0 + 5 * HOUR + 1, 200)]
    name = write(log, failing([0, 40, 90, HOUR, HOUR + 60, 3 * HOUR]), answered, failing([6 * HOUR]))
    found = course(name, policy(tmp_path, "a", text))
    assert sum(found.seconds.values()) == pytest.approx(6 * HOUR, abs=2)
    assert all(seconds >= 0 for seconds in found.seconds.values())
    assert found.rung in found.seconds


def test_the_minutes_of_a_downgrade_and_the_way_back(log: Path, tmp_path: Path) -> None:
    name = write(log, failing([0, 60, 120, HOUR]))
    found = course(name, policy(tmp_path, "a", ""))
    assert found.seconds["phi3:mini"] == pytest.approx(600, abs=1)
    assert found.seconds["llama3.2:3b"] == pytest.approx(HOUR - 600, abs=1)


def test_a_hold_takes_its_time_from_the_rung(log: Path, tmp_path: Path) -> None:
    single = tmp_path / "one.toml"
    single.write_text('[policy]\nthreshold = 2\n[[ladder]]\nmodel = "qwen2.5:0.5b"\n')
    found = course(write(log, failing([0, 60, HOUR])), str(single))
    assert found.seconds[HELD] == pytest.approx(60, abs=1)
    assert [change.what.partition(":")[0] for change in found.changes] == ["hold"]


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_without_climbing_it_does_what_scan_says(log: Path, tmp_path: Path, threshold: int) -> None:
    name = write(log, failing([0, 50, 100, 200, 300, HOUR, HOUR + 20]))
    config = policy(tmp_path, "a", f'threshold = {threshold}\nrecover_after = "0s"')
    settings = load_settings(Path(config), {})
    rules = Rules(settings.ladder, settings.policy)
    report = scan_log(name, settings).report
    moves = [(move.line, move.text) for move in replay(report, rules).moves]
    assert [(change.line, change.what) for change in simulate(report, rules).changes] == moves
    assert moves


def test_a_log_without_failures_is_no_course(log: Path, tmp_path: Path) -> None:
    name = write(log, loaded(T0))
    found = course(name, policy(tmp_path, "a", ""))
    assert found.changes == ()
    assert sum(found.seconds.values()) == 0.0


# The command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["scan", *arguments])


def test_the_command_says_where_they_part(log: Path, tmp_path: Path) -> None:
    name = write(log, failing([0, 60, 120]))
    first, second = policy(tmp_path, "a", ""), policy(tmp_path, "b", "threshold = 2")
    lines = run(first, second, name).stdout.splitlines()
    assert lines[0].startswith(f"{name}: the policies part at line 25, 2026-11-18 ")
    assert lines[1:3] == [
        f"  {first}: no move",
        f"  {second}: downgrade to phi3:mini (2 incidents, last of them allocation)",
    ]
    assert any(line.endswith(" min  llama3.2:3b") for line in lines)
    assert run(first, first, name).stdout.splitlines()[0] == f"{name}: the policies never part"


def test_its_json(log: Path, tmp_path: Path) -> None:
    name = write(log, failing([0, 60, 120]))
    first, second = policy(tmp_path, "a", ""), policy(tmp_path, "b", "threshold = 2")
    schema = Draft202012Validator(json.loads((ROOT / "docs" / "schema" / "comparison.json").read_text()))
    rows = [
        json.loads(run(one, two, name, "--json").stdout) for one, two in ((first, second), (first, first))
    ]
    for row in rows:
        schema.validate(row)
    assert rows[0]["divergence"]["line"] == 25
    assert rows[0]["divergence"]["moves"][0] is None
    assert rows[1]["divergence"] is None


@pytest.mark.parametrize("count", [1, 3])
def test_other_numbers_of_policies_are_refused(log: Path, tmp_path: Path, count: int) -> None:
    name = write(log, failing([0]))
    result = run(*(policy(tmp_path, f"p{n}", "") for n in range(count)), name)
    assert result.exit_code == 2
    assert "A.toml B.toml LOG" in result.stderr


def test_a_policy_that_is_wrong_is_named(log: Path, tmp_path: Path) -> None:
    result = run(policy(tmp_path, "a", "threshold = 0"), policy(tmp_path, "b", ""), write(log, failing([0])))
    assert result.exit_code == 2
    assert "policy.threshold" in result.stderr


@pytest.mark.parametrize("name", ["-", "missing.log"])
def test_a_log_that_cannot_be_read_twice_is_refused(tmp_path: Path, name: str) -> None:
    result = run(policy(tmp_path, "a", ""), policy(tmp_path, "b", ""), name)
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
