"""What stands before a line and around it: every wrapping leaves the line's meaning and gives its stamp."""

import json
from pathlib import Path

import pytest

from monitor.detection.line_parser import parse_line
from monitor.detection.prefixes import strip
from monitor.detection.timestamps import StampMemory, resolve
from tests.reference.ollama_log import DETECTOR, OURS, T0, gin, slog
from tests.reference.wrappings import UNDATED, WRAPPINGS

DATA = Path(__file__).parents[3] / "data" / "corpus" / "lines.jsonl"
CORPUS = [str(json.loads(row)["line"]) for row in DATA.read_text("utf-8").splitlines()]
LINES = (
    slog(T0, "Load failed", f'model=/x/{OURS} error="CUDA error: out of memory"'),
    slog(T0, "Listening on 127.0.0.1:11434 (version 0.33.0)"),
    gin(T0, 500, 1.5),
    "2023/10/11 15:40:01 routes.go:572: Listening on 127.0.0.1:11434 (version 0.1.3)",
    "CUDA error: out of memory",
    "  ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 11499136000",
    "[metal::malloc] Attempting to allocate 4294967296 bytes which is greater than the maximum",
    "mlx: [malloc] Unable to allocate 4294967296 bytes.",
    "terminate called after throwing an instance of 'vk::DeviceLostError'",
    "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
    "load_tensors: offloaded 9/33 layers to GPU",
    f"srv    load_model: loading model '/root/.ollama/models/blobs/{OURS}'",
)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_wrapped_line_says_what_the_line_says(wrapping: str) -> None:
    for line in LINES:
        wrapped = WRAPPINGS[wrapping](line, T0)
        bare, read = DETECTOR.read(line), DETECTOR.read(wrapped)
        assert bare.signal or bare.event
        assert (read.signal, read.event) == (bare.signal, bare.event), line
        assert DETECTOR.prefilter.matters(wrapped.encode())


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_wrapped_line_of_the_corpus_has_the_signal_of_the_line(wrapping: str) -> None:
    wrap = WRAPPINGS[wrapping]
    assert [line for line in CORPUS if DETECTOR.detect(wrap(line, T0)) != DETECTOR.detect(line)] == []


@pytest.mark.parametrize("wrapping", sorted(set(WRAPPINGS) - UNDATED))
def test_a_wrapped_line_has_the_time_of_its_wrapping(wrapping: str) -> None:
    """The zone is known, as it is after a first slog line; the server's own stamps are older here."""
    wrap, at = WRAPPINGS[wrapping], T0 + 4000.0
    first = parse_line(wrap(slog(T0, "x"), T0))
    _, memory = resolve(first.own, first.outer, StampMemory())
    for line in LINES:
        parsed = parse_line(wrap(line, at))
        time, _ = resolve(None, parsed.outer, memory)
        assert time == pytest.approx(at, abs=1.0), line


@pytest.mark.parametrize(
    ("prefix", "offset"),
    [
        ("2026-11-23 12:00:00 +0100 ", 3600),
        ("2026-11-23T12:00:00+01 ", 3600),
        ("Mon 2026-11-23 12:00:00 -03 box ollama[9]: ", -3 * 3600),
        ("Mon 2026-11-23 12:00:00 GMT box ollama[9]: ", 0),
        ("Mon 2026-11-23 12:00:00 CET box ollama[9]: ", None),
        ("[2026-11-23 12:00:00] ", None),
        ("[2026-11-23T12:00:00Z]: ", 0),
        ("ollama 2026-11-23T12:00:00+05:30 box ", 19800),
    ],
)
def test_the_zone_of_a_prefix(prefix: str, offset: int | None) -> None:
    bare = strip(prefix + "CUDA error: out of memory")
    assert bare.text.endswith("CUDA error: out of memory")
    assert bare.outer is not None
    assert (bare.outer.offset, bare.outer.zoned) == (offset, offset is not None)


@pytest.mark.parametrize(
    "line",
    [
        "CUDA error: out of memory at 2026-11-23 22:24:52",
        "CUDA error: device[0]: out of memory",
        "CUDA error: out of memory\tcurrent device: 0",
        "[malloc] Unable to allocate 4294967296 bytes.",
        "1073741824 bytes: cudaMalloc failed: out of memory",
        '12:00:00 said "[GIN] 2026/11/23 - 12:00:00 | 500 | 1s | ::1 | POST "/api/chat""',
        'request: {"prompt":"2026-11-23 12:00:00 level=ERROR msg=x"}',
        'http: streamed chunk: {x: [GIN] 2026/11/23 - 12:00:00 | 500 | 1s | ::1 | POST "/api/chat"}',
        "next token: 12:00:00",
    ],
)  # fmt: skip
def test_the_words_of_a_raw_line_are_no_prefix(line: str) -> None:
    assert strip(line).text == line


@pytest.mark.parametrize(
    "record",
    [
        '{"function":"load_model","level":"ERROR","line":3014,"message":"unable to load model","timestamp":1795435200}',
        '{"time":"2026-11-23T12:00:00Z","level":"INFO","msg":"Load failed","error":"out of memory","message":"x"}',
        '{"error":{"message":"CUDA error: out of memory","code":500}}',
        '{"message":[1,2],"timestamp":1}',
        '{"MESSAGE":[300,-1]}',
        '{"MESSAGE":[[72,105]]}',
        '{"message":{"role":"assistant","content":"CUDA error: out of memory"}}',
    ],
)
def test_a_record_is_no_wrapped_line(record: str) -> None:
    assert parse_line(record).fields or not DETECTOR.read(record).signal


@pytest.mark.parametrize(
    "stamp", ["1795435200", "1795435200.5", "1795435200250", "1795435200250000", "1795435200250000000"]
)
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_shippers_time_is_in_seconds_or_parts_of_them(stamp: str, quote: str) -> None:
    outer = parse_line(f'{{"line":"x","ts":{quote}{stamp}{quote}}}').outer
    assert outer is not None
    assert outer.seconds == pytest.approx(1795435200.0, abs=0.6)
