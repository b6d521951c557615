"""Odd numbers in what the monitor reads: the field is left out, the rest is judged, the state can be written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.clients.gpu import parse_nvidia, parse_rocm
from fleet.config.schema import SEED_LADDER, PolicySettings
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState
from fleet.runtime.errors import FleetError
from fleet.runtime.home import read_json
from fleet.runtime.pause_request import Pause, read_pause
from monitor.ingest import Context, absorb_batch, absorb_time, parse_call
from monitor.sources.base import LogLine
from monitor.sources.docker.dedup import parse_stamp
from monitor.sources.journal.entries import EntryReader, JournalPosition, parse_entry
from state.codec import decode_state, default_state, encode_state
from tests.reference.ollama_log import DETECTOR

NOW = 1_795_000_000.0
RULES = Rules(SEED_LADDER, replace(PolicySettings(), threshold=1000))
OOM = "CUDA error: out of memory"
UNLOAD = 'time=2026-11-23T22:22:41.776Z level=WARN source=sched.go:646 msg="gpu VRAM usage didn\'t recover within timeout"'
GPU = 'time=2026-11-23T22:22:42.331Z level=INFO source=types.go:32 msg="inference compute" id=0 library=CUDA name=CUDA0'
LAYERS = 'time=2025-01-17T16:39:27.986Z level=INFO source=memory.go:356 msg="offload to cuda"'
BROKEN_ENTRIES = ["1e999", "NaN", "null", "9" * 400, "9" * 5000, '"' + "9" * 400 + '"', '"x"']


def absorbed(origin: str, *texts: str, stamp: float | None = None) -> FleetState:
    """Absorb lines and write the state as the monitor does."""
    context = Context(NOW, RULES, DETECTOR)
    state = default_state(SEED_LADDER, NOW)
    state = absorb_batch(state, origin, [LogLine(text, stamp) for text in texts], context)
    state = absorb_time(state, replace(context, now=NOW + 60))
    return decode_state(encode_state(state, NOW))


@pytest.mark.parametrize("seconds", ["NaN", "inf", "1e999", "9" * 5000, "5.0.1", "-", "٣"])
def test_an_unload_of_odd_seconds_is_judged(seconds: str) -> None:
    state = absorbed("log", f"{UNLOAD} seconds={seconds} model=m")
    assert [one.fields["cause"] for one in state.events] == ["not_recovered"]


@pytest.mark.parametrize("total", ["12.0.1 GiB", ". GiB", "9" * 400 + " GiB", "9" * 18 + " TiB", "0 GiB"])
def test_a_gpu_of_odd_memory_is_a_gpu(total: str) -> None:
    good = f'{GPU} description="x" total="8.0 GiB"'
    state = absorbed("log", f'{GPU} description="x" total="{total}"', good, OOM)
    assert state.watch["gpu"] is True
    assert state.watch["gpu_total"] == 8 * 2**30
    assert state.vram_error_count == 1


@pytest.mark.parametrize(
    "line",
    [
        f"{LAYERS} layers.requested=-1 layers.model={'9' * 5000} layers.offload={'8' * 5000}",
        f"{LAYERS} layers.requested=-1 layers.model=² layers.offload=1",
        f"ggml_backend_cuda_buffer_type_alloc_buffer: allocating 32.8.2 MiB on device 0: cudaMalloc failed: {OOM}",
        f'[GIN] 2026/11/23 - 22:24:52 | 500 | {"999999999h" * 3000} | 127.0.0.1 | POST     "/api/generate"',
        "9999-12-31T23:59:59.999999999Z something",
        "0001-01-01T00:00:00+14:00 something",
    ],
    ids=["layers", "superscript", "mebibytes", "duration", "year 9999", "year 1"],
)
def test_a_line_of_odd_numbers_is_taken(line: str) -> None:
    assert absorbed("log", line, OOM).vram_error_count == 1


@pytest.mark.parametrize("time", ["1e308", "NaN", "1e999", "-1", "9" * 400, "9" * 5000, "null", '"9"'])
def test_a_record_of_an_odd_time_counts(time: str) -> None:
    state = absorbed("log", f'{{"time": {time}, "level": "ERROR", "msg": "{OOM}"}}')
    assert state.vram_error_count == 1


@pytest.mark.parametrize("stamp", [-6e10, -1.0, 0.0, 2.5e11, 1e308])
def test_a_line_with_an_odd_stamp_of_its_source_happened_now(stamp: float) -> None:
    assert [one.time for one in absorbed("log", OOM, stamp=stamp).incidents] == [NOW]


def row(**changed: str) -> str:
    """Return a failed call, with values as they stand in the file."""
    values = {
        "id": '"1"', "started": str(NOW - 1), "ended": str(NOW), "model": '"llama3.2:3b"', "switches": "0",
        "status": "500", "error": f'"{OOM}"',
    }  # fmt: skip
    return "{" + ", ".join(f'"{key}": {value}' for key, value in (values | changed).items()) + "}"


@pytest.mark.parametrize("field", ["started", "ended", "switches", "status"])
@pytest.mark.parametrize("value", ["1e999", "NaN", "-Infinity", "1e308", "9" * 400, "9" * 5000, '"x"', "[]"])
def test_a_failed_call_of_an_odd_number_counts(field: str, value: str) -> None:
    assert absorbed("signals", row(**{field: value})).vram_error_count == 1


@pytest.mark.parametrize("model", ["null", "NaN", "1e999", "5", "{}", '["llama3.2:3b"]'])
def test_a_failed_call_without_a_readable_model_counts(model: str) -> None:
    assert absorbed("signals", row(model=model)).vram_error_count == 1


def test_a_call_of_an_unknown_switch_confirms_none_and_one_of_the_future_ends_now() -> None:
    call = parse_call(row(switches="1e999", started="1e999", ended="1e999"), NOW)
    assert (call.switches, call.started, call.ended) == (-1, NOW, NOW)
    assert parse_call(row(started=str(NOW + 9), ended=str(NOW + 5)), NOW).started == NOW
    assert parse_call(row(), NOW).started == NOW - 1


@pytest.mark.parametrize(
    ("given", "read"), [("0.5", 0.5), ("0", 0.0), ("-1", 1.0), ("NaN", 1.0), ('"x"', 1.0)]
)
def test_a_call_took_its_monotonic_seconds_or_else_those_of_the_wall_clock(given: str, read: float) -> None:
    assert parse_call(row(seconds=given), NOW).seconds == read
    assert parse_call(row(), NOW).seconds == 1.0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1e999", '{"id": 1}', "[" * 100_000])
def test_what_is_no_call_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_call(text, NOW)


@pytest.mark.parametrize("depth", range(880, 1000, 7))
def test_a_record_nested_as_deep_as_can_be_read_is_taken(depth: int) -> None:
    assert absorbed("log", f'{{"msg": "x", "a": {"[" * depth}{"]" * depth}}}', OOM).vram_error_count == 1


# Other files and answers


@pytest.mark.parametrize("time", BROKEN_ENTRIES, ids=lambda time: time[:8])
def test_a_journal_entry_of_an_odd_time_is_passed_over(time: str) -> None:
    entry = '{"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": %s, "MESSAGE": "x"}'
    assert parse_entry((entry % time).encode()) is None
    reader = EntryReader(JournalPosition(), lambda chunk: [(0, len(chunk))], past=None)
    content = (entry % time) + "\n" + (entry % '"1795000000000000"') + "\n"
    assert [line.time for line in reader.feed(content.encode())] == [NOW]


@pytest.mark.parametrize(
    "stamp", [b"9999-99-99T00:00:00Z", b"0001-01-01T00:00:00+14:00", b"2026-02-31T00:00:00Z", b"x"]
)
def test_a_stamp_of_docker_raises_nothing(stamp: bytes) -> None:
    assert parse_stamp(stamp) is None or isinstance(parse_stamp(stamp), int)


@pytest.mark.parametrize("number", ["9" * 400, "9" * 5000, "NaN", "1e999"])
def test_a_file_of_the_home_has_no_odd_number(tmp_path: Path, number: str) -> None:
    path = tmp_path / "pause.json"
    path.write_text(f'{{"until": {number}, "heartbeat": {number}, "why": "x"}}')
    assert read_json(path) == {"until": None, "heartbeat": None, "why": "x"}
    assert read_pause(path, NOW) is None
    path.write_text(f'{{"until": {NOW + 5}, "why": "x"}}')
    assert read_pause(path, NOW) == Pause(NOW + 5, "x")
    path.write_text("[" * 100_000)
    assert read_json(path) is None


def test_cards_of_odd_sizes() -> None:
    assert parse_nvidia(f"a, ², 2\nb, {'9' * 400}, 2\nc, 1, 2\n")[0].name == "c"
    for value in ("9" * 400, "9" * 5000, "x", None):
        text = json.dumps({"card0": {"VRAM Total Used Memory (B)": value, "VRAM Total Memory (B)": "2"}})
        with pytest.raises(FleetError):
            parse_rocm(text)
