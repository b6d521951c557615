import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from monitor.incidents import GroupingRules
from monitor.scan.scan import ScanReport, first_stamps, scan_file, scan_stream
from tests.reference.ollama_log import DETECTOR, T0, begins, failed_load, gin, loaded, not_recovered, scan

CORPUS = Path(__file__).parents[3] / "data" / "corpus"
EPISODES = [json.loads(line) for line in (CORPUS / "episodes.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("episode", EPISODES, ids=lambda episode: episode["id"])
def test_an_episode_is_as_many_incidents_of_its_kind_as_it_says(episode: dict[str, Any]) -> None:
    report = scan(episode["lines"])
    assert len(report.incidents) == episode["incidents"]
    assert {incident.kind.value for incident in report.incidents} <= {episode["label"]}
    kinds = {found.line: found.signal.kind.value for found in report.signals}
    for number, label in enumerate(episode["line_labels"], start=1):
        assert label == "ambiguous" or kinds.get(number, "none") == label


@pytest.mark.parametrize("episode", EPISODES, ids=lambda episode: episode["id"])
def test_a_last_line_without_its_end_changes_nothing(episode: dict[str, Any]) -> None:
    whole = "".join(f"{line}\n" for line in episode["lines"]).encode()
    cut = scan_stream(io.BytesIO(whole[:-1]), "log", GroupingRules(), DETECTOR)
    assert cut.to_json() == scan_stream(io.BytesIO(whole), "log", GroupingRules(), DETECTOR).to_json()


def test_whole_logs_of_a_real_server() -> None:
    healthy = scan_file(str(CORPUS / "log-healthy.txt"), GroupingRules(), DETECTOR)
    assert (healthy.lines, healthy.signals, healthy.incidents) == (261, (), ())
    failed = scan_file(str(CORPUS / "log-out-of-memory.txt"), GroupingRules(), DETECTOR)
    assert failed.to_json()["incidents"] == [
        {"kind": "hard", "cause": "allocation", "counts": True, "first": 119, "last": 129}
    ]


def test_logs_one_after_another_keep_their_incidents() -> None:
    text = "".join(
        (CORPUS / f"log-{name}.txt").read_text("utf-8") for name in ("out-of-memory", "healthy") * 3
    )
    report = scan_stream(io.BytesIO(text.encode()), "log", GroupingRules(), DETECTOR)
    assert [incident.first_line for incident in report.incidents] == [119, 119 + 391, 119 + 782]


def test_the_json_form() -> None:
    report = scan([*failed_load(T0), *not_recovered(T0 + 60)])
    data = report.to_json()
    assert set(data) == {"file", "lines", "signals", "incidents"}
    assert data["lines"] == 16
    assert data["signals"][0] == {"line": 6, "kind": "hard", "cause": "allocation", "pattern": "gpu-malloc"}
    assert json.loads(json.dumps(data)) == data


@pytest.mark.parametrize("packed", [False, True])
def test_plain_and_gzip_files_are_read_with_progress(tmp_path: Path, packed: bool) -> None:
    raw = ("\n".join(failed_load(T0) * 3) + "\n").encode()
    path = tmp_path / "log"
    path.write_bytes(gzip.compress(raw) if packed else raw)
    seen: list[tuple[int, int | None]] = []
    report = scan_file(
        str(path), GroupingRules(), DETECTOR, progress=lambda done, size: seen.append((done, size))
    )
    assert len(report.incidents) == 3
    assert report.lines == 39
    assert seen[-1] == (path.stat().st_size,) * 2


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        *[(f"utf-16-{order}", mark) for order in ("le", "be") for mark in (True, False)],
        ("utf-32-le", True),
        ("utf-32-be", True),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_log_in_utf_16_or_32_is_read_as_powershell_writes_it(
    tmp_path: Path, encoding: str, mark: bool, packed: bool
) -> None:
    text = "\r\n".join([*failed_load(T0), "日本 \U0001f999"] * 3) + "\r\n"
    raw = (("\ufeff" if mark else "") + text).encode(encoding)
    path = tmp_path / "log"
    path.write_bytes(gzip.compress(raw) if packed else raw)
    report = scan_file(str(path), GroupingRules(), DETECTOR)
    assert (report.lines, len(report.incidents)) == (42, 3)
    assert report.signals == scan_stream(io.BytesIO(text.encode()), "log", GroupingRules(), DETECTOR).signals


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO("\n".join(failed_load(T0)).encode()))  # type: ignore[arg-type]

    monkeypatch.setattr("sys.stdin", Stdin())
    report = scan_file("-", GroupingRules(), DETECTOR)
    assert (report.file, report.lines, len(report.incidents)) == ("-", 13, 1)


def test_a_file_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        scan_file("no/such/file", GroupingRules(), DETECTOR)


class Drip(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read(self, _: int | None = -1) -> bytes:
        return super().read(self._size)


def results(report: ScanReport) -> object:
    return report.to_json(), report.incidents


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_any_chunking_gives_the_same(size: int) -> None:
    lines = [
        *failed_load(T0),
        *begins(T0 + 9),
        *loaded(T0 + 10),
        gin(T0 + 11, 200, 2.1),
        *not_recovered(T0 + 60),
    ]
    data = "\n".join(lines).encode()
    whole = scan_stream(io.BytesIO(data), "log", GroupingRules(), DETECTOR)
    assert results(scan_stream(Drip(data, size), "log", GroupingRules(), DETECTOR)) == results(whole)


def test_bytes_that_are_no_text_and_endless_lines_are_taken() -> None:
    data = (
        b"\xff\xfe\x00" * 1000
        + b"CUDA error: out of memory\n"
        + b"x" * (5 << 20)
        + b"\nCUDA error: out of memory\n"
    )
    report = scan_stream(io.BytesIO(data), "log", GroupingRules(), DETECTOR)
    assert report.lines == 3
    assert [found.line for found in report.signals] == [1, 3]


def test_lines_before_the_first_full_stamp_get_its_year_and_zone() -> None:
    first = (
        "Apr 17 01:25:10 host ollama[561]: ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 12"
    )
    second = "time=2024-04-17T01:25:11.819+04:00 level=ERROR source=routes.go:120 "
    second += 'msg="error loading llama server" error="cudaMalloc failed: out of memory"'
    lines = [first, f"Apr 17 01:25:11 host ollama[561]: {second}"]
    memory = first_stamps("\n".join(lines).encode())
    assert (memory.server_zone, memory.prefix_zone) == (14400, 14400)
    (incident,) = scan(lines).incidents
    assert incident.last - incident.first < 2
