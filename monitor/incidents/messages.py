"""What the grouper is told, what it answers, and the rules it goes by; all frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fleet.memory_errors.causes import Cause, Signal, SignalKind

DEFAULT_CAUSES = frozenset({Cause.ALLOCATION, Cause.RUNNER_DIED, Cause.NOT_RECOVERED})
_NO_TAGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class GroupingRules:
    """What grouping goes by. Durations are seconds.

    `incident_gap`  where nothing bounds a failure: signals this close to its first are one
    `silence`       a load whose log says nothing for this long is judged as it stands
    `load_timeout`  Ollama gives a load up after this long (its OLLAMA_LOAD_TIMEOUT)
    `retry_grace`   how long after `Load failed` Ollama may still say that it tries again
    `keep`          how long after its last signal, by the log's times, an incident can still be joined
    `keep_api`      the same of one that only API errors told of
    `slack`         how far the clocks of a log and of an API client may be apart; GIN shows whole seconds
    `causes`        what counts
    `model`         the rung's tag; empty: every model is ours
    `blobs`         the rung's model by digest (`sha256-…`); empty: not known, and then no blob is another's
    `tags`          what other digests are called, for reports
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
    tags: Mapping[str, str] = field(default_factory=lambda: _NO_TAGS)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log. `time` is what its source says (Docker, journald), None where only the text can
    tell; `arrival` is when a live line came, None for one read later; `heard` is when a late one was read, None
    where nobody waits. `number` is the line's own, from 1, 0 if unknown.
    """  # noqa: D205 - one sentence on both times

    text: str
    time: float | None = None
    arrival: float | None = None
    number: int = 0
    heard: float | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """Lines of no interest came by: the log is not silent."""

    at: float


@dataclass(frozen=True, slots=True)
class LogAway:
    """Nobody reads the log from now on; what it says meanwhile comes late."""


@dataclass(frozen=True, slots=True)
class LogBack:
    """The log is read again, from where it was left: what is waited for may be on its way."""

    at: float


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A request of ours that failed, from `signals.jsonl`."""

    id: str
    started: float
    ended: float
    model: str
    status: int
    error: str


@dataclass(frozen=True, slots=True)
class Unloading:
    """We ask the server to unload a model now; that its memory is slow to come back is then no news."""

    model: str
    at: float


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Time went by; what was waited for may be due."""

    now: float


@dataclass(frozen=True, slots=True)
class Flush:
    """The log is at its end: settle whatever is open, as `scan` does."""


Observation = Line | Heard | LogAway | LogBack | FailedCall | Unloading | TimePassed | Flush


@dataclass(frozen=True, slots=True)
class Incident:
    """One failure, however many signals it gave.

    `first` and `last` are its signals' times, `first_line` and `last_line` their numbers; `signals` the
    patterns seen, each once; `model` a digest or tag, empty if none was named. `counts`: towards the
    threshold. `api`: a request of ours reported it too.
    """

    id: str
    kind: SignalKind
    cause: Cause
    counts: bool
    first: float
    last: float
    signals: tuple[str, ...]
    signal_count: int
    model: str
    reason: str
    first_line: int = 0
    last_line: int = 0
    load_began: float | None = None
    api: bool = False


@dataclass(frozen=True, slots=True)
class IncidentFound:
    """An incident's outcome is known; said once for each, and its `counts` is final."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class IncidentHealed:
    """An incident already told was got round after all (a try that nobody announced succeeded)."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class IncidentClosed:
    """Nothing can join the incident any more: its final form, with all that joined since it was found."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class SignalSeen:
    """A line was a signal: for the log, the metrics and `scan`."""

    signal: Signal
    time: float
    number: int
    incident: str


@dataclass(frozen=True, slots=True)
class SwapSeen:
    """A model is put out to make room for another: ordinary work."""

    model: str
    time: float


@dataclass(frozen=True, slots=True)
class LoadStarted:
    """A runner is being started for a model."""

    model: str
    time: float


@dataclass(frozen=True, slots=True)
class LoadFinished:
    """A load is over; `loaded` says how. The moment to look at where its layers went."""

    model: str
    time: float
    loaded: bool


@dataclass(frozen=True, slots=True)
class ServerStarted:
    """A server came up: what the old one had loaded is gone."""

    time: float


@dataclass(frozen=True, slots=True)
class GpuFound:
    """The server says what it computes on; `present` is False for the CPU."""

    present: bool
    detail: str
    time: float


Outcome = (
    IncidentFound
    | IncidentHealed
    | IncidentClosed
    | SignalSeen
    | SwapSeen
    | LoadStarted
    | LoadFinished
    | ServerStarted
    | GpuFound
)
