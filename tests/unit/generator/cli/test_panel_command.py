"""`python3 -m generator panel`, and `evaluate --split`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from generator.cli.commands import cli


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLEET_PANEL_PATH", str(tmp_path / "mine.csv"))
    (tmp_path / "home").mkdir()
    write(tmp_path / "mine.csv", 600)
    return tmp_path / "mine.csv"


def write(path: Path, days: int) -> None:
    rng = np.random.default_rng(1)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (700, 12)), axis=0))
    dates = np.datetime64("2020-01-01") + np.arange(days)
    rows = [f"{day},S{n:02d},{close[place, n]:.4f}" for place, day in enumerate(dates) for n in range(12)]
    path.write_text("\n".join(["date,symbol,close", *rows]) + "\n")


def called(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == code, done.output
    return done.output


def evaluated(*options: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["evaluate", "--json", *options, "rank(close)"])
    [line] = done.stdout.splitlines()
    return json.loads(line)  # type: ignore[no-any-return]


def row(*arguments: str) -> dict[str, object]:
    return json.loads(called("panel", "--json", *arguments))  # type: ignore[no-any-return]


def test_the_split_is_shown_moved_and_kept(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = row()
    assert first["split"] == {
        "validation_from": "2020-12-26", "test_from": "2021-04-25",
        "train": 360, "validation": 120, "test": 120, "stored": False,
    }  # fmt: skip
    assert (
        row("--new-split")["cost"] == "the split is that of the generator's first reading, and costs nothing"
    )
    write(mine, 700)
    kept = row()["split"]
    assert isinstance(kept, dict)
    assert (kept["validation_from"], kept["test"], kept["stored"]) == ("2020-12-26", 220, True)
    text = called("panel", "--new-split")
    assert "60 more days are train days and 80 fewer are test days" in text
    assert "the split is kept in the database" in text
    moved = row()["split"]
    assert isinstance(moved, dict)
    assert (moved["train"], moved["validation"], moved["test"]) == (420, 140, 140)
    monkeypatch.setenv("FLEET_PANEL_TEST_FROM", "2021-06-01")
    assert "the split is kept from the generator's next reading on" in called("panel")
    monkeypatch.delenv("FLEET_PANEL_TEST_FROM")
    write(mine, 550)
    assert "the split is of these days, which the kept one does not fit" in called("panel")


def test_a_split_that_is_configured_or_impossible_is_not_moved(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_PANEL_TEST_FROM", "2021-06-01")
    assert "is set" in called("panel", "--new-split", code=2)
    assert "test: 83 days from 2021-06-01" in called("panel")
    monkeypatch.setenv("FLEET_PANEL_TEST_FROM", "2020-06-01")
    assert "leave a stretch of fewer than 20" in called("panel", code=1)
    monkeypatch.delenv("FLEET_PANEL_TEST_FROM")
    write(mine, 499)
    assert "no split: the panel has 499 days, and a split takes 500" in called("panel")
    assert "a split takes 500" in called("panel", "--new-split", code=1)


def test_evaluate_adds_the_three_stretches_and_stays_on_all_days(mine: Path) -> None:
    plain, split = evaluated(), evaluated("--split")
    assert {name: split[name] for name in plain} == plain
    assert split.keys() - plain.keys() == {"train", "validation", "test"}
    assert [split[name]["days"] for name in ("train", "validation", "test")] == [358, 120, 120]
    assert split["train"].keys() == split["test"].keys()
    assert "\n  validation: sharpe " in called("evaluate", "--split", "rank(close)")
    write(mine, 499)
    assert "no split: the panel has 499 days" in called("evaluate", "--split", "rank(close)")
