"""Wordings of events: a load begins or ends, a runner dies, a request ends, the server names its hardware."""

from fleet.memory_errors.causes import LogEventKind
from fleet.memory_errors.table.rows import EventPattern, event

_FROM = r"^(?:[\w./-]{1,80}\.go:\d{1,5}: )?"
MODEL = r"(?P<model>sha256[-:][0-9a-f]{8,64})"

EVENTS: tuple[EventPattern, ...] = (
    event(
        "server-started",
        _FROM + r"Listening on .{0,200}(?:version|:\d)",
        ("Listening on",),
        LogEventKind.SERVER_STARTED,
        example='time=2026-11-23T22:22:41.776Z level=INFO source=routes.go:2008 msg="Listening on 127.0.0.1:11434 '
        '(version 0.33.0)"',
    ),
    event(
        "gpu",
        r"^inference compute$",
        ("inference compute",),
        LogEventKind.GPU,
        versions="0.1.3x -",
        example='time=2026-11-23T22:22:42.331Z level=INFO source=types.go:32 msg="inference compute" id=0 '
        'library=CUDA name=CUDA0 description="NVIDIA GeForce RTX 3060" total="12.0 GiB"',
    ),
    event(
        "load-begun",
        _FROM + r"starting (?:llama[- ]server|(?:llama |ollama |mlx )?runner|MLX runner)\b",
        ("starting llama", "starting runner", "starting ollama runner", "starting mlx", "starting MLX"),
        LogEventKind.LOAD_BEGUN,
        example='time=2026-11-23T22:22:47.941Z level=INFO source=llama_server.go:433 msg="starting llama-server" '
        'cmd="/usr/lib/ollama/llama-server --model /root/.ollama/models/blobs/sha256-bc9803a56628 --port 36875"',
    ),
    event(
        "load-via",
        r"^loading model via llama-server",
        ("loading model via",),
        LogEventKind.LOAD_SEEN,
        versions="0.30.0 -",
        example='time=2026-11-23T22:22:47.942Z level=INFO source=llama_server.go:1048 msg="loading model via '
        'llama-server" model=/root/.ollama/models/blobs/sha256-bc9803a56628',
    ),
    event(
        "load-seen",
        r"llama_model_loader: loaded meta data .{0,200}from .{0,1000}?" + MODEL,
        ("loaded meta data",),
        LogEventKind.LOAD_SEEN,
        example="llama_model_loader: loaded meta data with 20 key-value pairs and 75 tensors from "
        "/root/.ollama/models/blobs/sha256-bc9803a56628 (version GGUF V3 (latest))",
    ),
    event(
        "load-runner",
        r"load_model: loading model '.{0,1000}?" + MODEL,
        ("load_model: loading model",),
        LogEventKind.LOAD_SEEN,
        versions="0.30.0 -",
        example="srv    load_model: loading model '/root/.ollama/models/blobs/sha256-bc9803a56628'",
    ),
    event(
        "load-layers",
        r"^loading model$",
        ('msg="loading model"',),
        LogEventKind.LOAD_SEEN,
        versions="0.11.5 - 0.24.0",
        example="time=2025-12-02T17:06:40.450-05:00 level=INFO source=server.go:702 "
        'msg="loading model" "model layers"=41 requested=-1',
    ),
    event(
        "load-tried",
        r"^load$",
        ("msg=load request",),
        LogEventKind.LOAD_TRIED,
        versions="0.11.5 - 0.24.0",
        example="time=2025-12-02T17:06:47.184-05:00 level=INFO source=runner.go:1271 msg=load "
        'request="{Operation:alloc LoraPath:[] Parallel:1}"',
    ),
    event(
        "load-waited-for",
        r"^waiting for (?:server|llama-server) to become available$",
        ('"llm server loading model"',),
        LogEventKind.LOAD_TRIED,
        versions="0.1.33 -",
        example='time=2025-02-21T01:41:00.476Z level=INFO source=server.go:591 msg="waiting for server to become '
        'available" status="llm server loading model"',
    ),
    event(
        "layers-asked",
        r"^offload(?: to \w{1,20})?$",
        ("msg=offload", "offload to "),
        LogEventKind.LAYERS_ASKED,
        versions="0.1.3x - 0.12.10",
        example='time=2025-01-17T16:39:27.986Z level=INFO source=memory.go:356 msg="offload to cuda" '
        "layers.requested=1 layers.model=33 layers.offload=1",
    ),
    event(
        "gpu-failed",
        r"ggml_\w{1,20}_init: failed to initialize (?:CUDA|ROCm|HIP|MUSA): (?!no \w{1,10}-capable)",
        ("failed to initialize ",),
        LogEventKind.GPU_FAILED,
        example="ggml_cuda_init: failed to initialize CUDA: forward compatibility was attempted on non supported HW",
    ),
    event(
        "load-ok",
        _FROM
        + r"(?:(?:llama runner|llama-server|mlx runner) started in|mlx runner is ready|Starting llama main loop)",
        ("started in", "Starting llama main loop", "mlx runner is ready"),
        LogEventKind.LOAD_OK,
        example='time=2026-11-23T22:22:57.250Z level=INFO source=llama_server.go:1362 msg="llama-server started '
        'in 9.31 seconds"',
    ),
    event(
        "load-failed",
        r"^Load failed$",
        ("Load failed",),
        LogEventKind.LOAD_FAILED,
        versions="0.11.5 -",
        example='time=2026-11-23T22:24:52.505Z level=INFO source=sched.go:641 msg="Load failed" '
        'model=/root/.ollama/models/blobs/sha256-bc9803a56628 error="exit status 1"',
    ),
    event(
        "load-failed-final",
        r"^(?:error loading llama server|NewLlamaServer failed|failed to create server)",
        ("error loading llama server", "NewLlamaServer failed", "failed to create server"),
        LogEventKind.LOAD_FAILED,
        final=True,
        example="time=2025-04-29T12:31:28.521+02:00 level=ERROR source=sched.go:457 "
        'msg="error loading llama server" error="exit status 2"',
    ),
    event(
        "load-retried",
        r"load failed; .{0,80}retrying|evicting all other loaded models for|GPU offload; retrying"
        r"|evicting residents and retrying|^model layout did not fit|than is currently available, evicting",
        (
            "retrying",
            "evicting all other loaded models",
            "model layout did not fit",
            "memory than is currently available",
        ),
        LogEventKind.LOAD_RETRIED,
        versions="0.11.5 -",
        example='time=2026-08-01T07:02:19.993Z level=WARN source=sched.go:667 msg="llama-server load failed; '
        'evicting all other models and retrying once"',
    ),
    event(
        "load-given-up",
        r"(?:failed to load|exception loading) model\b",
        ("failed to load model", "exception loading model"),
        LogEventKind.RUNNER_GONE,
        final=True,
        example="llama_load_model_from_file: failed to load model",
    ),
    event(
        "runner-gone",
        r"llama(?: runner|-server) terminated|process no longer running|\bterminate called (?:after|without|recursively)",
        ("runner terminated", "server terminated", "no longer running", "terminate called"),
        LogEventKind.RUNNER_GONE,
        example='time=2026-11-23T22:24:52.346Z level=ERROR source=llama_server.go:1023 msg="llama-server terminated" '
        'error="exit status 1" exit=1',
    ),
    event(
        "all-on-gpu",
        r"offloaded (?P<part>\d{1,5})/(?P<whole>\d{1,5}) layers to GPU",
        ("offloaded ",),
        LogEventKind.ALL_ON_GPU,
        example="load_tensors: offloaded 9/9 layers to GPU",
    ),
    event(
        "prompt-read",
        r"prompt processing\b.{0,80}?progress = {0,4}[0-9.]{1,8}|^Prompt processing progress$",
        ("prompt processing", "Prompt processing progress"),
        LogEventKind.PROMPT_READ,
        example="slot print_timing: id  0 | task 0 | prompt processing, n_tokens =     70, progress = 0.95, "
        "t =  38.22 s / 1.83 tokens per second",
    ),
)

REQUEST_NEEDLES: tuple[str, ...] = ('"/api/generate"', '"/api/chat"', '"/api/embed', '"/v1/')
"""Literals of an access-log line of an inference request; other requests bound nothing."""

REQUEST_PATHS: tuple[str, ...] = ("/api/generate", "/api/chat", "/api/embed", "/v1/")
