"""What a log line can say of memory: kinds, causes, and a line's part in the course of a failure."""

from dataclasses import dataclass
from enum import StrEnum


class SignalKind(StrEnum):
    """How bad it is: `hard` and `soft` are the GPU's memory, `sysmem` the host's, `other` neither."""

    HARD = "hard"
    SOFT = "soft"
    SYSMEM = "sysmem"
    OTHER = "other"


class Cause(StrEnum):
    """What an incident is; which of them count is configured."""

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
    """The part a signal plays in the course of one failure; grouping goes by it.

    first      said by whoever failed, when it failed
    ending     the server's one report that a load is over
    echo       said again by somebody else, shortly after
    late       said again at the next request, however long after
    retrying   a try failed and Ollama says that it tries again
    healed     what failed just before was got round
    estimate   a plan that leaves layers on the CPU; void if all of them are on the GPU after all
    harmless   a failure that its own program takes in its stride
    routine    part of ordinary work; alone it is no incident
    unload     speaks of an unload that began `seconds` earlier
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


@dataclass(frozen=True, slots=True)
class Signal:
    """A line that tells of memory trouble, and what could be read out of it.

    `vague`: it does not say whether the GPU's memory or the host's failed; a line beside it may. `device`
    is the buffer's or device's name (`CUDA0`, `Vulkan_Host`, `2`), `size_bytes` what was asked for, `model`
    a `sha256-…` digest or a tag, `error` the server's own `error=`, `seconds` how long an unload was waited
    for.
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


class LogEventKind(StrEnum):
    """What a line tells of the server's work that bounds failures or says what hardware there is.

    server_started  a new server; nothing of the old one's goes on
    gpu, no_gpu     it computes on a GPU, on the CPU
    load_begun      the server starts a runner for a model
    load_seen       a runner reads a model's file
    load_tried      a layout is being tried within a load
    load_ok         the runner answers
    load_failed     the load is over, unless Ollama tries again
    load_retried    Ollama tries the same load again
    runner_gone     a runner ended, for whatever reason
    all_on_gpu      every layer found room on the GPU
    request_ended   an inference request was answered
    """

    SERVER_STARTED = "server_started"
    GPU = "gpu"
    NO_GPU = "no_gpu"
    LOAD_BEGUN = "load_begun"
    LOAD_SEEN = "load_seen"
    LOAD_TRIED = "load_tried"
    LOAD_OK = "load_ok"
    LOAD_FAILED = "load_failed"
    LOAD_RETRIED = "load_retried"
    RUNNER_GONE = "runner_gone"
    ALL_ON_GPU = "all_on_gpu"
    REQUEST_ENDED = "request_ended"


@dataclass(frozen=True, slots=True)
class LogEvent:
    """Something that a line tells beside, or instead of, a failure.

    `final`: a load's end that Ollama cannot follow with another try. `status` and `seconds` are a request's.
    `detail` is a GPU's library and name.
    """

    kind: LogEventKind
    model: str = ""
    final: bool = False
    status: int = 0
    seconds: float = 0.0
    detail: str = ""
