"""The interface of a dialect: the log lines and errors of an era's Ollama."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from fleet.runtime.units import Bytes, Seconds
from standin.forms.go_format import human_bytes
from standin.forms.log_text import Line, Slog
from standin.models.memory import Need, Shortage
from standin.models.specs import BLOBS, REGISTRY, ModelSpec

HOST_TOTAL: Bytes = 24 * 1024**3
HOST_FREE: Bytes = 22 * 1024**3
DIED = "an error was encountered while running the model: unexpected EOF"
STANDIN = "stand-in: this server stands in for Ollama; it runs no model, and its answers are made up"


@dataclass(frozen=True, slots=True)
class LoadFacts:
    """The figures in the log lines of a load; `free` is the GPU memory that the server believes free."""

    spec: ModelSpec
    need: Need
    num_ctx: int
    parallel: int
    port: int
    total: Bytes
    free: Bytes
    count: int = 1

    @property
    def blob(self) -> str:
        """Return the path by which the lines name the model."""
        return self.spec.blob_path


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A load that failed: the runner's last lines, and the API's answer."""

    lines: list[Line]
    error: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The figures of one finished answer."""

    prompt_tokens: int
    tokens: int
    prompt_ns: int
    eval_ns: int


class Dialect(Protocol):
    """The words of an era. Each method returns lines, or the lines and the error of a failure."""

    version: str

    def server_starts(self, url: str, *, models: int, total: Bytes) -> list[Line]:
        """Return the lines of a server's start."""

    def load_begins(self, load: LoadFacts) -> list[Line]:
        """Return the lines up to the runner's first allocation."""

    def load_works(self, load: LoadFacts) -> list[Line]:
        """Return the runner's lines from its allocations on."""

    def load_ends(self, load: LoadFacts, seconds: Seconds) -> list[Line]:
        """Return the server's lines of a load that worked."""

    def gpu_failure(self, load: LoadFacts, short: Shortage) -> LoadFailure:
        """Return a load's failure for lack of GPU memory."""

    def host_failure(self, load: LoadFacts) -> LoadFailure:
        """Return a load's failure for lack of the host's memory."""

    def load_failed(self, load: LoadFacts, error: str) -> list[Line]:
        """Return the server's line of a load that failed."""

    def load_abandoned(self, load: LoadFacts) -> list[Line]:
        """Return the lines of a load whose client left."""

    def evicting_to_fit(self, load: LoadFacts) -> list[Line]:
        """Return the lines of making room before a load."""

    def retrying(self, load: LoadFacts, error: str, count: int) -> list[Line]:
        """Return the lines of a second try after all other models were evicted."""

    def not_recovered(self, load: LoadFacts, seconds: Seconds, pid: int) -> list[Line]:
        """Return the line of GPU memory that did not come back."""

    def runner_dies(self, load: LoadFacts) -> list[Line]:
        """Return the lines of a runner's death while it answers."""

    def runner_found_dead(self, load: LoadFacts) -> list[Line]:
        """Return the lines of the next request, which finds the runner dead."""

    def out_of_memory(self, load: LoadFacts, asked: Bytes) -> LoadFailure:
        """Return the failure of an answer for lack of GPU memory."""

    def answered(self, figures: Answered) -> list[Line]:
        """Return the runner's lines of a finished answer."""


def fill(templates: Iterable[Line], facts: Mapping[str, object]) -> list[Line]:
    """Return lines with the `{names}` of their templates filled in."""
    return [_filled(template, facts) for template in templates]


def _filled(template: Line, facts: Mapping[str, object]) -> Line:
    if isinstance(template, Slog):
        pairs = tuple(
            (key, value.format_map(facts) if isinstance(value, str) else value)
            for key, value in template.fields
        )
        return replace(template, message=template.message.format_map(facts), fields=pairs)
    return template.format_map(facts)


def server_facts(url: str, *, models: int, total: Bytes, version: str) -> dict[str, object]:
    """Return the values for the lines of a server's start."""
    return {
        "url": url,
        "address": url.partition("://")[2],
        "blobs": models * 3,
        "folder": BLOBS.rpartition("/")[0],
        "total": human_bytes(total),
        "version": version,
    }


def load_facts(load: LoadFacts) -> dict[str, object]:
    """Return the values for the lines of a load; names with `_mib` are the runner's own figures."""
    need, spec = load.need, load.spec
    return {
        "blob": load.blob,
        "name": f"{REGISTRY}/library/{spec.name}",
        "port": load.port,
        "count": load.count,
        "num_ctx": load.num_ctx,
        "all_ctx": load.num_ctx * load.parallel,
        "train_ctx": spec.context,
        "parallel": load.parallel,
        "blocks": spec.layers,
        "tensors": 9 * spec.layers + 3,
        "repeating": min(need.gpu_layers, spec.layers),
        "on_gpu": need.gpu_layers,
        "layers": need.all_layers,
        "params": f"{spec.parameters / 10**6:.2f}",
        "free": human_bytes(load.free),
        "need": human_bytes(need.total),
        "gpu_need": human_bytes(need.gpu),
        "host_free": human_bytes(HOST_FREE),
        "host_total": human_bytes(HOST_TOTAL),
        "file_mib": f"{mib(spec.weights):.2f}",
        "weights_mib": f"{mib(need.weights):8.2f}",
        "rest_mib": f"{mib(spec.weights - need.weights):8.2f}",
        "cache_mib": f"{mib(need.cache):8.2f}",
        "compute_mib": f"{mib(need.compute):8.2f}",
        "total_mib": f"{mib(load.total):.0f}",
        "free_mib": f"{mib(load.free):.0f}",
        "need_mib": f"{mib(need.total):.0f}",
        "left_mib": f"{mib(load.free - need.total):.0f}",
        "over_mib": f"{mib(need.total - load.free):.0f}",
    }


def mib(size: Bytes) -> float:
    """Return bytes as MiB, in which the runner counts."""
    return size / 1024**2
