import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generator.domain import AlphaFigures, Candidate, Evaluated, Source
from generator.storage.hopeful import HopefulFile, merge, parse_rows

KEYS = [
    "expression",
    "timestamp",
    "alpha_id",
    "fitness",
    "sharpe",
    "turnover",
    "returns",
    "grade",
    "checks",
    "settings",
]


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


def test_a_file_of_no_text_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "hopeful_alphas.json"
    path.write_bytes(b'[{"expression": "\xff"}]')
    assert HopefulFile(path).add([alpha("ours")])
    assert expressions(path) == ["ours"]
    [aside] = tmp_path.glob("hopeful_alphas.json.corrupt-*")
    assert aside.read_bytes() == b'[{"expression": "\xff"}]'


MINE, YOURS = {"expression": "mine", "n": [1, {"expression": "yours"}]}, {"expression": "yours"}


@pytest.mark.parametrize("indent", [None, 2, "\t"])
@pytest.mark.parametrize(
    "rows",
    [
        [],
        [MINE],
        [YOURS],
        [MINE, YOURS, MINE],
        [YOURS, MINE, MINE, "yours", 7, None, YOURS],
        [[], {}, [YOURS], {"expression": None}],
    ],
)
def test_only_rows_of_the_wanted_expressions_become_values(rows: list[Any], indent: Any) -> None:
    text = f" {json.dumps(rows, indent=indent)}\r\n"
    parsed, known = parse_rows(text, {"yours"})
    back: list[Any] = []
    for one in parsed:
        back += json.loads(f"[{text[one]}]") if isinstance(one, slice) else [one]
    assert back == rows
    assert [one for one in parsed if not isinstance(one, slice)] == [one for one in rows if one == YOURS]
    assert known == {str(one.get("expression")) for one in rows if isinstance(one, dict)}


@pytest.mark.parametrize("text", ["", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1]]", "[] 1", "{}", "1"])
def test_a_text_that_is_no_array_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_rows(text, set())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_others_wrote_stays_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "hopeful_alphas.json"
    rows = [{"expression": "yours", "note": "\u00e9\u20ac"}, {"expression": "half", "note": "\ud800"}]
    path.write_bytes(json.dumps(rows, ensure_ascii=False).encode(encoding, "surrogatepass"))
    assert HopefulFile(path).add([alpha("ours"), alpha("yours")])
    assert json.loads(path.read_bytes())[:2] == rows


def test_a_large_file_is_not_parsed_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "hopeful_alphas.json"
    checks = [{"name": f"CHECK_{number}", "value": number} for number in range(20)]
    rows = [{"expression": f"rank({number})", "timestamp": 1, "checks": checks} for number in range(2000)]
    path.write_text(json.dumps(rows, indent=2) + "\n")
    tracemalloc.start()
    try:
        assert HopefulFile(path).add([alpha("rank(7)")])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size, text = path.stat().st_size, path.read_text()
    assert peak < 5 * size
    assert text == json.dumps(json.loads(text), indent=2) + "\n"
    assert [row["timestamp"] for row in json.loads(text)[6:9]] == [1, 1234, 1]


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


PANEL = {"panel": "mine.csv", "decay": 0, "data": "a1", "last_date": "2026-01-02"}


def row(expression: str, time: int, settings: dict[str, object] | None, *, alpha: str | None = None) -> Any:
    found: dict[str, Any] = {"expression": expression, "timestamp": time, "alpha_id": alpha}
    return found if settings is None else {**found, "settings": settings}


def test_the_newest_result_of_an_expression_and_its_settings_stands() -> None:
    old, new = row("close", 5, PANEL), row("close", 6, {**PANEL, "data": "b2", "last_date": "2026-01-05"})
    other = row("close", 7, {**PANEL, "decay": 5})
    assert merge([old], [new]) == [new]
    assert merge([new], [old]) == [new]
    assert merge([old], [other]) == [old, other]
    assert merge([old, other], [new]) == [new, other]
    assert merge([row("close", 5, None)], [new]) == [new]


def test_brains_result_takes_the_place_of_all_results_of_a_panel() -> None:
    first, second = row("close", 5, PANEL), row("close", 6, {**PANEL, "decay": 5})
    brain = row("close", 7, {"region": "USA"}, alpha="a1")
    assert merge([first, "strange", second], [brain]) == [brain, "strange"]
    newer = row("close", 9, {"region": "USA"}, alpha="a2")
    assert merge([brain], [newer]) == [newer]
    elsewhere = row("close", 9, {"region": "EUR"}, alpha="a3")
    assert merge([brain], [elsewhere, row("close", 10, PANEL)]) == [brain, elsewhere]


def test_rows_carry_their_settings(tmp_path: Path) -> None:
    path = tmp_path / "hopeful_alphas.json"
    assert HopefulFile(path).add([replace(alpha("rank(close)"), settings=PANEL)])
    assert [one["settings"] for one in json.loads(path.read_text())] == [PANEL]


def test_a_file_that_nobody_changed_is_not_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hopeful_alphas.json"
    file = HopefulFile(path)
    assert file.add([alpha("first")])
    parsed = json.loads(path.read_text())
    with monkeypatch.context() as patch:
        patch.setattr(HopefulFile, "_read", lambda _: pytest.fail("the file was parsed"))
        assert file.add([alpha("second"), alpha("third")])
        assert file.add([alpha("fourth")])
    rows = json.loads(path.read_text())
    assert [one["expression"] for one in rows] == ["first", "second", "third", "fourth"]
    assert rows[0] == parsed[0]
    assert path.read_text() == json.dumps(rows, indent=2) + "\n"
    assert file.add([replace(alpha("third"), time=9999.0)])
    assert [one["timestamp"] for one in json.loads(path.read_text())] == [1234, 1234, 9999, 1234]


@pytest.mark.parametrize("theirs", ['[{"expression": "mine"}]', "[]", "[\n]\n"])
def test_a_file_that_another_program_wrote_is_read_before_the_next_write(tmp_path: Path, theirs: str) -> None:
    path = tmp_path / "hopeful_alphas.json"
    file = HopefulFile(path)
    assert file.add([alpha("first")])
    path.write_text(theirs)
    assert file.add([alpha("second")])
    path.write_text(theirs)
    assert file.add([alpha("third")])
    assert expressions(path) == [*(["mine"] if "mine" in theirs else []), "third"]
