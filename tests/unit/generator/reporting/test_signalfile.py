import json
from pathlib import Path

import pytest

from generator.domain import CallRecord
from generator.reporting.jsonl import SignalFile


def call(number: int, error: str | None = None) -> CallRecord:
    return CallRecord(f"c{number}", 10.0, 11.5, "m:1b", 2, 5, "p", 500 if error else 200, error=error)


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_call_is_one_line_with_the_keys_that_the_monitor_reads(tmp_path: Path) -> None:
    path = tmp_path / "signals.jsonl"
    SignalFile(path).append(call(1, "out of\nmemory"))
    SignalFile(path).append(call(2))
    assert rows(path) == [
        {
            "id": "c1", "started": 10.0, "ended": 11.5, "model": "m:1b", "rung": 2, "switches": 5,
            "status": 500, "error": "out of\nmemory", "rate": None, "version": "", "seconds": 1.5,
        },
        {
            "id": "c2", "started": 10.0, "ended": 11.5, "model": "m:1b", "rung": 2, "switches": 5,
            "status": 200, "error": None, "rate": None, "version": "", "seconds": 1.5,
        },
    ]  # fmt: skip


def test_a_full_file_is_renamed_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "signals.jsonl"
    signals = SignalFile(path, most=300)
    for number in range(6):
        signals.append(call(number))
    old = path.with_name("signals.jsonl.1")
    assert [row["id"] for row in rows(old)] == ["c3", "c4", "c5"]
    assert not path.exists()
    signals.append(call(6))
    assert [row["id"] for row in rows(path)] == ["c6"]


def test_a_row_that_broke_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "signals.jsonl"
    path.write_text('{"id": "half')
    SignalFile(path).append(call(1))
    assert json.loads(path.read_text().splitlines()[1])["id"] == "c1"


def test_an_endless_error_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "signals.jsonl"
    SignalFile(path).append(call(1, "x" * 10**6))
    assert path.stat().st_size < 5000


def test_a_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        SignalFile(tmp_path / "none" / "signals.jsonl").append(call(1))
