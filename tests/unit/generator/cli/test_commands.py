import json

import pytest
from click.testing import CliRunner

from generator.cli.commands import cli
from generator.cli.expression_text import expressions_of


def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="python -m generator")
    return result.exit_code, result.stdout, result.stderr


def test_schema_prints_what_would_be_sent() -> None:
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
    [("check",), ("evaluate",), ("nonsense",), ("schema", "--depth", "0"), ("check", "--nope", "x")],
)
def test_wrong_usage_ends_with_2_and_says_why(arguments: tuple[str, ...]) -> None:
    code, output, error = run(*arguments)
    assert code == 2
    assert output == ""
    assert "Error" in error


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
    assert "Usage: python -m generator" in output


def test_dash_stands_for_the_lines_of_standard_input() -> None:
    assert list(expressions_of(["a", "-", "b"], ["x\n", "  \n", " y \n"])) == ["a", "x", "y", "b"]
