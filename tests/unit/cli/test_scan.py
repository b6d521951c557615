"""`fleet_cli.py scan`, run as a person runs it."""

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.planning.scan import _bar
from fleet_cli import main
from tests.reference.ollama_log import T0, failed_load, gin, loaded, not_recovered

HOUR = 3600.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "ollama.log"


def write(path: Path, lines: Iterable[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return str(path)


def scan(*arguments: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["scan", *arguments], input=data, catch_exceptions=False)


def test_json_has_the_keys_that_were_promised_and_no_others(log: Path) -> None:
    result = scan("--json", write(log, [*failed_load(T0), *not_recovered(T0 + 60)]))
    data = json.loads(result.stdout)
    assert list(data) == ["file", "lines", "signals", "incidents"]
    assert {tuple(signal) for signal in data["signals"]} == {("line", "kind", "cause", "pattern")}
    assert data["incidents"] == [
        {"kind": "hard", "cause": "allocation", "counts": True, "first": 6, "last": 12},
        {"kind": "soft", "cause": "not_recovered", "counts": True, "first": 14, "last": 16},
    ]
    assert result.exit_code == 0


def test_it_says_what_the_policy_would_have_done_and_when(log: Path) -> None:
    result = scan(write(log, [line for n in range(3) for line in failed_load(T0 + 60 * n)]))
    assert "counts, 1 of 3" in result.stdout
    assert "line 38: downgrade to phi3:mini (3 incidents, last of them allocation)" in result.stdout
    assert "2026-11-18 " in result.stdout
    assert "at the end on phi3:mini, count 0 of 3" in result.stdout


def test_failures_far_apart_are_a_row_only_where_nothing_was_answered_between(log: Path) -> None:
    failures = [failed_load(T0 + HOUR * n) for n in range(3)]
    assert "downgrade to phi3:mini" in scan(write(log, chain(*failures))).stdout
    answered = [[*lines, gin(T0 + HOUR * n + 60, 200)] for n, lines in enumerate(failures)]
    assert "downgrade" not in scan(write(log, chain(*answered))).stdout


def test_the_configured_threshold_ladder_and_patterns_are_gone_by(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "fleet.toml"
    config.write_text(
        """
        [policy]
        threshold = 1
        [[ladder]]
        model = "big:8b"
        [[ladder]]
        model = "small:1b"
        [[pattern]]
        pattern = "my driver.*ran out"
        name = "my-driver"
        """
    )
    arguments = ["--config", str(config), "scan", "--explain", write(log, ["my driver has ran out"])]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert "downgrade to small:1b (1 incident, last of them allocation)" in result.stdout
    assert "my-driver" in result.stdout


def test_explain_shows_pattern_what_was_read_and_the_line(log: Path) -> None:
    result = scan("--explain", write(log, failed_load(T0)))
    (row,) = (line for line in result.stdout.splitlines() if "gpu-malloc" in line)
    assert "         6  hard" in row
    assert "[device 0, 1.8 GB]" in row
    assert "cudaMalloc failed" in row


def test_a_healthy_log_says_so_in_one_line(log: Path) -> None:
    result = scan(write(log, loaded(T0)))
    assert result.stdout.splitlines() == [f"{log}: 2 lines, 0 signals, 0 incidents, 0 of them count"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_and_standard_input_are_read(log: Path, pack: type[bytes]) -> None:
    raw = "\n".join(failed_load(T0)).encode()
    log.write_bytes(pack(raw))
    named = json.loads(scan("--json", str(log)).stdout)
    piped = json.loads(scan("--json", "-", data=pack(raw)).stdout)
    assert (named["lines"], piped["file"]) == (13, "-")
    assert named["incidents"] == piped["incidents"] != []


def test_an_unreadable_file_gives_a_hint_and_the_rest_is_read(log: Path, tmp_path: Path) -> None:
    good, cut, packed = write(log, failed_load(T0)), tmp_path / "cut.gz", tmp_path / "log.zst"
    cut.write_bytes(gzip.compress(os.urandom(4000))[:2000])
    packed.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    result = scan(str(tmp_path / "none"), str(tmp_path), str(cut), str(packed), good)
    assert result.exit_code == 1
    assert f"{good}: 13 lines" in result.stdout
    for said in (
        "none cannot be read",
        "Name the log files in it",
        "decompress the readable part",
        "zstd -dc",
    ):
        assert said in result.stderr
    assert result.stderr.count("Hint: ") == 4


def test_no_file_is_a_usage_error() -> None:
    assert scan().exit_code == 2


def test_the_bar_shows_only_for_large_files_and_goes_away() -> None:
    shown: list[str] = []
    show = _bar("big.log", shown.append)
    show(5, 10)
    assert not shown
    show(50 << 20, 100 << 20)
    show(100 << 20, 100 << 20)
    assert "big.log [###############---------------]  50% of 100 MB" in shown[0]
    assert shown[1] == ""
