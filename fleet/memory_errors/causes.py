"""Vocabulary of memory failures: kinds, causes, and the part of a line in the course of a failure."""

from dataclasses import dataclass
from enum import StrEnum


class SignalKind(StrEnum):
    """Severity: `hard` and `soft` concern GPU memory, `sysmem` host memory, `other` neither."""

    HARD = "hard"
    SOFT = "soft"
    SYSMEM = "sysmem"
    OTHER = "other"


class Cause(StrEnum):
    """Cause of an incident; the configuration says which causes count."""

    ALLOCATION = "allocation"
    RUNNER_DIED = "runner_died"
    NOT_RECOVERED = "not_recovered"
    SPILL = "spill"
    RETRY = "retry"
    SWAP = "swap"
    HOST = "host"
    GPU_LOST = "gpu_lost"
    OLLAMA_HANGS = "ollama_hangs"


KIND_OF: dict[Cause, SignalKind] = {
    Cause.ALLOCATION: SignalKind.HARD,
    Cause.RUNNER_DIED: SignalKind.HARD,
    Cause.NOT_RECOVERED: SignalKind.SOFT,
    Cause.SPILL: SignalKind.SOFT,
    Cause.RETRY: SignalKind.SOFT,
    Cause.SWAP: SignalKind.SOFT,
    Cause.HOST: SignalKind.SYSMEM,
    Cause.GPU_LOST: SignalKind.OTHER,
    Cause.OLLAMA_HANGS: SignalKind.OTHER,
}


class Part(StrEnum):
    """The part of a signal in the course of one failure; grouping goes by it.

    first      printed by the failing program, at the failure
    ending     the server's one report of the end of a load
    echo       a repetition by another program, shortly after
    late       a repetition at the next request, at any later time
    retrying   a try failed, and Ollama announces another one
    healed     the program continues in another way after the failure just before
    estimate   a plan that leaves layers on the CPU; void if all layers are on the GPU after all
    harmless   a failure that the program survives
    routine    ordinary work; no incident by itself
    unload     about an unload that began `seconds` earlier
    call       the call that failed, with its name or reason: it asked for host memory, or failed for no lack of memory
    """

    FIRST = "first"
    ENDING = "ending"
    ECHO = "echo"
    LATE = "late"
    RETRYING = "retrying"
    HEALED = "healed"
    ESTIMATE = "estimate"
    HARMLESS = "harmless"
    ROUTINE = "routine"
    UNLOAD = "unload"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class Signal:
    """A line that reports memory trouble, with the values that it names.

    `vague`: the line names no memory; a line beside it may. `device`: name of a buffer or device (`CUDA0`,
    `Vulkan_Host`, `2`). `size_bytes`: the requested size. `model`: a `sha256-…` digest or a tag. `error`: the server's
    `error=`. `seconds`: how long the server waited for an unload. `layers`: how many layers are on the GPU.
    """

    kind: SignalKind
    cause: Cause
    pattern: str
    part: Part = Part.FIRST
    vague: bool = False
    device: str = ""
    size_bytes: int | None = None
    model: str = ""
    error: str = ""
    seconds: float | None = None
    layers: int | None = None

    @property
    def died(self) -> bool:
        """Return True for the first line of a runner's death."""
        return self.cause is Cause.RUNNER_DIED and self.part is Part.FIRST


class LogEventKind(StrEnum):
    """An event of the server: it bounds failures, or names the hardware.

    server_started  a new server; work of the old one is over
    gpu, no_gpu     the server computes on a GPU, on the CPU
    load_begun      the server starts a runner for a model
    load_seen       a runner reads a model's file
    load_tried      a layout is being tried within a load
    load_fits       a layout within a load found its memory
    layers_asked    the client asks for a number of layers on the GPU
    gpu_failed      a runner could not initialise its GPU
    load_ok         the runner answers
    load_failed     the load failed; Ollama may try again
    load_retried    Ollama tries the same load again
    runner_gone     a runner ended, for any reason
    all_on_gpu      every layer is on the GPU
    prompt_read     a runner reports how far it has read a long prompt
    request_ended   an inference request was answered
    """

    SERVER_STARTED = "server_started"
    GPU = "gpu"
    NO_GPU = "no_gpu"
    LOAD_BEGUN = "load_begun"
    LOAD_SEEN = "load_seen"
    LOAD_TRIED = "load_tried"
    LOAD_FITS = "load_fits"
    LAYERS_ASKED = "layers_asked"
    GPU_FAILED = "gpu_failed"
    LOAD_OK = "load_ok"
    LOAD_FAILED = "load_failed"
    LOAD_RETRIED = "load_retried"
    RUNNER_GONE = "runner_gone"
    ALL_ON_GPU = "all_on_gpu"
    PROMPT_READ = "prompt_read"
    REQUEST_ENDED = "request_ended"


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An event that a line reports, beside or instead of a failure.

    `final`: no other try follows this end of a load. `status`, `seconds`: of a request. `memory`: the bytes of a
    GPU. `layers`: how many layers the client asks for, -1 if Ollama decides.
    """

    kind: LogEventKind
    model: str = ""
    final: bool = False
    status: int = 0
    seconds: float = 0.0
    memory: int | None = None
    layers: int | None = None
