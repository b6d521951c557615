"""`python -m generator evaluate` on the made-up panel, with the real engine."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fleet.settings import PanelSettings
from generator.evaluators.local import SYNTHETIC_FIELDS, LocalPlan, panel_fields
from generator.records import Candidate, Source
from tests.mining import ROOT

KEYS = [
    "expression", "settings", "source", "sharpe", "turnover", "fitness", "returns", "drawdown", "margin",
    "long_count", "short_count", "days", "checks",
]  # fmt: skip


def evaluate(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "generator", "evaluate", *arguments]
    return subprocess.run(
        command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=110, check=False
    )


def test_figures_come_in_order_one_object_a_line_and_errors_in_their_place() -> None:
    done = evaluate("--json", "--delay", "0", "--decay", "4", "rank(close)", "clse", "-", stdin="-returns\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    assert [row["expression"] for row in rows] == ["rank(close)", "clse", "-returns"]
    assert list(rows[0]) == list(rows[2]) == KEYS
    assert list(rows[1]) == ["expression", "error"]
    assert rows[1]["error"]["position"] == 0
    assert "unknown field" in rows[1]["error"]["reason"]
    assert rows[0]["source"] == "synthetic"
    assert rows[0]["settings"]["delay"] == 0
    assert rows[0]["settings"]["decay"] == 4


def test_values_are_the_expressions_own_matrices(tmp_path: Path) -> None:
    path = tmp_path / "values.npz"
    done = evaluate("--values", str(path), "close", "wrong(", "close * 2", "--neutralization", "none")
    assert done.returncode == 1
    with np.load(path) as arrays:
        assert set(arrays) == {"values_0", "values_2", "dates", "symbols"}
        assert arrays["values_0"].shape == (len(arrays["dates"]), len(arrays["symbols"]))
        assert arrays["values_0"].dtype == np.float64
        np.testing.assert_array_equal(arrays["values_2"], 2 * arrays["values_0"])
        assert list(arrays["dates"]) == sorted(arrays["dates"])
        assert list(arrays["symbols"]) == sorted(arrays["symbols"])


def test_for_a_person_it_says_that_the_panel_is_made_up() -> None:
    done = evaluate("--", "-returns")
    assert done.returncode == 0, done.stderr
    assert "(synthetic panel)" in done.stdout
    assert "sharpe" in done.stdout


def test_the_made_up_panel_has_what_prompts_offer_before_it_is_made() -> None:
    evaluator = LocalPlan(PanelSettings(), Source.SYNTHETIC).load()
    assert evaluator.fields == SYNTHETIC_FIELDS == panel_fields(evaluator._panel)
    evaluator.close()


def test_a_batch_keeps_its_order_with_faults_in_their_place() -> None:
    evaluator = LocalPlan(PanelSettings(), Source.SYNTHETIC).load()
    good, bad = Candidate("a", "rank(close)", "x"), Candidate("b", "gone_field", "x")
    for batch in ([bad], [good, bad][: evaluator.free + 1]):
        evaluator.submit(batch[: evaluator.free])
        for candidate, result in evaluator.results(0.0):
            assert hasattr(result, "sharpe") == (candidate is good)
    evaluator.close()


@pytest.mark.parametrize("arguments", [("--decay", "900"), ("--truncation", "2"), ("--neutralization", "x")])
def test_settings_out_of_bounds_are_usage_errors(arguments: tuple[str, str]) -> None:
    done = evaluate("close", *arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr


def test_values_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    done = evaluate("rank(close)", "--values", str(tmp_path / "none" / "v.npz"))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
