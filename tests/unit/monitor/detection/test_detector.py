import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.memory_errors.causes import LogEventKind
from fleet.memory_errors.judge import judge_error, may_be_retried
from fleet.memory_errors.table.runner import PLAIN
from fleet.memory_errors.table.server import SERVER
from monitor.detection.detector import Detector, detect
from monitor.detection.line_parser import parse_line
from tests.reference.ollama_log import OURS, T0, slog

CORPUS = Path(__file__).parents[3] / "data" / "corpus"
LINES = [json.loads(line) for line in (CORPUS / "lines.jsonl").read_text("utf-8").splitlines()]
DETECTOR = Detector()
EXAMPLES = int(os.environ.get("FLEET_FUZZ", "300"))


@pytest.mark.parametrize("row", LINES, ids=lambda row: f"{row['label']}-{row['source']}")
def test_a_real_line_has_the_kind_that_its_label_says(row: dict[str, str]) -> None:
    signal = detect(row["line"])
    assert (signal.kind.value if signal else "none") == row["label"]
    assert signal is None or list(DETECTOR.candidates(row["line"].encode()))


@pytest.mark.parametrize("line", (CORPUS / "log-healthy.txt").read_text("utf-8").splitlines())
def test_a_healthy_log_is_quiet(line: str) -> None:
    assert detect(line) is None


@pytest.mark.parametrize(
    ("line", "device", "size"),
    [
        ("allocating 16.50 MiB on device 2: cudaMalloc failed: out of memory", "2", 17301504),
        ("alloc_tensor_range: failed to allocate ROCm1 buffer of size 12", "ROCm1", 12),
        ("llama_model_load: error loading model: unable to allocate MTL0 buffer", "MTL0", None),
        ("llama_model_load: error loading model: unable to allocate backend buffer", "", None),
        ("ggml_vulkan: Device memory allocation of size 77 failed.", "", 77),
        ("alloc_tensor_range: failed to allocate CUDA_Host buffer of size 12", "CUDA_Host", 12),
    ],
)
def test_device_and_size_are_read_out(line: str, device: str, size: int | None) -> None:
    signal = detect(line)
    assert signal is not None
    assert (signal.device, signal.size_bytes) == (device, size)


def test_model_error_and_seconds_are_read_out_of_slog() -> None:
    signal = detect(slog(T0, "Load failed", f'model=/m/{OURS} error="a\\nunable to allocate CUDA0 buffer"'))
    assert signal is not None
    assert (signal.model, signal.device) == (OURS, "CUDA0")
    assert signal.error == "a\nunable to allocate CUDA0 buffer"
    signal = detect(
        slog(T0, "gpu VRAM usage didn't recover within timeout", "seconds=5.25 runner.model=/m/x", "WARN")
    )
    assert signal is not None
    assert signal.seconds == 5.25


BUFFERS = [
    (name, kind)
    for kind, names in {
        "hard": (
            "CUDA0",
            "CUDA12",
            "ROCm0",
            "Vulkan1",
            "Metal",
            "MTL0",
            "SYCL0",
            "MUSA0",
            "HIP0",
            "CUDA_Split",
            "CANN3",
        ),
        "sysmem": (
            "CPU",
            "CUDA_Host",
            "ROCm_Host",
            "Vulkan_Host",
            "SYCL_Host",
            "CPU_Mapped",
            "CPU_REPACK",
            "Host",
            "AMX",
        ),
    }.items()
    for name in names
]


@pytest.mark.parametrize(("name", "kind"), BUFFERS)
@pytest.mark.parametrize(
    "text",
    [
        "ggml_gallocr_reserve_n: failed to allocate {} buffer of size 838447104",
        "ggml_gallocr_reserve_n_impl: failed to allocate {} buffer of size 838447104",
        "alloc_tensor_range: failed to allocate {} buffer of size 838447104",
        "llama_model_load: error loading model: unable to allocate {} buffer",
        "  what():  unable to allocate {} buffer",
    ],
)
def test_a_buffers_name_says_whose_memory_it_is(name: str, kind: str, text: str) -> None:
    signal = detect(text.format(name))
    assert signal is not None
    assert signal.kind == kind


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("CUDA error 2 at /go/src/ggml-cuda.cu:7827: out of memory", "hard"),
        ("ROCm error: out of memory", "hard"),
        ("terminate called after throwing an instance of 'vk::OutOfDeviceMemoryError'", "hard"),
        ("terminate called after throwing an instance of 'vk::OutOfHostMemoryError'", "sysmem"),
        ("ROCm error: invalid device function", None),
        ("CUDA error: an illegal memory access was encountered", None),
        ("CUDA error: no kernel image is available for execution on the device", None),
        ("cudaMalloc failed: initialization error", "other"),
        ("CUDA error: the resource allocation failed", "hard"),
        ("mlx: cudaMallocAsync(&data, size, stream) failed: out of memory", "hard"),
        (
            "error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
            "hard",
        ),
        ("llama_kv_cache_unified: failed to allocate buffer for kv cache", "hard"),
        (
            "ggml_backend_sched_alloc_splits: failed to allocate graph, reserving (backend_ids_changed = 1)",
            None,
        ),
        ("decode: failed to find a memory slot for batch of size 512", None),
        ("srv  alloc:  - making room for prompt cache entry", None),
        ("load_tensors: offloaded 0/29 layers to GPU", "soft"),
        ("load_tensors: offloaded 29/29 layers to GPU", None),
        ("runtime: out of memory: cannot allocate 4194304-byte block", "sysmem"),
        ("ollama.service: A process of this unit has been killed by the OOM killer.", "sysmem"),
        ("Error: model requires more system memory (9.4 GiB) than is available (5.3 GiB)", "sysmem"),
        (
            '{"error":"llama-server process has terminated: cudaMalloc failed: out of memory\\nx"}',
            "hard",
        ),
        ('{"error":{"message":"CUDA error: out of memory","type":"api_error"}}', "hard"),
        ('{"error":"model \'x\' not found"}', None),
        ("You asked why CUDA programs fail", None),
        ("panic: unable to load model: /m/sha256-00", None),
        ("SIGABRT: abort", None),
        ("", None),
        ("{" * 60_000, None),
    ],
)
def test_lines_of_runners_and_drivers(line: str, kind: str | None) -> None:
    signal = detect(line)
    assert (signal.kind if signal else None) == kind


@pytest.mark.parametrize(
    ("message", "rest", "level", "kind"),
    [
        ("Load failed", 'error="timed out waiting for llama-server to start"', "INFO", None),
        ("Load failed", 'error="unable to allocate Vulkan0 buffer"', "INFO", "hard"),
        ("Load failed", 'error="mmap failed: Cannot allocate memory"', "INFO", "sysmem"),
        (
            "Load failed",
            'error="failed to allocate compute pp buffers\\nfailed to allocate CPU buffer of size 1"',
            "INFO",
            "sysmem",
        ),
        (
            "Load failed",
            'error="failed to allocate CPU buffer of size 1\\nfailed to allocate CUDA0 buffer of size 1"',
            "INFO",
            "hard",
        ),
        ("Load failed", 'error="allocation failed, retrying without pipeline parallelism"', "INFO", None),
        (
            "failed to create server",
            'error="model requires more system memory (9 GiB) than is available"',
            "INFO",
            "sysmem",
        ),
        ("llama-server terminated", 'error="signal: aborted (core dumped)"', "ERROR", None),
        ("llama-server completion error", 'error="CUDA error: out of memory"', "ERROR", "hard"),
        ("runtime OOM detected; expiring loaded models", 'error="CUDA error: out of memory"', "WARN", "hard"),
        ("runtime OOM detected; expiring loaded models", 'error="std::bad_alloc"', "WARN", "sysmem"),
        ("runtime OOM detected; expiring loaded models", "", "WARN", "hard"),
        (
            "model load failed; evicting all other models and retrying once",
            'error="file is cut"',
            "WARN",
            None,
        ),
        ("disabling multimodal projector offload", "reason=limited-vram", "INFO", "soft"),
        ("disabling multimodal projector offload", "reason=requested", "INFO", None),
        ("offload to cuda", "layers.model=33 layers.offload=33", "INFO", None),
        ("offload", "library=cpu layers.model=33 layers.offload=0", "INFO", None),
        ("offload", "library=rocm layers.model=33 layers.offload=0", "INFO", "soft"),
        (
            "model requires more gpu memory than is currently available, evicting a model",
            '"loaded layers"=9',
            "INFO",
            "soft",
        ),
        (
            "model requires more gpu memory than is currently available, evicting a model",
            '"loaded layers"=0',
            "INFO",
            "soft",
        ),
        (
            "model requires more system memory than is currently available, evicting a model",
            "",
            "INFO",
            "sysmem",
        ),
        ("completion request", 'prompt="CUDA error: out of memory; what now?"', "DEBUG", None),
        ("gpu memory", 'id=0 library=CUDA available="6.5 GiB"', "INFO", None),
        ("system memory", 'total="31.9 GiB"', "INFO", None),
        ("unable to refresh free memory, using old values", "", "WARN", None),
        ("GPU discovery watchdog timed out", "", "WARN", None),
    ],
)
def test_slog_lines_are_judged_by_message_and_error(
    message: str, rest: str, level: str, kind: str | None
) -> None:
    signal = detect(slog(T0, message, rest, level))
    assert (signal.kind if signal else None) == kind


def test_a_scheduler_warning_counts_only_where_it_speaks_of_memory() -> None:
    assert (
        detect(slog(T0, "model architecture does not currently support parallel requests", "", "WARN"))
        is None
    )
    assert detect(slog(T0, "something else is odd", "", "WARN")) is None
    signal = detect(slog(T0, "gpu memory is not what it was", "", "WARN"))
    assert signal is not None
    assert (signal.kind, signal.cause) == ("soft", "not_recovered")
    assert detect(slog(T0, "gpu memory is not what it was", "", "INFO")) is None
    assert detect(slog(T0, "gpu memory is not what it was", "", "WARN", "routes.go:9")) is None


ORIGINAL = [
    "gpu VRAM usage didn't recover within timeout",
    "VRAM usage didn't recover",
    "gpu memory exhausted",
    "CUDA out of memory",
    "GPU memory allocation failed",
    'msg="gpu VRAM usage didn\'t recover within timeout"',
    'level=WARN source=sched.go msg="the memory of the gpu is short"',
]


@pytest.mark.parametrize("phrase", ORIGINAL)
def test_what_the_original_looked_for_is_still_found(phrase: str) -> None:
    assert detect(phrase) is not None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("an error was encountered while running the model: unexpected EOF", None),
        (
            "llama runner process has terminated: cudaMalloc failed: out of memory\nggml_gallocr_reserve_n",
            "hard",
        ),
        ("failed to allocate CUDA0 buffer of size 9\\nx", "hard"),
        ("model runner has unexpectedly stopped, this may be due to resource limitations", None),
        ("radv/amdgpu: Not enough memory for command submission.", "hard"),
        ("", None),
    ],
)
def test_an_api_errors_text_is_classified(error: str, kind: str | None) -> None:
    signal = judge_error(error)
    assert (signal.kind if signal else None) == kind


def test_ollamas_own_phrases_decide_whether_it_tries_again() -> None:
    assert may_be_retried("x cudaMalloc FAILED y")
    assert not may_be_retried("unable to allocate CUDA0 buffer")
    assert DETECTOR.read(slog(T0, "Load failed", 'error="no such file"')).event.final  # type: ignore[union-attr]
    assert not DETECTOR.read(slog(T0, "Load failed", 'error="out of memory"')).event.final  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "wrapped",
    [
        "ollama  | {}",
        "ollama-1  | {}",
        "2026-11-23T22:24:52.254123456Z {}",
        "2025-03-06 23:36:39 {}",
        "Nov 23 22:24:52 host ollama[42]: {}",
        "2026-11-23T22:24:52+0100 host ollama[42]: {}",
        "11月 23 22:24:52 host ollama[42]: {}",
        "févr. 23 22:24:52 host ollama[42]: {}",
        "Okt 23 22:24:52 host ollama[42]: {}",
        "2026-11-23T22:24:52.254123456Z stderr F {}",
        "[pod/ollama-0/ollama] 2026-11-23T22:24:52.254123456Z {}",
        "\x1b[31m{}\x1b[0m",
        "> {}",
        "0.01.181.838 E {}",
        "\u2819 {}",
    ],
)
def test_what_others_put_before_a_line_is_taken_off(wrapped: str) -> None:
    line = "CUDA error: out of memory"
    assert parse_line(wrapped.format(line)).text == line
    assert detect(wrapped.format(line)) == detect(line)


def test_json_logs_are_read() -> None:
    docker = json.dumps(
        {"log": "CUDA error: out of memory\n", "stream": "stderr", "time": "2026-11-23T22:24:52.25Z"}
    )
    parsed = parse_line(docker)
    assert parsed.text == "CUDA error: out of memory"
    assert parsed.outer is not None
    record = {
        "time": "2026-11-23T22:24:52.25Z",
        "level": "INFO",
        "msg": "Load failed",
        "error": "out of memory",
    }
    signal = detect(json.dumps(record))
    assert signal is not None
    assert signal.kind == "hard"


@pytest.mark.parametrize(
    "line",
    [
        slog(T0, "Load failed", f'model=/x/{OURS} error="CUDA error: out of memory"'),
        '[GIN] 2026/11/23 - 22:24:52 | 500 |  406.037554ms |       127.0.0.1 | POST     "/api/chat"',
    ],
)
def test_a_whole_line_in_the_message_of_a_log_shipper_is_read_as_itself(line: str) -> None:
    shipped = json.dumps({"message": f"ollama-1  | {line}", "timestamp": "2026-11-23T22:24:52.25Z"})
    assert list(DETECTOR.candidates(shipped.encode()))
    bare, unwrapped = DETECTOR.read(line), DETECTOR.read(shipped)
    assert (unwrapped.signal, unwrapped.event) == (bare.signal, bare.event)
    assert unwrapped.parsed.outer is not None
    assert bare.signal or bare.event


def test_only_inference_requests_end_anything() -> None:
    gin = '[GIN] 2026/11/23 - 22:24:52 | 500 |  406.037554ms |       127.0.0.1 | POST     "{}"'
    for path in ("/api/generate", "/api/chat", "/api/embed", "/v1/chat/completions"):
        event = DETECTOR.read(gin.format(path)).event
        assert event is not None
        assert (event.kind, event.status, round(event.seconds, 3)) == (LogEventKind.REQUEST_ENDED, 500, 0.406)
    assert DETECTOR.read(gin.format("/api/show")).event is None


# -- anything at all

ODD = [
    *(
        "time=",
        "level=WARN ",
        'msg="',
        '"',
        "\\",
        '\\"',
        "{",
        "[",
        "error=",
        "=",
        " ",
        "\x1b[",
        "CUDA error ",
        "mlx ",
    ),
    *(
        "sha256-",
        "a" * 500,
        "1" * 500,
        '\\"' * 300,
        "[GIN] ",
        "|",
        "offloaded ",
        "/",
        "\u2819",
        "\x00",
        "--model ",
    ),
]
PIECES = [row.example for row in (*PLAIN, *SERVER)] + ODD


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=12).map("".join))
def test_nothing_raises_and_what_is_found_passes_the_prefilter(line: str) -> None:
    line = line.replace("\n", " ")
    reading = DETECTOR.read(line)
    raw = line.encode("utf-8", "replace")
    if reading.signal is not None or reading.event is not None:
        assert list(DETECTOR.candidates(raw))
    judge_error(line)


@pytest.mark.parametrize(
    "piece", [*PIECES, "CUDA error", "failed to allocate ", "mlx", "(", 'x="', "to allocate A", "1h"]
)
def test_a_hostile_line_costs_little(piece: str) -> None:
    DETECTOR.read((piece * (1 + 200_000 // len(piece)))[:200_000])
    DETECTOR.read('time=2026-11-23T22:24:52.254Z level=WARN msg="' + (piece * 100_000)[:100_000])


@given(
    st.lists(
        st.sampled_from([b"noise", b"CUDA error: out of memory", b"", b"\xff\xfe", b"emory"]), max_size=30
    )
)
def test_candidates_are_exactly_the_lines_that_matter(lines: list[bytes]) -> None:
    chunk = b"".join(line + b"\n" for line in lines)
    found = [chunk[start:end] for start, end in DETECTOR.candidates(chunk)]
    assert found == [line for line in lines if DETECTOR.prefilter.matters(line)]
