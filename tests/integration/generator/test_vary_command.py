"""`python3 -m generator vary`: what it prints, what it stores, and what it sends to a stand-in BRAIN."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from generator.cli.commands import cli
from generator.storage.read import best_alphas
from standin.brain import figures
from standin.brain.server import standin_brain
from standin.brain.settings import BrainStandinSettings
from tests.integration.brain.test_screen import panel

EXPRESSION = "rank(ts_delta(close, 6))"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    monkeypatch.setenv("FLEET_BRAIN_CREDENTIALS", str(tmp_path / "credential.txt"))
    yield tmp_path
    logging.getLogger("generator.evaluators").setLevel(logging.NOTSET)  # the command ends with its process


def vary(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    result = CliRunner().invoke(cli, ["vary", "--json", *arguments], prog_name="python3 -m generator")
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


@pytest.mark.slow
def test_variants_of_a_panels_alpha_are_ranked_and_stored_once(home: Path) -> None:
    path = str(panel(home))
    code, rows, errors = vary(EXPRESSION, "--panel", path, "--budget", "12")
    assert (code, len(rows)) == (0, 12)
    assert rows[0]["expression"] == EXPRESSION
    assert rows[0]["parent"] is None
    fitness = [row["fitness"] for row in rows[1:]]
    assert fitness == sorted(fitness, reverse=True)
    assert {row["source"] for row in rows} == {"panel"}
    assert len({(row["digest"], json.dumps(row["settings"])) for row in rows}) == 12
    assert "12 evaluated (panel); each counts as a trial" in errors
    # The same search again finds the same rows, and stores none twice.
    assert vary(EXPRESSION, "--panel", path, "--budget", "12")[1] == rows
    stored = best_alphas(home / "alphas.db", 99)
    assert len(stored) == 12
    assert {(one.expression, one.settings["decay"], one.fitness) for one in stored} == {
        (row["expression"], row["settings"]["decay"], row["fitness"]) for row in rows
    }


def test_a_wrong_expression_is_an_error_with_its_position() -> None:
    code, rows, _ = vary("rank(clse)")
    assert code == 1
    assert rows[0]["error"]["position"] == 5


def test_brain_is_not_asked_about_a_synthetic_panels_choice() -> None:
    result = CliRunner().invoke(cli, ["vary", EXPRESSION, "--brain"])
    assert result.exit_code == 2
    assert "needs a panel of your own" in result.stderr


def test_brain_without_credentials_is_refused_before_the_budget_is_spent(home: Path) -> None:
    result = CliRunner().invoke(
        cli, ["vary", EXPRESSION, "--panel", str(panel(home)), "--budget", "4", "--brain"]
    )
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "BRAIN needs credentials" in str(result.stderr) + str(result.exception)
    assert not (home / "alphas.db").exists()


@pytest.mark.slow
def test_the_best_are_simulated_on_brain_within_the_days_budget(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = home / "credential.txt"
    credentials.write_text(json.dumps(["someone@example.com", "standin"]))
    credentials.chmod(0o600)
    monkeypatch.setenv("FLEET_BRAIN_MAX_SIMULATIONS_PER_DAY", "2")
    with standin_brain(BrainStandinSettings(seconds=0.3, retry_after=0.1)) as brain:
        monkeypatch.setenv("FLEET_BRAIN_URL", brain.url)
        code, rows, errors = vary(EXPRESSION, "--panel", str(panel(home)), "--budget", "12", "--brain")
        taken = brain.world.taken
    assert code == 0
    simulated = [row for row in rows if row["source"] == "brain"]
    better = [row for row in rows if row["source"] == "panel" and (row["fitness"] or 0) > 0]
    assert len(better) >= 3, "the panel has no good variants: choose another expression"
    assert len(taken) == len(simulated) == 2
    assert "the daily budget of BRAIN simulations is used up: 1 variants wait" in errors
    for row in simulated:
        assert row["sharpe"] == figures.sample_figures(row["expression"])["sharpe"]
    sent = {row["expression"] for row in simulated}
    assert sent <= {row["expression"] for row in better[:3]}
