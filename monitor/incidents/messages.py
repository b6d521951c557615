"""Input, output and rules of the grouper; all frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.memory_errors.causes import Cause, Signal, SignalKind

DEFAULT_CAUSES = frozenset({Cause.ALLOCATION, Cause.RUNNER_DIED, Cause.NOT_RECOVERED})


@dataclass(frozen=True, slots=True)
class GroupingRules:
    """Limits of grouping, and the names of models. Durations are seconds.

    `incident_gap`  where nothing bounds a failure: signals this close to its first are one failure
    `silence`       a load whose log is silent for this long is judged as it stands
    `load_timeout`  Ollama gives a load up after this long (its OLLAMA_LOAD_TIMEOUT)
    `retry_grace`   how long after `Load failed` Ollama may still announce another try
    `keep`          how long after its last signal, by the log's times, an incident can be joined
    `keep_api`      the same for an incident that only API errors reported
    `slack`         largest difference between the clocks of log and API client; GIN prints whole seconds
    `causes`        the causes that count
    `model`         the rung's tag; empty: every model is ours
    `blobs`         the rung's model by digest (`sha256-…`); empty: unknown, and no digest is another model's
    `tags`          the tags of digests
    `trial`         the model on trial, if any
    `ladder`        the models of the ladder
    `unloads`       when the fleet itself asked the server to unload a model
    """

    incident_gap: float = 5.0
    silence: float = 15.0
    load_timeout: float = 300.0
    retry_grace: float = 2.0
    keep: float = 15.0
    keep_api: float = 120.0
    slack: float = 1.5
    causes: frozenset[Cause] = DEFAULT_CAUSES
    model: str = ""
    blobs: frozenset[str] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    trial: str = ""
    ladder: frozenset[str] = frozenset()
    unloads: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log.

    `time`: the source's stamp (Docker, journald), None where only the text has one. `arrival`: when a live line came,
    None for a line that is read later. `heard`: when a late line was read. `number`: from 1, 0 if unknown.
    """

    text: str
    time: float | None = None
    arrival: float | None = None
    number: int = 0
    heard: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """An observation that is only a Unix time."""

    at: float


class Heard(Moment):
    """Lines without a signal or event came: the log is not silent."""


@dataclass(frozen=True, slots=True)
class LogAway:
    """The log is no longer read; lines of this time come late."""


class LogBack(Moment):
    """Each wait restarts: the log is read again from the cursor, or the monitor's clock was set back."""


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A call of the generator that failed, from `signals.jsonl`."""

    id: str
    started: float
    ended: float
    model: str
    status: int
    error: str


class TimePassed(Moment):
    """Time passed; a deadline may be due."""


@dataclass(frozen=True, slots=True)
class Flush:
    """The log is at its end: settle all open failures, as `scan` does."""


Observation = Line | Heard | LogAway | LogBack | FailedCall | TimePassed | Flush


@dataclass(frozen=True, slots=True)
class Incident:
    """One failure, with any number of signals.

    `first` and `last` are its signals' times, `first_line` and `last_line` their line numbers. `model` is a tag or
    digest, empty if none was named. `counts`: towards the threshold. `reason`: why it does not count. `lines`: the
    first lines that were its signals.
    """

    id: str
    kind: SignalKind
    cause: Cause
    counts: bool
    first: float
    last: float
    model: str
    reason: str
    first_line: int = 0
    last_line: int = 0
    load_began: float | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IncidentOutcome:
    """An outcome about one incident."""

    incident: Incident


class IncidentFound(IncidentOutcome):
    """An incident's outcome is known. A second outcome of the same id is a final failure after a retry."""


class IncidentRetracted(IncidentOutcome):
    """An incident that counted no longer counts: a later try succeeded, or the memory was the host's."""


class IncidentClosed(IncidentOutcome):
    """The final form of an incident: nothing can join it any more."""


@dataclass(frozen=True, slots=True)
class SignalSeen:
    """A line was a signal: for the log, the metrics and `scan`."""

    signal: Signal
    time: float
    number: int
    incident: str


@dataclass(frozen=True, slots=True)
class LoadFinished:
    """A load is over; `loaded`: it succeeded."""

    time: float
    loaded: bool


@dataclass(frozen=True, slots=True)
class ServerStarted:
    """A server started: models of the old one are no longer loaded."""


@dataclass(frozen=True, slots=True)
class GpuFound:
    """The server's compute device and its bytes of memory; `present` is False for the CPU."""

    present: bool
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class PromptRead:
    """A runner still reads a prompt: it is slow, and does not hang."""

    time: float


Outcome = IncidentOutcome | SignalSeen | LoadFinished | ServerStarted | GpuFound | PromptRead
