"""Ollama from v0.4 to v0.11.4: a Go runner round llama.cpp, here with CUDA. After lines from public reports.

This Ollama estimates the layers that fit before a load, and evicts without a line. It warns when GPU memory does not
come back after an unload. `{names}` are filled in by `standin.dialects.base`.
"""

from fleet.runtime.units import Bytes, Seconds
from standin.dialects.base import (
    STANDIN,
    Answered,
    LoadFacts,
    LoadFailure,
    fill,
    load_facts,
    mib,
    server_facts,
)
from standin.forms.go_format import human_bytes
from standin.forms.log_text import Line, slog
from standin.models.memory import LoadStep, Shortage

_GPU = "GPU-f8657c39-1806-f26f-e294-a51dcd5da96b"
_SOURCE = "//ml/backend/ggml/ggml/src/ggml-cuda/ggml-cuda.cu"
_AVAILABLE = "waiting for server to become available"

_STARTS: tuple[Line, ...] = (
    STANDIN,
    slog(
        "INFO",
        "routes.go:1234",
        "server config",
        env="map[OLLAMA_CONTEXT_LENGTH:4096 OLLAMA_DEBUG:INFO OLLAMA_GPU_OVERHEAD:0 OLLAMA_HOST:{url}"
        " OLLAMA_KEEP_ALIVE:5m0s OLLAMA_LOAD_TIMEOUT:5m0s OLLAMA_MAX_LOADED_MODELS:0 OLLAMA_MAX_QUEUE:512"
        " OLLAMA_MODELS:{folder} OLLAMA_NUM_PARALLEL:0]",
    ),
    slog("INFO", "images.go:463", "total blobs: {blobs}"),
    slog("INFO", "images.go:470", "total unused blobs removed: 0"),
    slog("INFO", "routes.go:1287", "Listening on {address} (version {version})"),
    slog("INFO", "gpu.go:217", "looking for compatible GPUs"),
    slog(
        "INFO",
        "types.go:130",
        "inference compute",
        id=_GPU,
        library="cuda",
        variant="v12",
        compute="8.6",
        driver="12.4",
        name="NVIDIA GeForce RTX 3070",
        total="{total}",
        available="{total}",
    ),
)

_METADATA = (
    "llama_model_loader: loaded meta data with 30 key-value pairs and {tensors} tensors from {blob}"
    " (version GGUF V3 (latest))"
)
_BEGINS: tuple[Line, ...] = (
    slog("INFO", "server.go:135", "system memory", total="{host_total}", free="{host_free}", free_swap="0 B"),
    slog(
        "INFO",
        "server.go:168",
        "offload",
        library="{library}",
        layers__requested=-1,
        layers__model="{layers}",
        layers__offload="{on_gpu}",
        layers__split="",
        memory__available="[{free}]",
        memory__gpu_overhead="0 B",
        memory__required__full="{need}",
        memory__required__partial="{gpu_need}",
        memory__required__kv="{cache}",
        memory__required__allocations="[{gpu_need}]",
        memory__weights__total="{weights}",
        memory__weights__repeating="{repeating_weights}",
        memory__weights__nonrepeating="{output_weights}",
        memory__graph__full="{compute}",
        memory__graph__partial="{compute}",
    ),
    _METADATA,
    slog(
        "INFO",
        "server.go:431",
        "starting llama server",
        cmd="/usr/bin/ollama runner --model {blob} --ctx-size {all_ctx} --batch-size 512"
        " --n-gpu-layers {on_gpu} --threads 8 --parallel {parallel} --port {port}",
    ),
    slog("INFO", "sched.go:483", "loaded runners", count="{count}"),
    slog("INFO", "server.go:591", "waiting for llama runner to start responding"),
    slog("INFO", "server.go:625", _AVAILABLE, status="llm server error"),
    slog("INFO", "runner.go:815", "starting go runner"),
    "ggml_cuda_init: found 1 CUDA devices:",
    "  Device 0: NVIDIA GeForce RTX 3070, compute capability 8.6, VMM: yes",
    "load_tensors: loading model tensors, this can take a while... (mmap = true)",
)

_WORKS: tuple[Line, ...] = (
    slog("INFO", "server.go:625", _AVAILABLE, status="llm server loading model"),
    "load_tensors: offloading {repeating} repeating layers to GPU",
    "load_tensors: offloaded {on_gpu}/{layers} layers to GPU",
    "load_tensors:        CUDA0 model buffer size = {weights_mib} MiB",
    "load_tensors:   CPU_Mapped model buffer size = {rest_mib} MiB",
    "llama_context: n_ctx         = {all_ctx}",
    "llama_kv_cache_unified:      CUDA0 KV buffer size = {cache_mib} MiB",
    "llama_context:      CUDA0 compute buffer size = {compute_mib} MiB",
    "llama_context:  CUDA_Host compute buffer size =     8.01 MiB",
)

_MALLOC = (
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating {asked_mib} MiB on device 0:"
    " cudaMalloc failed: out of memory"
)
_NOT_ALLOCATED = "failed to allocate CUDA0 buffer of size {asked}"
_NO_CONTEXT = "llama_init_from_model: failed to initialize the context: failed to allocate "
_GONE: tuple[Line, ...] = (
    "",
    slog("ERROR", "server.go:457", "llama runner terminated", error="exit status 2"),
)
_FAILS: dict[LoadStep, tuple[Line, ...]] = {
    LoadStep.WEIGHTS: (
        f"alloc_tensor_range: {_NOT_ALLOCATED}",
        "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        "llama_model_load_from_file_impl: failed to load model",
        "panic: unable to load model: {blob}",
    ),
    LoadStep.CACHE: (
        f"alloc_tensor_range: {_NOT_ALLOCATED}",
        f"{_NO_CONTEXT}buffer for kv cache",
        "panic: unable to create llama context",
    ),
    LoadStep.COMPUTE: (
        f"ggml_gallocr_reserve_n: {_NOT_ALLOCATED}",
        "graph_reserve: failed to allocate compute buffers",
        f"{_NO_CONTEXT}compute pp buffers",
        "panic: unable to create llama context",
    ),
}
_ERRORS = {
    LoadStep.WEIGHTS: "error loading model: unable to allocate CUDA0 buffer",
    LoadStep.CACHE: f"cudaMalloc failed: out of memory\nalloc_tensor_range: {_NOT_ALLOCATED}",
    LoadStep.COMPUTE: f"cudaMalloc failed: out of memory\nggml_gallocr_reserve_n: {_NOT_ALLOCATED}",
}
_HOST = "error loading model: unable to allocate CPU buffer"
_HOST_FAILS: tuple[Line, ...] = (
    "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size {asked}",
    "alloc_tensor_range: failed to allocate CPU buffer of size {asked}",
    f"llama_model_load: {_HOST}",
    "llama_model_load_from_file_impl: failed to load model",
    "panic: unable to load model: {blob}",
)
_ENDED = "llama runner process has terminated: "

_NOT_RECOVERED = slog(
    "WARN",
    "sched.go:687",
    "gpu VRAM usage didn't recover within timeout",
    seconds="{seconds}",
    runner__size="{need}",
    runner__vram="{gpu_need}",
    runner__parallel="{parallel}",
    runner__pid="{pid}",
    runner__model="{blob}",
)
_ABANDONED = slog(
    "WARN", "server.go:598", "client connection closed before server finished loading, aborting load"
)
_FOUND_DEAD = slog(
    "WARN", "server.go:510", "llama runner process no longer running", sys=9, string="signal: killed"
)
_RUNS_OUT: tuple[Line, ...] = (
    "CUDA error: out of memory",
    f"  current device: 0, in function alloc at {_SOURCE}:500",
    "  cuMemCreate(&handle, reserve_size, &prop, 0)",
    f"{_SOURCE}:76: CUDA error",
    slog("ERROR", "server.go:457", "llama runner terminated", error="signal: aborted (core dumped)"),
)


class OldDialect:
    """The words of v0.4 to v0.11.4, in the form of v0.9."""

    version = "0.9.0+standin"

    def server_starts(self, url: str, *, models: int, total: Bytes) -> list[Line]:
        """Return the lines of a server's start."""
        return fill(_STARTS, server_facts(url, models=models, total=total, version=self.version))

    def load_begins(self, load: LoadFacts) -> list[Line]:
        """Return the lines up to the runner's first allocation."""
        output = load.spec.weights // (load.spec.layers + 1)
        facts = {
            **load_facts(load),
            "library": "cuda" if load.need.gpu_layers else "cpu",
            "cache": human_bytes(load.need.cache),
            "compute": human_bytes(load.need.compute),
            "weights": human_bytes(load.spec.weights),
            "repeating_weights": human_bytes(load.spec.weights - output),
            "output_weights": human_bytes(output),
        }
        return fill(_BEGINS, facts)

    def load_works(self, load: LoadFacts) -> list[Line]:
        """Return the runner's lines from its allocations on."""
        return fill(_WORKS, load_facts(load))

    def load_ends(self, load: LoadFacts, seconds: Seconds) -> list[Line]:
        """Return the server's line of a load that worked."""
        del load
        return [slog("INFO", "server.go:630", f"llama runner started in {seconds:.2f} seconds")]

    def gpu_failure(self, load: LoadFacts, short: Shortage) -> LoadFailure:
        """Return a load's failure for lack of GPU memory."""
        facts = {**load_facts(load), "asked": short.asked, "asked_mib": f"{mib(short.asked):.2f}"}
        lines = fill((_MALLOC, *_FAILS[short.step], *_GONE), facts)
        return LoadFailure(lines, _ENDED + _ERRORS[short.step].format_map(facts))

    def host_failure(self, load: LoadFacts) -> LoadFailure:
        """Return a load's failure for lack of the host's memory."""
        facts = {**load_facts(load), "asked": load.spec.weights}
        return LoadFailure(fill((*_HOST_FAILS, *_GONE), facts), _ENDED + _HOST)

    def load_failed(self, load: LoadFacts, error: str) -> list[Line]:
        """Return the server's line of a load that failed."""
        del load
        return [slog("ERROR", "sched.go:489", "error loading llama server", error=error)]

    def load_abandoned(self, load: LoadFacts) -> list[Line]:
        """Return the lines of a load whose client left."""
        error = "timed out waiting for llama runner to start: context canceled"
        return [_ABANDONED, *self.load_failed(load, error)]

    def evicting_to_fit(self, load: LoadFacts) -> list[Line]:
        """Return nothing: this Ollama evicts at debug level."""
        del load
        return []

    def retrying(self, load: LoadFacts, error: str, count: int) -> list[Line]:
        """Return nothing: this Ollama has no second try."""
        del load, error, count
        return []

    def not_recovered(self, load: LoadFacts, seconds: Seconds, pid: int) -> list[Line]:
        """Return the line of GPU memory that did not come back."""
        return fill([_NOT_RECOVERED], {**load_facts(load), "seconds": f"{seconds:.9f}", "pid": pid})

    def runner_dies(self, load: LoadFacts) -> list[Line]:
        """Return the line of a runner's death while it answers."""
        del load
        return [slog("ERROR", "server.go:457", "llama runner terminated", error="signal: killed")]

    def runner_found_dead(self, load: LoadFacts) -> list[Line]:
        """Return the line of the next request, which finds the runner dead."""
        del load
        return [_FOUND_DEAD]

    def out_of_memory(self, load: LoadFacts, asked: Bytes) -> LoadFailure:
        """Return the failure of an answer for lack of GPU memory."""
        del load, asked
        said = f"{_RUNS_OUT[0]}\n{_RUNS_OUT[1]}"
        return LoadFailure(list(_RUNS_OUT), f"an error was encountered while running the model: {said}")

    def answered(self, figures: Answered) -> list[Line]:
        """Return nothing: this runner logs no line of an answer."""
        del figures
        return []
