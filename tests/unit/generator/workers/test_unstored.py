"""Calls that wait in a file for the next start."""

from dataclasses import replace
from pathlib import Path

import pytest

from generator.domain import CallRecord
from generator.workers.unstored import UnstoredCalls

CALL = CallRecord("c1", 1.0, 2.5, "m", 0, 3, "prompt", 200, reply="rank(close)", prompt_tokens=9, rate=1.5)


def test_calls_come_back_as_they_were(tmp_path: Path) -> None:
    file = UnstoredCalls(tmp_path / "unstored.json")
    failed = replace(CALL, id="c2", status=0, error="the answer broke off", reply="")
    assert file.keep([CALL])
    assert file.keep([failed, CALL])
    assert file.read() == [CALL, failed]
    file.clear()
    assert file.read() == ()
    file.clear()


def test_without_calls_there_is_no_file(tmp_path: Path) -> None:
    assert UnstoredCalls(tmp_path / "unstored.json").keep([])
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not UnstoredCalls(tmp_path / "none" / "unstored.json").keep([CALL])
    assert "intake.unkept" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[", "null", "[1]", "[{}, []]", '[{"id": 5}]', '[{"id": "x", "started": "soon"}]', "[" * 9999,
     '[{"id": "x", "prompt_tokens": []}]', '[{"id": "x", "ended": true}]', '[{"id": "x", "rung": 1e999}]'],
)  # fmt: skip
def test_what_cannot_be_read_is_left_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "unstored.json"
    path.write_text(text)
    file = UnstoredCalls(path)
    assert [call.id for call in file.read() if call.id] == []
    assert file.keep([CALL])
    assert CALL in file.read()
