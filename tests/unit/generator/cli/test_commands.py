import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fleet.runtime.home import ROOT
from generator.catalogue import from_brain, save
from generator.cli.commands import cli
from generator.cli.expression_text import alphas_in, expressions_of


def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="python3 -m generator")
    return result.exit_code, result.stdout, result.stderr


def test_schema_prints_the_schema_of_a_request() -> None:
    code, output, _ = run("schema", "--depth", "2")
    assert code == 0
    schema = json.loads(output)
    assert schema["required"] == ["expressions"]
    assert "m1" in schema["$defs"]
    assert "m2" not in schema["$defs"]


def test_check_accepts_and_refuses_with_position_and_reason() -> None:
    code, output, _ = run("check", "rank( close )")
    assert (code, output) == (0, "ok: rank(close)\n")
    code, output, _ = run("check", "rank(close)", "ts_mean(close, -3)", "clse")
    assert code == 1
    assert "line 1, column 16 (position 15)" in output
    assert "did you mean close?" in output


def test_check_reads_lines_and_an_expression_that_begins_with_a_minus() -> None:
    code, output, _ = run("check", "--json", "-", stdin="rank(close)\n\n-close\nfoo(\n")
    rows = [json.loads(line) for line in output.splitlines()]
    assert code == 1
    assert [row.get("canonical") for row in rows] == ["rank(close)", "reverse(close)", None]
    assert rows[2]["error"]["position"] == 4
    assert run("check", "--", "-close")[0] == 0


def test_bytes_that_are_no_text_are_refused_and_never_reach_the_terminal() -> None:
    rubbish = b"rank(\xff\xfe)\n\x1b[31mclose\n'\x07'\n" + b"(" * 100_000 + b"\nrank(close)\n"
    result = CliRunner().invoke(cli, ["check", "-"], input=rubbish)
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[-1] == "ok: rank(close)"
    assert [line[:6] for line in lines[::2][:4]] == ["wrong:"] * 4
    assert all(line.isprintable() and len(line) < 600 for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [("check",), ("evaluate",), ("nonsense",), ("schema", "--depth", "0"), ("check", "--nope", "x"),
     ("evaluate", "--truncation", "nan", "close"), ("evaluate", "--truncation", "1.01", "close")],
)  # fmt: skip
def test_wrong_usage_ends_with_2_and_says_why(arguments: tuple[str, ...]) -> None:
    code, output, error = run(*arguments)
    assert code == 2
    assert output == ""
    assert "Error" in error


@pytest.mark.parametrize("command", ["check", "evaluate", "vary"])
@pytest.mark.parametrize("expression", ["-rank(close)", "-close"])
def test_an_expression_that_begins_with_a_sign_is_told_from_an_option(command: str, expression: str) -> None:
    code, _, error = run(command, expression)
    assert code == 2
    assert "must follow `--`" in error
    assert "must follow" not in run(command, "--nope")[2]


def test_a_wrong_setting_ends_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_PANEL_DELAY", "7")
    code, _, error = run("evaluate", "close")
    assert code == 2
    assert "FLEET_PANEL_DELAY" in error
    assert "Hint:" in error


@pytest.mark.parametrize("command", ["run", "schema", "check", "evaluate"])
def test_every_command_has_help(command: str) -> None:
    code, output, _ = run(command, "--help")
    assert code == 0
    assert "Usage: python3 -m generator" in output


def rows(*arguments: str, stdin: str = "") -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("check", "--json", *arguments, stdin=stdin)[1].splitlines()]


@pytest.mark.parametrize(
    ("text", "alphas"),
    [
        ("rank(close)\nrank(open)\n", ["rank(close)", "rank(open)"]),
        ("rank(close);\nrank(open);\n", ["rank(close);", "rank(open);"]),
        ("rank(\n  close\n)\nrank(open)", ["rank(\n  close\n)", "rank(open)"]),
        ("a = rank(close);\nb = rank(open);\na - b;\n\n-close", ["a = rank(close);\nb = rank(open);\na - b;", "-close"]),
        ("a = rank(close);\nb = rank(open);\na - b\nrank(high)",
         ["a = rank(close);\nb = rank(open);\na - b", "rank(high)"]),
        ("a = rank(close)\nb = rank(open)\na - b", ["a = rank(close)\nb = rank(open)\na - b"]),
        ("# a week's move\nrank(-ts_delta(close, 5))\n", ["# a week's move\nrank(-ts_delta(close, 5))"]),
        ("/* two\n\nlines */\nrank(close)", ["/* two\n\nlines */\nrank(close)"]),
        ("rank(close) // price\n// the next\nrank(open)", ["rank(close) // price", "// the next\nrank(open)"]),
        ("// nothing but a comment\n\nrank(close)", ["rank(close)"]),
        ("rank(close)\n  + rank(open)\n  * 2\nrank(high)", ["rank(close)\n  + rank(open)\n  * 2", "rank(high)"]),
        ("rank(close) +\nrank(open)", ["rank(close) +\nrank(open)"]),
        ("close > open ?\n1 :\n-1", ["close > open ?\n1 :\n-1"]),
        ("rank(close)\n-rank(open)", ["rank(close)", "-rank(open)"]),
        ("rank(\n\nrank(open)", ["rank(", "rank(open)"]),
        ("a = rank(close);\n\nrank(open)", ["a = rank(close);", "rank(open)"]),
        ("a = rank(close); a\r\n\r\nrank(open)\r\n", ["a = rank(close); a", "rank(open)"]),
        ("rank(close\nts_mean(close, 5)\nrank(open))\n", ["rank(close", "ts_mean(close, 5)", "rank(open))"]),
        ("rank(\nrank(open)\nclose\n", ["rank(", "rank(open)", "close"]),
        ("rank(close,\nrank(open)\n\nclose", ["rank(close,", "rank(open)", "close"]),
        ("rank(\n  ts_delta(close, 5\n)\nclose", ["rank(\n  ts_delta(close, 5\n)", "close"]),
        ("ts_corr(close\n  open, 5)\nclose", ["ts_corr(close\n  open, 5)", "close"]),
        ("rank(close\nand open)\nclose", ["rank(close\nand open)", "close"]),
        ("/* open\nrank(close)\nrank(open)", ["/* open", "rank(close)", "rank(open)"]),
        ("rank(close)\n;\nrank(open)\n;\n", ["rank(close)", "rank(open)"]),
        ("a = close;\n\nb = open;\n\n# both\nrank(a / b)\n\nclose",
         ["a = close;\n\nb = open;\n\n# both\nrank(a / b)", "close"]),
        ("a = close;\n\n# next\nrank(open)", ["a = close;\n\n# next", "rank(open)"]),
        ("a = close\n\nrank(open)", ["a = close", "rank(open)"]),
    ],
)  # fmt: skip
def test_an_alpha_may_take_several_lines(text: str, alphas: list[str]) -> None:
    assert list(expressions_of(["-"], text.splitlines(keepends=True))) == alphas


@pytest.mark.parametrize("command", ["check", "evaluate"])
@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but a comment\n", ";\n"])
def test_input_without_an_expression_is_refused(tmp_path: Path, command: str, text: str) -> None:
    code, output, error = run(command, "--json", "-", stdin=text)
    assert (code, output) == (2, "")
    assert "There is no expression in standard input." in error
    (tmp_path / "mine.txt").write_text(text)
    code, output, error = run(command, "--file", str(tmp_path / "mine.txt"))
    assert (code, output) == (2, "")
    assert "There is no expression in" in error
    assert "mine.txt." in error
    assert run("check", "-", "rank(close)", stdin=text)[0] == 0


def test_expressions_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "alphas.txt"
    path.write_text("\ufeffa = rank(close);\na - 1\n\n// second\nrank(open);\n", encoding="utf-8")
    found = rows("rank(high)", "--file", str(path))
    assert [row["canonical"] for row in found] == ["rank(high)", "subtract(rank(close), 1)", "rank(open)"]
    code, _, error = run("check", "--file", str(tmp_path / "none.txt"))
    assert code == 1
    assert "none.txt cannot be read" in error


@pytest.mark.parametrize(
    "text", ["a = rank(close)\nb = rank(open)\na - b", "a = rank(close) b = rank(open); a - b"]
)
def test_a_missing_semicolon_is_hinted_at(text: str) -> None:
    [row] = rows(text)
    assert row["error"]["hint"] == "a statement ends with ;"


def test_a_missing_comma_is_no_missing_semicolon() -> None:
    [row] = rows("ts_corr(close\nopen, 5)")
    assert row["error"]["hint"] == ""


def test_check_reads_an_operator_of_some_accounts_and_says_so() -> None:
    code, output, _ = run("check", "group_count(is_nan(close),market)>40 ? close:nan")
    assert code == 0
    assert "note: only some accounts have group_count" in output


def test_check_notes_operators_that_the_backtest_lacks() -> None:
    [row] = rows("inst_pnl(close)")
    assert row["notes"][-1] == "BRAIN alone evaluates inst_pnl: a backtest on a panel cannot"
    assert "notes" not in rows("rank(close) + ts_step(1)")[0]


def test_check_notes_what_brain_would_refuse() -> None:
    many = "+".join(f"rank(ts_delta(close, {days}))" for days in range(1, 31))
    _, output, _ = run("check", many)
    assert "note: BRAIN takes at most 64 operators, and this has 89" in output
    [row] = rows(many)
    assert row["notes"] == ["BRAIN takes at most 64 operators, and this has 89"]
    [row] = rows("winsorize(close, 4) + hump(close, hump=0.1)")
    assert row["notes"] == ["BRAIN takes optional arguments by name only: see winsorize"]
    assert "notes" not in rows("rank(close)")[0]


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home with saved lists of an account."""
    fields = [{"id": name, "type": "MATRIX"} for name in ("est_eps", "close")]
    fields.append({"id": "industry", "type": "GROUP"})
    operators = [
        {"name": "group_rank", "definition": "group_rank(x, group)"},
        {"name": "ts_rank", "definition": "ts_rank(x, d, constant = 0)"},
        {"name": "divide", "definition": "divide(x, y), x / y"},
        {"name": "ts_new", "definition": "ts_new(x, d)"},
    ]
    save(from_brain(operators, fields, date="2026-11-20"), tmp_path / "catalogue-USA-D1-TOP3000.json")
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    return tmp_path


def test_the_accounts_own_lists_are_used(listed: Path) -> None:
    code, output, error = run("check", "group_rank(ts_rank(est_eps/close, 60),industry)", "ts_new(close, 5)")
    assert (code, output.count("ok: ")) == (0, 2)
    assert "Lists: your account's of 2026-11-20" in error
    code, output, _ = run("check", "rank(close)")
    assert code == 1
    _, output, error = run("schema")
    assert "est_eps" in output
    assert "2026-11-20" in error


def test_bundled_lists_are_used_and_reported_without_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    _, _, error = run("check", "rank(close)")
    assert "Lists: bundled, of 2026-08-04" in error


@pytest.mark.parametrize(
    ("name", "why"),
    [("catalogue-USA-D1-TOP3000.json", "cannot be read"), ("catalogue-GLB-D1-TOP3000.json", "there is no")],
)
def test_unusable_lists_are_reported(
    name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    (tmp_path / name).write_text("{")
    code, _, error = run("check", "rank(close)")
    assert code == 0
    assert why in error


def test_evaluate_hints_at_fields_that_only_the_account_has(listed: Path) -> None:
    code, output, error = run("evaluate", "ts_rank(close, 5)", "ts_rank(est_eps, 5)", "rank(close)")
    assert code == 1
    assert output.startswith("ts_rank(close, 5) (synthetic panel)")
    assert "your account has it on BRAIN, this panel does not" in output
    assert "unknown operator 'rank'" in output
    assert "Lists: your account's" in error


def test_dash_stands_for_the_lines_of_standard_input() -> None:
    assert list(expressions_of(["a", "-", "b"], ["x\n", "  \n", " y \n"])) == ["a", "x", "y", "b"]


def test_help_and_evaluation_wait_for_no_client_or_database() -> None:
    script = (
        "import sys, generator.cli.commands, generator.cli.evaluate\n"
        "heavy = {'requests', 'http.client', 'sqlalchemy', 'numpy', 'numba', 'docker'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_comment_that_is_never_closed_hides_no_line_of_many() -> None:
    """Such a text took longer than a test may: each line read those before it once more."""
    lines = ["rank(close)\n"] * 30_000
    assert len(list(alphas_in(["/* x\n", *lines]))) == 30_001
    assert list(alphas_in(["/* x\n", *lines, "*/ close\n", "open\n"]))[1:] == ["open"]


def test_assignments_without_an_end_are_cut_after_many_lines() -> None:
    """Each line reads those before it once more: 60 000 lines took two minutes."""
    parts = list(alphas_in(["a = close;\n", "\n"] * 1000))
    assert len(parts) > 1
    assert sum(part.count("a = close;") for part in parts) == 1000
