"""Wordings of Ollama's server about memory in its slog lines; a wording is searched in `msg` only.

Other fields (a prompt, the name of a file) are never searched: a question about memory failures is no failure.
"""

from fleet.memory_errors.causes import Cause, Part, SignalKind
from fleet.memory_errors.table.rows import ErrorUse, FieldCheck, Pattern, PatternScope, signal

_BLOB = "/root/.ollama/models/blobs/sha256-7a3cc480"

SERVER: tuple[Pattern, ...] = (
    signal(
        "not-recovered",
        r"VRAM usage didn't recover",
        ("VRAM usage didn't recover",),
        Cause.NOT_RECOVERED,
        part=Part.UNLOAD,
        scope=PatternScope.ANY,
        versions="0.1.35 - (WARN to 0.12.5, then DEBUG)",
        example="time=2025-01-10T22:05:29.844+08:00 level=WARN source=sched.go:646 msg=\"gpu VRAM usage didn't "
        f'recover within timeout" seconds=5.0158618 model={_BLOB}',
    ),
    signal(
        "runtime-oom",
        r"runtime OOM detected",
        ("runtime OOM detected",),
        Cause.ALLOCATION,
        part=Part.ECHO,
        scope=PatternScope.ANY,
        error=ErrorUse.CORRECTS,
        versions="0.30.0 -",
        example='time=2026-08-01T07:02:19.993Z level=WARN source=sched.go:1648 msg="runtime OOM detected; expiring '
        'loaded models to clear memory before next request" model=m error="CUDA error: out of memory"',
    ),
    signal(
        "retry-context",
        r"load failed; reducing automatic context and retrying",
        ("reducing automatic context and retrying",),
        Cause.ALLOCATION,
        part=Part.RETRYING,
        vague=True,
        scope=PatternScope.ANY,
        error=ErrorUse.CORRECTS,
        versions="0.30.0 -",
        example='time=2026-08-01T07:02:19.993Z level=WARN source=sched.go:652 msg="llama-server load failed; '
        'reducing automatic context and retrying once" old_num_ctx=32768 new_num_ctx=4096 evict_all=false',
    ),
    signal(
        "retry-load",
        r"^model load failed; evicting all other models and retrying",
        ("model load failed; evicting",),
        Cause.ALLOCATION,
        part=Part.RETRYING,
        vague=True,
        scope=PatternScope.ANY,
        error=ErrorUse.REFUTES,
        versions="after 0.33",
        example='time=2026-10-01T07:02:19.993Z level=WARN source=sched.go:667 msg="model load failed; '
        'evicting all other models and retrying once" error="cudaMalloc failed: out of memory"',
    ),
    signal(
        "retry-evict-all",
        r"load failed; evicting all other models and retrying",
        ("evicting all other models",),
        Cause.ALLOCATION,
        part=Part.RETRYING,
        vague=True,
        scope=PatternScope.ANY,
        error=ErrorUse.CORRECTS,
        versions="0.30.0 -",
        example='time=2026-08-01T07:02:19.993Z level=WARN source=sched.go:667 msg="llama-server load failed; '
        'evicting all other models and retrying once" error="cudaMalloc failed: out of memory"',
    ),
    signal(
        "retry-projector",
        r"startup failed with projector GPU offload; retrying|failed with projector GPU offload",
        ("projector GPU offload",),
        Cause.RETRY,
        part=Part.RETRYING,
        scope=PatternScope.ANY,
        versions="0.30.0 -",
        example='time=2026-08-01T07:02:19.993Z level=WARN source=llama_server.go:1091 msg="llama-server startup '
        'failed with projector GPU offload; retrying with projector CPU offload" error="exit status 1"',
    ),
    signal(
        "retry-spilled",
        r"spilled layers to CPU with other models resident",
        ("evicting residents",),
        Cause.RETRY,
        part=Part.RETRYING,
        scope=PatternScope.ANY,
        versions="after 0.33",
        example='time=2026-10-01T07:02:19.993Z level=WARN source=sched.go:700 msg="llama-server spilled layers to '
        'CPU with other models resident; evicting residents and retrying" gpu_layers=12 total_layers=33',
    ),
    signal(
        "retry-evicting",
        r"evicting all other loaded models for (?:OOM|load) retry",
        ("evicting all other loaded models",),
        Cause.RETRY,
        part=Part.RETRYING,
        scope=PatternScope.ANY,
        versions="0.30.0 -",
        example='time=2026-08-01T07:02:20.100Z level=INFO source=sched.go:1605 msg="evicting all other loaded '
        'models for OOM retry" count=1',
    ),
    signal(
        "retry-layout",
        r"model layout did not fit",
        ("model layout did not fit",),
        Cause.RETRY,
        scope=PatternScope.ANY,
        versions="0.11.5 - 0.24.0",
        example="time=2025-11-25T06:44:10.202+02:00 level=INFO source=server.go:824 "
        'msg="model layout did not fit, applying backoff" backoff=0.60',
    ),
    signal(
        "projector-offload",
        r"disabling multimodal projector offload",
        ("disabling multimodal projector offload",),
        Cause.SPILL,
        check=FieldCheck.LIMITED_PROJECTOR,
        scope=PatternScope.SERVER,
        versions="0.30.0 -",
        example="time=2026-08-01T07:02:19.993Z level=INFO source=llama_server.go:656 "
        'msg="disabling multimodal projector offload" reason=limited-vram',
    ),
    signal(
        "spill-plan",
        r"offload(?: to \w{1,20})?$",
        ("offload",),
        Cause.SPILL,
        check=FieldCheck.PARTIAL_PLAN,
        scope=PatternScope.SERVER,
        versions="0.1.3x - 0.12.10",
        example='time=2025-01-17T16:39:27.986Z level=INFO source=memory.go:356 msg="offload to cuda" '
        "layers.requested=-1 layers.model=33 layers.offload=32",
    ),
    signal(
        "estimate-layers",
        r"insufficient VRAM to load any model layers|gpu has too little memory to allocate any layers",
        ("insufficient VRAM to load any", "too little memory to allocate any"),
        Cause.SPILL,
        part=Part.ESTIMATE,
        scope=PatternScope.ANY,
        versions="0.1.33 - 0.24.0 (DEBUG)",
        example="time=2025-02-09T17:58:30.136+08:00 level=DEBUG source=memory.go:330 "
        'msg="insufficient VRAM to load any model layers"',
    ),
    signal(
        "estimate-exceeds",
        r"predicted usage exceeds VRAM",
        ("predicted usage exceeds VRAM",),
        Cause.SPILL,
        part=Part.ESTIMATE,
        scope=PatternScope.ANY,
        versions="0.1.33 -",
        example="time=2025-02-09T17:58:30.136+08:00 level=WARN source=sched.go:540 "
        'msg="predicted usage exceeds VRAM" gpu=GPU-1 totalMemory=8000000000 predicted=9000000000',
    ),
    signal(
        "host-evicting",
        r"requires more system memory than is currently available, evicting",
        ("requires more system memory than",),
        Cause.HOST,
        part=Part.ROUTINE,
        scope=PatternScope.ANY,
        versions="0.12.7 - 0.24.0",
        example='time=2025-12-02T17:06:40.450-05:00 level=INFO source=server.go:979 msg="model requires more system '
        'memory than is currently available, evicting a model to make space" required=9 free=5',
    ),
    signal(
        "swap",
        r"requires more (?:gpu )?memory than is currently available, evicting"
        r"|model predicted to exceed available memory, evicting",
        ("memory than is currently available", "predicted to exceed available memory"),
        Cause.SWAP,
        part=Part.ROUTINE,
        scope=PatternScope.ANY,
        versions="0.11.7 -",
        example='time=2026-08-01T07:02:19.993Z level=INFO source=sched.go:551 msg="llama-server model predicted to '
        'exceed available memory, evicting" predicted="3.1 GiB" available="1.6 GiB"',
    ),
    signal(
        "host-too-large",
        r"model request too large for system|model is too large for system memory|requires more system memory",
        ("too large for system", "requires more system memory"),
        Cause.HOST,
        scope=PatternScope.SERVER,
        versions="0.2.0 -",
        example='time=2025-02-09T17:58:30.136+08:00 level=WARN source=server.go:170 msg="model request too large '
        'for system" requested="40.1 GiB" available="23.5 GiB"',
    ),
    signal(
        "load-failed",
        r"^(?:Load failed|error loading llama server|NewLlamaServer failed|failed to create server|model load failed)",
        (
            "Load failed",
            "error loading llama server",
            "NewLlamaServer failed",
            "failed to create server",
            "load failed",
        ),
        Cause.ALLOCATION,
        part=Part.ENDING,
        scope=PatternScope.SERVER,
        error=ErrorUse.DECIDES,
        versions="0.1.32 -",
        example='time=2025-04-29T12:31:28.521+02:00 level=ERROR source=sched.go:457 msg="error loading llama '
        'server" error="llama runner process has terminated: cudaMalloc failed: out of memory"',
    ),
    signal(
        "runner-late",
        r"process no longer running",
        ("process no longer running",),
        Cause.RUNNER_DIED,
        part=Part.LATE,
        scope=PatternScope.SERVER,
        error=ErrorUse.DECIDES,
        versions="0.1.33 -",
        example='time=2026-08-01T07:02:19.993Z level=WARN source=llama_server.go:1196 msg="llama-server process no '
        'longer running" sys=6 string="signal: aborted" error="CUDA error: out of memory"',
    ),
    signal(
        "sched-warning",
        r"(?i:memory|vram|\boom\b)",
        ("level=WARN source=sched.go",),
        Cause.NOT_RECOVERED,
        check=FieldCheck.SCHED_WARNING,
        scope=PatternScope.SERVER,
        versions="any",
        example='time=2024-07-10T16:29:17.567-05:00 level=WARN source=sched.go:575 msg="gpu memory is still in use"',
    ),
)

ERROR_REPORT = signal(
    "server-error",
    r"",
    (),
    Cause.ALLOCATION,
    kind=SignalKind.HARD,
    part=Part.ECHO,
    scope=PatternScope.SERVER,
    error=ErrorUse.DECIDES,
    versions="all",
    example='time=2026-08-01T07:02:19.993Z level=ERROR source=llama_server.go:1640 msg="llama-server completion '
    'error" error="CUDA error: out of memory"',
)
"""Any other slog line at WARN or above: its `error=` decides."""

QUIET: tuple[str, ...] = (
    "no need to wait for VRAM recovery",
    "blocking for VRAM recovery",
    "background wait for VRAM recovery",
    "VRAM free memory converged",
    "support parallel requests",
    "memory prediction may be incorrect",
    "model was still loaded",
    "requested main_gpu is outside",
    "failed to find a memory slot",
    "free space in the KV cache",
    "making room for prompt cache",
    "refresh free memory",
    "error looking up",
    "failed to finish discovery",
    "discovery watchdog",
    "Memory critical error",
    "context's memory pool",
    "VRAM tracking",
    "disabling mmap",
    "will fit in available VRAM",
    "fits alongside existing models",
    "failed to allocate graph, reserving",
    "failed to allocate context",
    "failed to initialize CUDA: out of memory",
    "failed to initialize ROCm: out of memory",
    "log_server_r: re",
    "http: streamed chunk: ",
    "next token: ",
    "Parsed message: ",
    "Parsing input with ",
    "hat template",
    "llama_model_loader: - kv",
    "control token: ",
    "vram-based default context",
    "low vram mode",
)
"""Wordings that look like trouble and are none: a line that holds one is no signal."""
