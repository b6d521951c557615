"""Lines as Ollama prints them, composed into the courses that failures take."""

import io
from collections.abc import Iterable
from datetime import UTC, datetime

from monitor.detection.detector import Detector
from monitor.incidents import GroupingRules, GroupState, advance
from monitor.incidents.messages import Incident, IncidentClosed, IncidentFound, Line, Observation, Outcome
from monitor.scan.scan import ScanReport, scan_stream

T0 = 1_795_000_000.0  # 2026-11-18
OURS = "sha256-" + "a1" * 32
OTHER = "sha256-" + "b2" * 32
ALLOC = "ggml_backend_cuda_buffer_type_alloc_buffer"
DETECTOR = Detector()


def path(blob: str = OURS) -> str:
    return f"/root/.ollama/models/blobs/{blob}"


def slog(at: float, message: str, rest: str = "", level: str = "INFO", source: str = "sched.go:1") -> str:
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f'time={stamp} level={level} source={source} msg="{message}" {rest}'.rstrip()


def gin(at: float, status: int = 500, seconds: float = 0.4, api: str = "/api/generate") -> str:
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y/%m/%d - %H:%M:%S")
    return f'[GIN] {stamp} | {status} | {seconds:>12.6f}s |       127.0.0.1 | POST     "{api}"'


def begins(at: float, blob: str = OURS) -> list[str]:
    """Version 0.30 and later."""
    return [
        slog(at, "using llama-server for model", f"model={path(blob)}"),
        slog(
            at, "starting llama-server", f'cmd="/usr/lib/ollama/llama-server --model {path(blob)} --port 1"'
        ),
        f"srv    load_model: loading model '{path(blob)}'",
        f"llama_model_loader: loaded meta data with 20 key-value pairs and 75 tensors from {path(blob)} (v)",
        "load_tensors: loading model tensors, this can take a while... (load_mode = mmap)",
    ]


def runs_out(device: str = "CUDA0") -> list[str]:
    return [
        f"{ALLOC}: allocating 1825.82 MiB on device 0: cudaMalloc failed: out of memory",
        f"alloc_tensor_range: failed to allocate {device} buffer of size 1914513024",
        f"llama_model_load: error loading model: unable to allocate {device} buffer",
        "llama_model_load_from_file_impl: failed to load model",
        "srv  llama_server: exiting due to model loading error",
    ]


OOM = "llama-server process has terminated: exit status 1: cudaMalloc failed: out of memory"


def gives_up(at: float, blob: str = OURS, error: str = OOM) -> list[str]:
    return [
        slog(at, "llama-server terminated", 'error="exit status 1" exit=1', "ERROR", "llama_server.go:1023"),
        slog(at, "Load failed", f'model={path(blob)} error="{error}"'),
    ]


def loaded(at: float) -> list[str]:
    return [
        "load_tensors: offloaded 29/29 layers to GPU",
        slog(at, "llama-server started in 1.20 seconds", source="llama_server.go:1362"),
    ]


def failed_load(at: float, blob: str = OURS, status: int = 500) -> list[str]:
    return [*begins(at, blob), *runs_out(), *gives_up(at + 0.3, blob), gin(at + 0.4, status)]


def evicts(at: float, wait: float) -> list[str]:
    """Version 0.11.7 to 0.24: a layout fails, another model is evicted; runners look at the GPU until it is gone."""
    alloc = slog(at, "load", 'request="{Operation:alloc GPULayers:41[ID:GPU-1]}"').replace('"load"', "load")
    return [
        slog(
            at, "starting runner", f'cmd="/usr/bin/ollama runner --ollama-engine --model {path()} --port 2"'
        ),
        alloc,
        *runs_out()[:2],
        slog(
            at + 1,
            "model requires more gpu memory than is currently available, evicting a model to make space",
        ),
        slog(at + wait, "starting runner", 'cmd="/usr/bin/ollama runner --ollama-engine --port 3"'),
        slog(at + wait + 0.25, "starting runner", 'cmd="/usr/bin/ollama runner --ollama-engine --port 4"'),
        slog(at + wait + 1, "loading model", '"model layers"=41 requested=-1'),
        alloc,
    ]


def not_recovered(at: float, seconds: float = 5.0, blob: str = OURS) -> list[str]:
    """The three lines of one unload, a quarter of a second apart."""
    return [
        slog(
            at + extra,
            "gpu VRAM usage didn't recover within timeout",
            f"seconds={seconds + extra} model={path(blob)}",
            "WARN",
        )
        for extra in (0.0, 0.25, 0.5)
    ]


def alone() -> str:
    """A failure line that nothing bounds."""
    return "CUDA error: out of memory"


def scan(lines: Iterable[str], rules: GroupingRules | None = None) -> ScanReport:
    text = "".join(f"{line}\n" for line in lines)
    return scan_stream(io.BytesIO(text.encode()), "log", rules or GroupingRules(), DETECTOR)


def causes(lines: Iterable[str], rules: GroupingRules | None = None) -> list[tuple[str, str, bool]]:
    """Return kind, cause and count of each incident in lines."""
    return [(i.kind.value, i.cause.value, i.counts) for i in scan(lines, rules).incidents]


class Follower:
    """A live grouper with a clock of its own; restarts from its serialised state whenever asked to."""

    def __init__(self, rules: GroupingRules | None = None) -> None:
        self.rules = rules or GroupingRules()
        self.state = GroupState()
        self.outcomes: list[Outcome] = []

    def see(self, *observations: Observation) -> None:
        for observation in observations:
            self.state, outcomes = advance(self.state, observation, self.rules, DETECTOR)
            self.outcomes.extend(outcomes)

    def lines(self, at: float, *texts: str) -> None:
        self.see(*(Line(text, at, at) for text in texts))

    @property
    def found(self) -> list[Incident]:
        return [each.incident for each in self.outcomes if isinstance(each, IncidentFound)]

    @property
    def closed(self) -> list[Incident]:
        return [each.incident for each in self.outcomes if isinstance(each, IncidentClosed)]

    @property
    def counted(self) -> int:
        return sum(incident.counts for incident in self.found)
