"""Values and protocols that the rooms of the generator exchange: assignment, call, candidate, evaluation."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum, StrEnum, auto
from typing import Any, Protocol, runtime_checkable

from fleet.config.keep_rule import COUNTS, METRICS
from fleet.runtime.backoff import doubling_backoff
from fleet.runtime.pause_request import Pause
from fleet.runtime.units import Seconds
from generator.catalogue import Kind
from generator.language.ast import Node

# Single replies without a valid expression are normal.
_SEVERAL = 5
_LONGEST_PAUSE: Seconds = 120.0
CUT = "cut"
"""`done_reason` of a call that this program ended, which is neither answered nor failed."""


def storable(text: str) -> str:
    """Return the text with lone surrogates and NUL replaced: UTF-8 and PostgreSQL cannot hold them.

    JSON carries both, and thus a model's reply or a quoted error may.
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


class Source(StrEnum):
    """Origin of an evaluation's figures.

    Every evaluation of a stand-in fleet is `STANDIN`, also on a real panel: no model wrote the expression.
    """

    BRAIN = "brain"
    PANEL = "panel"
    SYNTHETIC = "synthetic"
    STANDIN = "stand-in"

    @property
    def real(self) -> bool:
        """Return True if the figures describe a real market: BRAIN's, or the user's own panel."""
        return self in {Source.BRAIN, Source.PANEL}


class Origin(StrEnum):
    """Author of an expression: the model, breeding, a search around an alpha, or the reversed sign of an alpha."""

    MODEL = "model"
    BRED = "bred"
    VARIED = "varied"
    FLIPPED = "flipped"


@dataclass(frozen=True, slots=True)
class Assignment:
    """The generator's model with its rung's Ollama options. `switches` is the number of the switch that chose it."""

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rung: int = 0
    switches: int = 0
    lane: str = "default"


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A finished call to Ollama; times are Unix seconds.

    `status` is HTTP's; 0 means no answer, and 200 with an `error` means an error in mid-stream. `thinking` is the
    answer's field of that name. `load_seconds` is Ollama's time for loading the model. `first_token_seconds` adds its
    time for the prompt. Each is None without a report. `rate` is in tokens per second of pure generation, `version`
    Ollama's. `took` is the call's duration in monotonic seconds, which neither a suspended machine nor a set clock
    changes; None for a call that an older version stored.
    """

    id: str
    started: float
    ended: float
    model: str
    rung: int
    switches: int
    prompt: str
    status: int
    reply: str = ""
    error: str | None = None
    done_reason: str = ""
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    seed: int = 0
    source: str = "model"
    thinking: str = ""
    load_seconds: Seconds | None = None
    first_token_seconds: Seconds | None = None
    rate: float | None = None
    version: str = ""
    took: Seconds | None = None

    @property
    def seconds(self) -> Seconds:
        """Return the call's duration."""
        return self.ended - self.started if self.took is None else self.took

    @property
    def cut(self) -> bool:
        """Return True if this program ended the call."""
        return self.done_reason == CUT

    @property
    def answered(self) -> bool:
        """Return True if the model answered to the end."""
        return self.error is None and not self.cut

    def signal(self) -> dict[str, Any]:
        """Return the call's row in `signals.jsonl`, which the monitor reads."""
        return {
            "id": self.id,
            "started": round(self.started, 6),
            "ended": round(self.ended, 6),
            "model": self.model,
            "rung": self.rung,
            "switches": self.switches,
            "status": self.status,
            "error": self.error,
            "rate": self.rate,
            "version": self.version,
            "seconds": round(self.seconds, 6),
        }


class CallVerdict(Enum):
    """Outcome of a call.

    ANSWERED holds a valid expression, UNUSABLE text without one, EMPTY no text. The others are failures.
    """

    ANSWERED = auto()
    UNUSABLE = auto()
    EMPTY = auto()
    MEMORY = auto()
    MISSING = auto()
    FORMAT = auto()
    THINK = auto()
    CONTEXT = auto()
    REFUSED = auto()
    AWAY = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason why a call gave no usable expression, with the remedy. Reasons of one cause share their `kind`."""

    kind: str
    text: str
    mend: str


@dataclass(frozen=True, slots=True)
class Streak:
    """Calls in a row without a usable reply; `since` is the start of the first in Unix seconds."""

    calls: int = 0
    since: float = 0.0
    reason: Reason | None = None

    @property
    def several(self) -> bool:
        """Return True if the streak is long enough to be reported and to slow calls down."""
        return self.calls >= _SEVERAL

    @property
    def pause(self) -> Seconds:
        """Return the back-off before the next call."""
        return doubling_backoff(1.0, self.calls - _SEVERAL + 1, most=_LONGEST_PAUSE) if self.several else 0.0

    def extended(self, reason: Reason, started: float) -> "Streak":
        """Return the streak with one more call, which began at `started` (Unix seconds)."""
        return Streak(self.calls + 1, self.since if self.calls else started, reason)

    def row(self) -> dict[str, Any] | None:
        """Return the streak's value in `generator.json`, None if it is too short to be reported."""
        if not self.several or self.reason is None:
            return None
        return {
            "since": self.since,
            "calls": self.calls,
            "kind": self.reason.kind,
            "reason": self.reason.text,
            "mend": self.reason.mend,
        }


@dataclass(frozen=True, slots=True)
class ThrottleState:
    """Snapshot of the throttle; `request_since` is the start of the oldest call in flight, in Unix seconds."""

    in_flight: int
    request_since: float | None
    pause: Pause | None
    streak: Streak = field(default_factory=Streak)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A well-typed expression to be evaluated; `digest` is the hash of its canonical form."""

    digest: str
    expression: str
    canonical: str
    call: str | None = None
    model: str = ""
    tree: Node | None = field(default=None, compare=False, repr=False)
    """The parsed expression; None for a candidate read from the database."""
    origin: Origin = Origin.MODEL
    parents: tuple[str, ...] = ()
    """Digests of the alphas that the expression was made from; empty for the model's."""
    claim: int = field(default=0, compare=False)
    """Fencing number: how often another owner has claimed the candidate."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Figures of one stretch of days; NaN for a figure that is not known."""

    sharpe: float
    turnover: float
    fitness: float
    returns: float
    days: int


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of an alpha's daily PnL on the days before the test: inputs of the deflated Sharpe ratio.

    `sharpe` is daily: mean / deviation. `kurtosis` is 3 for a normal distribution.
    """

    sharpe: float
    days: int
    skewness: float
    kurtosis: float


@dataclass(frozen=True, slots=True)
class AlphaFigures:
    """An alpha's figures by BRAIN's definitions; NaN for a figure that is not known.

    On a panel with a split, figures, checks and reason are those of the train days alone.
    """

    sharpe: float
    turnover: float
    fitness: float
    returns: float
    drawdown: float
    margin: float
    long_count: float
    short_count: float
    days: int | None
    checks: Sequence[Mapping[str, Any]] = ()
    alpha_id: str | None = None
    grade: str | None = None
    reason: str = ""
    """Why the figures mean nothing; empty if they mean something. With a reason an alpha is stored, but not kept."""
    validation: Stretch | None = None
    test: Stretch | None = None
    moments: Moments | None = None
    pnl: bytes = field(default=b"", repr=False)
    """Daily PnL as float32, from the first day that earns; the first `days` values are the train days."""

    def figures(self) -> dict[str, Any]:
        """Return the metrics and counts by name, None for a figure that is not finite."""
        return {name: finite(getattr(self, name)) for name in (*METRICS, *COUNTS)}


@dataclass(frozen=True, slots=True)
class Split:
    """The first dates of validation and of test; the days before are for training."""

    validation_from: date
    test_from: date

    def as_json(self) -> dict[str, str]:
        """Return both dates in ISO form."""
        return {"validation_from": self.validation_from.isoformat(), "test_from": self.test_from.isoformat()}


@dataclass(frozen=True, slots=True)
class Admission:
    """Decision about the pool: admitted or not, and why not.

    `replaced` are the digests of the members that it replaces, `rival` that of a member that is too close.
    """

    admitted: bool
    reason: str = ""
    replaced: tuple[str, ...] = ()
    rival: str = ""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluated candidate: its performance, or the error that it failed with.

    `admission` is None where the pool was not asked. `self_correlation` is the highest with another member of the
    pool, None if it is not known. `correlations` are those with each member, by digest. `new_trial` is set by the
    store: the expression had no figures before under the user's settings.
    """

    candidate: Candidate
    source: Source
    settings: Mapping[str, Any]
    performance: AlphaFigures | None = None
    error: str | None = None
    kept: bool = False
    time: float = 0.0
    id: int | None = field(default=None, compare=False)
    admission: Admission | None = None
    self_correlation: float | None = None
    correlations: Mapping[str, float] = field(default_factory=dict, compare=False)
    new_trial: bool = field(default=False, compare=False)


# Settings that no user chooses: the panel's content, and the versions of the code behind its figures.
BASIS = ("data", "last_date", "engine", "canonical", "validation_from", "test_from")


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Conditions of an evaluation: an expression is evaluated once under each ruleset.

    `settings` hold the user's settings, and for a panel also those named in BASIS.
    """

    source: Source
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Return a short hash of the settings. A known content stands for the panel: its path does not count."""
        known = self.settings.get("data") is not None
        counted = {name: value for name, value in self.settings.items() if not (known and name == "panel")}
        return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of a reply's expressions: well-typed, not well-typed, and known before."""

    valid: int = 0
    invalid: int = 0
    duplicates: int = 0


def finite(value: Any) -> Any:
    """Return the value, None for a float that is not finite: JSON and SQL have no common NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def failure_reason(reason: str, days: int | None) -> str:
    """Return the reason of figures that mean nothing, in words for a prompt; `days` are those with positions."""
    return f"never takes a position: {reason}" if days == 0 else reason


@dataclass(frozen=True, slots=True)
class ExpressionFault:
    """Why an expression has no figures, in words that its author can act on."""

    reason: str


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Dask workers in use, and why there is none; the reason is empty before the first check."""

    workers: int = 0
    reason: str = ""
    hint: str = ""
    since: float = 0.0


Result = AlphaFigures | ExpressionFault


class Evaluator(Protocol):
    """Evaluates candidates, in one thread. Methods raise GeneratorError if the evaluator itself fails."""

    @property
    def source(self) -> Source:
        """Return the origin of the figures."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the settings of the evaluation; the same settings give the same figures."""

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return the available data fields with their kinds, None for all of the catalogue."""

    @property
    def free(self) -> int:
        """Return how many candidates `submit` accepts now."""

    def submit(self, candidates: Sequence[Candidate]) -> None:
        """Accept candidates, at most `free` of them."""

    def results(self, timeout: Seconds) -> Sequence[tuple[Candidate, Result]]:
        """Return finished evaluations; wait about `timeout` for the first."""

    def close(self) -> None:
        """Free resources. Work on another server may continue."""


@runtime_checkable
class NoticesNewData(Protocol):
    """An evaluator whose data may change while it is in use."""

    def has_new_data(self) -> bool:
        """Return True if the data changed since they were read, and not since the last call."""
