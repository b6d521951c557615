"""Choosing the alphas that add most to each other, and what is shown of one alpha."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

from cli.alphas.details import check_line, detail_lines, tree_lines
from cli.alphas.diverse import choose, diverse_alphas, diverse_lines
from cli.alphas.query import AlphaDetails
from cli.target import any_fleet
from fleet.runtime.home import Home
from generator.storage.read import Filters
from tests.processes.week_of_work import write_week
from tests.reference.random_walks import panel

DAYS = 504


def matrix(seed: int = 1) -> np.ndarray:
    """Return three rows: a good one, nearly the same again, and a worse one of its own."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(0, 1, (2, DAYS))
    unit = (drawn - drawn.mean(axis=1)[:, None]) / drawn.std(axis=1)[:, None]
    good, other = unit[0] + 0.10, unit[1] + 0.07
    return np.stack([good, 3 * good + rng.normal(0, 0.05, DAYS), other])


def test_the_one_that_adds_most_comes_before_a_better_copy() -> None:
    chosen = choose(matrix(), 2)
    assert {one.place for one in chosen} in ({0, 2}, {1, 2})
    assert chosen[1].sharpe > chosen[0].sharpe
    assert all(one.correlation is not None and abs(one.correlation) < 0.3 for one in chosen)


def test_scale_does_not_matter() -> None:
    rows = matrix()
    scaled = rows * np.array([[1.0], [1e-6], [1e6]])
    assert [one.place for one in choose(rows, 3)] == [one.place for one in choose(scaled, 3)]


def test_rows_without_risk_are_never_chosen() -> None:
    rows = np.vstack([np.zeros(DAYS), matrix()])
    assert 0 not in {one.place for one in choose(rows, 10)}
    assert len(choose(rows, 10)) == 3
    assert choose(np.zeros((2, DAYS)), 3) == []


def test_a_single_choice_has_no_correlation() -> None:
    [only] = choose(matrix(), 1)
    assert only.correlation is None
    row = {"id": 7, "sharpe": None, "set_sharpe": 1.5, "correlation": None, "expression": "rank(close)"}
    assert "none" in diverse_lines([row])[1]


@pytest.mark.slow
def test_no_day_after_the_train_days_has_a_say(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    write_week(home, events=1, alphas=6)
    path = panel(tmp_path, days=520)
    fleet = any_fleet(None, {"FLEET_HOME": str(home.path), "FLEET_PANEL_PATH": str(path)})
    before = diverse_alphas(fleet, 4, Filters())
    header, *lines = path.read_text().splitlines()
    days = list(dict.fromkeys(line[:10] for line in lines))
    later = set(days[312:])
    chance = Random(3)
    path.write_text(
        "\n".join([header, *(_replaced(line, chance) if line[:10] in later else line for line in lines)])
    )
    assert len(before) == 4
    assert diverse_alphas(fleet, 4, Filters()) == before


def _replaced(line: str, chance: Random) -> str:
    date, symbol, *_, sector, industry, alone = line.split(",")
    price = f"{chance.uniform(10, 90):.4f}"
    return ",".join([date, symbol, *[price] * 4, "100000.0", sector, industry, alone])


def test_a_tree_has_a_line_for_each_node() -> None:
    assert tree_lines("ts_mean(rank(close), 20)") == ["ts_mean", "  rank", "    close", "  20"]
    assert tree_lines("no such (") == []


ALPHA = {
    "id": 3, "source": "panel", "kept": True, "expression": "rank(close)", "model": "m:1\x1b[2J", "time": 0.0,
    "settings": {"delay": 1}, "sharpe": 1.25, "fitness": None, "checks": [{"name": "LOW_SHARPE", "result": "PASS"}],
    "parents": ["abc"], "origin": "bred", "validation_sharpe": 0.5, "admitted": False, "admission": "too similar",
    "self_correlation": 0.81, "error": None,
}  # fmt: skip


def test_all_about_an_alpha_is_shown_on_safe_lines() -> None:
    call = {"id": "c1", "started": 1.0, "ended": 3.5, "prompt": "one\ntwo\x1b[31m", "reply": None}
    text = "\n".join(detail_lines(AlphaDetails(ALPHA, call, [{"state": "ended", "status": "COMPLETE"}])))
    for said in ("panel", "kept", "parent       abc", "bred", "validation   sharpe 0.5", "too similar", "0.81",
                 "LOW_SHARPE PASS", "tree         rank", "COMPLETE", "2.5 s", "  one", "cleared away"):  # fmt: skip
        assert said in text, said
    assert "fitness" not in text
    assert "\x1b[2J" not in text
    assert "\x1b[31m" not in text
    assert "\n" + " " * 13 + "  close\n" in text


def test_an_alpha_without_a_call_says_so() -> None:
    assert "no model wrote it" in "\n".join(detail_lines(AlphaDetails(ALPHA)))


@pytest.mark.parametrize(
    ("check", "line"),
    [
        ({"name": "A", "result": "FAIL", "value": 1, "limit": 2}, "A FAIL value 1 limit 2"),
        ({"name": "A", "result": "PASS", "value": 0.60300123456}, "A PASS value 0.603"),
        ({}, " "),
    ],
)
def test_a_check_is_one_line(check: dict[str, object], line: str) -> None:
    assert check_line(check) == line
