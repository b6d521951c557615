"""The two forms of the log, and the number of the switch on each of its lines."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from fleet.runtime.logging import (
    configure,
    configure_command,
    fields,
    switch_in_log,
    with_command_sentence,
    with_sentence,
)

_log = logging.getLogger("test.forms")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def streams(monkeypatch: pytest.MonkeyPatch, form: str) -> tuple[io.StringIO, io.StringIO]:
    monkeypatch.setenv("FLEET_LOG_FORMAT", form)
    out, err = io.StringIO(), io.StringIO()
    configure(stdout=out, stderr=err)
    return out, err


def test_json_lines_have_the_fields_and_the_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = streams(monkeypatch, "json")
    _log.info("source.away", extra=with_sentence("it is away\x1b", source="x", none=None, time=5, odd={1, 2}))
    row = json.loads(out.getvalue())
    assert row["level"] == "INFO"
    assert row["event"] == "source.away"
    assert row["source"] == "x"
    assert row["time"].endswith("Z")
    assert row["time_"] == 5
    assert "none" not in row
    assert row["sentence"] == "it is away\x1b"
    assert json.loads(err.getvalue())["sentence"] == row["sentence"]
    assert out.getvalue().count("\n") == 1


def test_json_holds_an_exception_on_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = streams(monkeypatch, "json")
    try:
        int("x")
    except ValueError:
        _log.exception("loop.broken")
    assert "ValueError" in json.loads(out.getvalue())["exception"]
    assert not err.getvalue()


def test_text_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = streams(monkeypatch, "")
    _log.info("call.done", extra=fields(a=1))
    assert out.getvalue().endswith("INFO     call.done a=1\n")
    assert not err.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_each_line_within_a_switch_bears_its_number(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    out, _ = streams(monkeypatch, form)
    with switch_in_log(41):
        _log.info("unload.skipped")
        _log.info("generator.up", extra=fields(pid=7, planned=40))
    _log.info("after")
    first, second, after = out.getvalue().splitlines()
    mark = '"planned": 4' if form == "json" else "planned=4"
    assert f"{mark}1" in first
    assert f"{mark}0" in second
    assert "planned" not in after


def test_a_command_prints_the_sentence_that_a_program_only_logs_as_fields(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = streams(monkeypatch, "")
    extra = with_command_sentence("the state file is damaged\x1b", path="/x")
    _log.error("state.damaged", extra=extra)
    assert out.getvalue().endswith("ERROR    state.damaged path=/x\n")
    assert not err.getvalue()
    configure_command()
    _log.error("state.damaged", extra=extra)
    assert capsys.readouterr().err == "Error: the state file is damaged\\x1b\n"
