"""Ollama from v0.30 on: `llama-server` runs inside, here on a Vulkan device. After recorded logs.

A condensed selection of their lines, each in its real form. `{names}` are filled in by `standin.dialects.base`.
"""

from fleet.runtime.units import Bytes, Seconds
from standin.dialects.base import STANDIN, Answered, LoadFacts, LoadFailure, fill, load_facts, server_facts
from standin.forms.go_format import human_bytes
from standin.forms.log_text import Line, slog
from standin.models.memory import LoadStep, Shortage

_MINIMUM: Bytes = 457 * 1024**2
_WAITING = "waiting for llama-server to become available"
_SERVER = "github.com/ollama/ollama/server.(*Server)"
_DEVICE = "llvmpipe (LLVM 15.0.6, 256 bits)"
_STOPPED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
    "check ollama server logs for details"
)

_STARTS: tuple[Line, ...] = (
    STANDIN,
    slog(
        "INFO",
        "routes.go:1951",
        "server config",
        env="map[OLLAMA_CONTEXT_LENGTH:0 OLLAMA_DEBUG:INFO OLLAMA_GPU_OVERHEAD:0 OLLAMA_HOST:{url}"
        " OLLAMA_KEEP_ALIVE:5m0s OLLAMA_LOAD_TIMEOUT:5m0s OLLAMA_MAX_LOADED_MODELS:0 OLLAMA_MAX_QUEUE:512"
        " OLLAMA_MODELS:{folder} OLLAMA_NUM_PARALLEL:1 OLLAMA_VULKAN:true]",
    ),
    slog("INFO", "images.go:919", "total blobs: {blobs}"),
    slog("INFO", "images.go:926", "total unused blobs removed: 0"),
    '[GIN-debug] [WARNING] Running in "debug" mode. Switch to "release" mode in production.',
    f"[GIN-debug] HEAD   /                         --> {_SERVER}.GenerateRoutes.func1 (5 handlers)",
    f"[GIN-debug] GET    /                         --> {_SERVER}.GenerateRoutes.func2 (5 handlers)",
    f"[GIN-debug] GET    /api/version              --> {_SERVER}.GenerateRoutes.func4 (5 handlers)",
    f"[GIN-debug] POST   /api/pull                 --> {_SERVER}.PullHandler-fm (5 handlers)",
    f"[GIN-debug] GET    /api/tags                 --> {_SERVER}.ListHandler-fm (5 handlers)",
    f"[GIN-debug] POST   /api/show                 --> {_SERVER}.ShowHandler-fm (5 handlers)",
    f"[GIN-debug] DELETE /api/delete               --> {_SERVER}.DeleteHandler-fm (5 handlers)",
    f"[GIN-debug] GET    /api/ps                   --> {_SERVER}.PsHandler-fm (5 handlers)",
    f"[GIN-debug] POST   /api/generate             --> {_SERVER}.GenerateHandler-fm (5 handlers)",
    f"[GIN-debug] POST   /api/chat                 --> {_SERVER}.ChatHandler-fm (5 handlers)",
    slog("INFO", "routes.go:2008", "Listening on {address} (version {version})"),
    slog("INFO", "runner.go:60", "discovering available GPUs..."),
    slog(
        "INFO",
        "types.go:32",
        "inference compute",
        id=0,
        filter_id=0,
        library="Vulkan",
        compute="0.0",
        name="Vulkan0",
        description=_DEVICE,
        libdirs="ollama,vulkan",
        driver="0.0",
        pci_id="",
        type="discrete",
        total="{total}",
        available="{total}",
    ),
    slog("INFO", "routes.go:2058", "vram-based default context", total_vram="{total}", default_num_ctx=4096),
)

_BEGINS: tuple[Line, ...] = (
    slog("INFO", "server.go:109", "using llama-server for model", model="{blob}"),
    slog(
        "INFO",
        "llama_server.go:433",
        "starting llama-server",
        cmd="/usr/lib/ollama/llama-server --model {blob} --port {port} --host 127.0.0.1 --no-webui --offline"
        " -c {all_ctx} -np {parallel}{forced} --log-verbosity 4 --no-log-prefix --no-log-timestamps"
        " --flash-attn auto -b 512 -ub 512 --context-shift --keep 4",
    ),
    slog("INFO", "sched.go:613", "system memory", total="{host_total}", free="{host_free}", free_swap="0 B"),
    slog(
        "INFO",
        "sched.go:620",
        "gpu memory",
        id=0,
        library="Vulkan",
        available="{available}",
        free="{free}",
        minimum=human_bytes(_MINIMUM),
        overhead="0 B",
    ),
    slog("INFO", "llama_server.go:1048", "loading model via llama-server", model="{blob}"),
    slog("INFO", "llama_server.go:1295", "waiting for llama-server to start responding"),
    slog("INFO", "llama_server.go:1350", _WAITING, status="llm server not responding"),
    "srv  llama_server: initializing ...",
    "load_backend: loaded Vulkan backend from /usr/lib/ollama/vulkan/libggml-vulkan.so",
    "cmn  common_param:   - Vulkan0 : " + _DEVICE + " ({total_mib} MiB, {free_mib} MiB free)",
    "srv    load_model: loading model '{blob}'",
    "srv    load_model: local path '{blob}'",
    "cmn  common_init_: fitting params to device memory ...",
)

_PROJECTED = (
    "common_params_fit_impl: projected to use {need_mib} MiB of device memory"
    " vs. {free_mib} MiB of free device memory"
)
_REDUCED = (
    "common_params_fit_impl: cannot meet free memory target of 0 MiB,"
    " need to reduce device memory by {over_mib} MiB"
)
_FITS: tuple[Line, ...] = (
    _PROJECTED,
    "common_params_fit_impl: will leave {left_mib} >= 0 MiB of free device memory, no changes needed",
    "common_fit_params: successfully fit params to free device memory",
)

_SPILLS: tuple[Line, ...] = (
    _PROJECTED,
    _REDUCED,
    "common_fit_params: successfully fit params to free device memory",
)

_METADATA = (
    "llama_model_loader: loaded meta data with 20 key-value pairs and {tensors} tensors from {blob}"
    " (version GGUF V3 (latest))"
)
_READS: tuple[Line, ...] = (
    _METADATA,
    "print_info: file size   = {file_mib} MiB (4.85 BPW) ",
    "print_info: n_layer               = {blocks}",
    "print_info: model params          = {params} M",
    "load_tensors: loading model tensors, this can take a while... (load_mode = mmap)",
)

_WORKS: tuple[Line, ...] = (
    slog("INFO", "llama_server.go:1350", _WAITING, status="llm server loading model"),
    "load_tensors: offloading {repeating} repeating layers to GPU",
    "load_tensors: offloaded {on_gpu}/{layers} layers to GPU",
    "load_tensors:   CPU_Mapped model buffer size = {rest_mib} MiB",
    "load_tensors:      Vulkan0 model buffer size = {weights_mib} MiB",
    "llama_context: constructing llama_context",
    "llama_context: n_ctx                 = {all_ctx}",
    "llama_kv_cache:    Vulkan0 KV buffer size = {cache_mib} MiB",
    "sched_reserve:    Vulkan0 compute buffer size = {compute_mib} MiB",
    "sched_reserve: Vulkan_Host compute buffer size =     8.01 MiB",
    "cmn  common_init_: warming up the model with an empty run - please wait ... (--no-warmup to disable)",
    "srv    load_model: prompt cache is enabled, size limit: 8192 MiB",
    "srv    load_model: use `--cache-ram 0` to disable the prompt cache",
    "srv  llama_server: model loaded",
    "srv  llama_server: listening on http://127.0.0.1:{port}",
    "srv  update_slots: all slots are idle",
)

_ENDS: tuple[Line, ...] = (
    slog("INFO", "llama_server.go:1362", "llama-server started in {seconds} seconds"),
    slog(
        "INFO",
        "images.go:381",
        "template selection",
        model="{name}",
        selected="go_template",
        renderer="",
        parser="",
        go_template="[completion]",
        chat_template="null",
        harmony="null",
        renderer_parser="null",
    ),
    slog("INFO", "sched.go:728", "loaded runners", count="{count}"),
)

_NO_MEMORY: tuple[Line, ...] = (
    "ggml_vulkan: Device memory allocation of size {asked} failed.",
    "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
)
_NOT_ALLOCATED = "failed to allocate Vulkan0 buffer of size {asked}"
_NO_CONTEXT = "llama_init_from_model: failed to initialize the context: failed to allocate "
_FAILS: dict[LoadStep, tuple[Line, ...]] = {
    LoadStep.WEIGHTS: (
        f"alloc_tensor_range: {_NOT_ALLOCATED}",
        "llama_model_load: error loading model: unable to allocate Vulkan0 buffer",
        "llama_model_load_from_file_impl: failed to load model",
    ),
    LoadStep.CACHE: (f"alloc_tensor_range: {_NOT_ALLOCATED}", f"{_NO_CONTEXT}buffer for kv cache"),
    LoadStep.COMPUTE: (f"ggml_gallocr_reserve_n_impl: {_NOT_ALLOCATED}", f"{_NO_CONTEXT}compute pp buffers"),
}
_ERRORS = {
    LoadStep.WEIGHTS: (
        f"alloc_tensor_range: {_NOT_ALLOCATED}\nerror loading model: unable to allocate Vulkan0 buffer"
    ),
    LoadStep.CACHE: f"alloc_tensor_range: {_NOT_ALLOCATED}\n{_NO_CONTEXT}buffer for kv cache",
    LoadStep.COMPUTE: f"ggml_gallocr_reserve_n_impl: {_NOT_ALLOCATED}\n{_NO_CONTEXT}compute pp buffers",
}
_HOST = "error loading model: mmap failed: Cannot allocate memory"
_HOST_FAILS: tuple[Line, ...] = (
    f"llama_model_load: {_HOST}",
    "llama_model_load_from_file_impl: failed to load model",
)
_GIVES_UP: tuple[Line, ...] = (
    "cmn  common_init_: failed to load model '{blob}'",
    "srv    load_model: failed to load model, '{blob}'",
    "srv    operator(): operator(): cleaning up before exit...",
    "srv  llama_server: exiting due to model loading error",
    slog("ERROR", "llama_server.go:1023", "llama-server terminated", error="exit status 1", exit=1),
)
_ENDED = "llama-server process has terminated: exit status 1: "

_ABANDONED = slog(
    "WARN",
    "llama_server.go:1301",
    "client connection closed before llama-server finished loading, aborting load",
)
_EVICTS = slog(
    "INFO",
    "sched.go:551",
    "llama-server model predicted to exceed available memory, evicting",
    predicted="{need}",
    predicted_num_ctx="{num_ctx}",
    num_batch=512,
    available="{free}",
    gpu_free="{free}",
    system_free="{host_free}",
    system_limited=False,
)
_RETRIES: tuple[Line, ...] = (
    slog(
        "WARN",
        "sched.go:667",
        "llama-server load failed; evicting all other models and retrying once",
        model="{blob}",
        error="{error}",
    ),
    slog("INFO", "sched.go:1605", "evicting all other loaded models for OOM retry", count="{evicted}"),
)
_FOUND_DEAD: tuple[Line, ...] = (
    slog(
        "WARN",
        "llama_server.go:1196",
        "llama-server process no longer running",
        sys=9,
        string="signal: killed",
    ),
    slog(
        "WARN",
        "runner.go:584",
        "llama-server GPU discovery watchdog timed out",
        OLLAMA_LIBRARY_PATH="[/usr/lib/ollama /usr/lib/ollama/vulkan]",
        extra_envs="map[]",
        error="context deadline exceeded",
    ),
)
_RUNS_OUT: tuple[Line, ...] = (
    *_NO_MEMORY,
    f"ggml_gallocr_reserve_n_impl: {_NOT_ALLOCATED}",
    slog(
        "ERROR",
        "llama_server.go:1023",
        "llama-server terminated",
        error="signal: aborted (core dumped)",
        exit=-1,
    ),
    slog(
        "WARN",
        "sched.go:1648",
        "runtime OOM detected; expiring loaded models to clear memory before next request",
        model="{blob}",
        error="{error}",
    ),
)


class NewDialect:
    """The words of v0.30 and later."""

    version = "0.33.0+standin"

    def server_starts(self, url: str, *, models: int, total: Bytes) -> list[Line]:
        """Return the lines of a server's start."""
        return fill(_STARTS, server_facts(url, models=models, total=total, version=self.version))

    def load_begins(self, load: LoadFacts) -> list[Line]:
        """Return the lines up to the runner's first allocation."""
        partial = load.need.gpu_layers < load.need.all_layers
        facts = {
            **load_facts(load),
            "available": human_bytes(max(0, load.free - _MINIMUM)),
            "forced": f" -ngl {load.need.gpu_layers}" if partial else "",
        }
        fitting = _SPILLS if load.need.total > load.free else _FITS
        return fill((*_BEGINS, *fitting, *_READS), facts)

    def load_works(self, load: LoadFacts) -> list[Line]:
        """Return the runner's lines from its allocations on."""
        return fill(_WORKS, load_facts(load))

    def load_ends(self, load: LoadFacts, seconds: Seconds) -> list[Line]:
        """Return the server's lines of a load that worked."""
        return fill(_ENDS, {**load_facts(load), "seconds": f"{seconds:.2f}"})

    def gpu_failure(self, load: LoadFacts, short: Shortage) -> LoadFailure:
        """Return a load's failure for lack of GPU memory."""
        facts = {**load_facts(load), "asked": short.asked}
        lines = fill((*_NO_MEMORY, *_FAILS[short.step], *_GIVES_UP), facts)
        return LoadFailure(lines, _ENDED + _ERRORS[short.step].format_map(facts))

    def host_failure(self, load: LoadFacts) -> LoadFailure:
        """Return a load's failure for lack of the host's memory."""
        return LoadFailure(fill((*_HOST_FAILS, *_GIVES_UP), load_facts(load)), _ENDED + _HOST)

    def load_failed(self, load: LoadFacts, error: str) -> list[Line]:
        """Return the server's line of a load that failed."""
        return [slog("INFO", "sched.go:641", "Load failed", model=load.blob, error=error)]

    def load_abandoned(self, load: LoadFacts) -> list[Line]:
        """Return the lines of a load whose client left."""
        error = "timed out waiting for llama-server to start: context canceled"
        return [_ABANDONED, *self.load_failed(load, error)]

    def evicting_to_fit(self, load: LoadFacts) -> list[Line]:
        """Return the line of making room before a load."""
        return fill([_EVICTS], load_facts(load))

    def retrying(self, load: LoadFacts, error: str, count: int) -> list[Line]:
        """Return the lines of a second try after all other models were evicted."""
        return fill(_RETRIES, {**load_facts(load), "error": error, "evicted": count})

    def not_recovered(self, load: LoadFacts, seconds: Seconds, pid: int) -> list[Line]:
        """Return nothing: since v0.12.6 this line is at debug level only."""
        del load, seconds, pid
        return []

    def runner_dies(self, load: LoadFacts) -> list[Line]:
        """Return nothing: this Ollama notices only at the next request."""
        del load
        return []

    def runner_found_dead(self, load: LoadFacts) -> list[Line]:
        """Return the lines of the next request, which finds the runner dead."""
        del load
        return list(_FOUND_DEAD)

    def out_of_memory(self, load: LoadFacts, asked: Bytes) -> LoadFailure:
        """Return the failure of an answer for lack of GPU memory."""
        error = f"{_STOPPED}: ggml_gallocr_reserve_n_impl: {_NOT_ALLOCATED.format(asked=asked)}"
        return LoadFailure(fill(_RUNS_OUT, {**load_facts(load), "asked": asked, "error": error}), error)

    def answered(self, figures: Answered) -> list[Line]:
        """Return the runner's lines of a finished answer."""
        prompt, tokens = figures.prompt_tokens, figures.tokens
        done = f"stop processing: n_tokens = {prompt + tokens}, truncated = 0"
        return [
            _timing("prompt eval", prompt, figures.prompt_ns),
            _timing("       eval", tokens, figures.eval_ns),
            f"slot      release: id  0 | task 0 | {done}",
            "srv  update_slots: all slots are idle",
        ]


def _timing(what: str, tokens: int, nanoseconds: int) -> str:
    each = nanoseconds / 10**6 / max(tokens, 1)
    speed = 1000 / each if each else 0.0
    took = f"{what} time = {nanoseconds / 10**6:10.2f} ms / {tokens:5d} tokens"
    pace = f"({each:8.2f} ms per token, {speed:8.2f} tokens per second)"
    return f"slot print_timing: id  0 | task 0 | {took} {pace}"
