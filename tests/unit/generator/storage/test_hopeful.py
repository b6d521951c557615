import json
from pathlib import Path

import pytest

from generator.domain import AlphaFigures, Candidate, Evaluated, Source
from generator.storage.hopeful import HopefulFile, merge

KEYS = ["expression", "timestamp", "alpha_id", "fitness", "sharpe", "turnover", "returns", "grade", "checks"]


def alpha(expression: str) -> Evaluated:
    performance = AlphaFigures(
        sharpe=1.6, turnover=0.2, fitness=1.1, returns=0.1, drawdown=0.05, margin=0.001,
        long_count=100.0, short_count=99.5, days=504,
        checks=[{"name": "LOW_SHARPE", "result": "PASS", "limit": 1.25, "value": 1.6}],
    )  # fmt: skip
    candidate = Candidate(expression, expression, expression)
    return Evaluated(candidate, Source.PANEL, {}, performance, kept=True, time=1234.9)


def expressions(path: Path) -> list[str]:
    return [row["expression"] for row in json.loads(path.read_text())]


def test_rows_have_the_originals_form(tmp_path: Path) -> None:
    path = tmp_path / "hopeful_alphas.json"
    assert HopefulFile(path).add([alpha("rank(close)")])
    [row] = json.loads(path.read_text())
    assert list(row) == KEYS
    assert row["timestamp"] == 1234
    assert row["alpha_id"] is None
    assert row["checks"][0]["result"] == "PASS"


def test_what_others_wrote_stays_and_what_they_deleted_stays_away(tmp_path: Path) -> None:
    path = tmp_path / "hopeful_alphas.json"
    file = HopefulFile(path)
    path.write_text(json.dumps([{"expression": "theirs", "more": 1}, "strange"]))
    assert file.add([alpha("ours"), alpha("theirs")])
    rows = json.loads(path.read_text())
    assert rows[:2] == [{"expression": "theirs", "more": 1}, "strange"]
    assert rows[2]["expression"] == "ours"
    path.write_text("[]")
    assert file.add([alpha("next")])
    assert expressions(path) == ["next"]


@pytest.mark.parametrize("damage", ["", "{", "{}", "null", "\x00", "[" * 50_000])
def test_a_damaged_file_is_set_aside_and_never_lost(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "hopeful_alphas.json"
    path.write_text(damage)
    assert HopefulFile(path).add([alpha("ours")])
    assert expressions(path) == ["ours"]
    [aside] = tmp_path.glob("hopeful_alphas.json.corrupt-*")
    assert aside.read_text() == damage


def test_a_file_that_cannot_be_written_is_no_disaster(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hopeful_alphas.json").mkdir()
    assert not HopefulFile(tmp_path / "hopeful_alphas.json").add([alpha("ours")])
    assert "hopeful.unwritten" in caplog.text


def test_brains_figures_take_the_place_of_a_panels_and_never_the_other_way_round() -> None:
    panel = {"expression": "rank(close)", "alpha_id": None, "fitness": 1.0}
    brain = {"expression": "rank(close)", "alpha_id": "a1", "fitness": 0.7}
    others = [{"expression": "rank(open)", "mine": True}, "what somebody else put there"]
    assert merge([*others, panel], [brain]) == [*others, brain]
    assert merge([*others, brain], [panel]) == [*others, brain]
    assert merge([brain], [{**brain, "fitness": 9.0}]) == [brain]
    assert merge([], [panel, brain, panel]) == [brain]
