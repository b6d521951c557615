"""What mining leaves behind, as values: a call to Ollama, a candidate, and what its evaluation found."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from fleet.config.keep_rule import COUNTS, METRICS
from fleet.runtime.units import Seconds
from generator.catalogue import Kind
from generator.language.ast import Node


def storable(text: str) -> str:
    """Return the text without what UTF-8 or PostgreSQL cannot hold: lone surrogates and NUL.

    JSON can carry both, so that a model's reply can, and an error that quotes it.
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


class Source(StrEnum):
    """Where an evaluation's figures come from.

    In a stand-in fleet everything is `STANDIN`: no model chose the expression, whatever it was tried on.
    """

    BRAIN = "brain"
    PANEL = "panel"
    SYNTHETIC = "synthetic"
    STANDIN = "stand-in"

    @property
    def real(self) -> bool:
        """Tell whether the figures are about a real market: BRAIN's, or the user's own panel."""
        return self in {Source.BRAIN, Source.PANEL}


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A finished call to Ollama; times are Unix seconds.

    `status` is HTTP's (200 with an `error` is one that came in mid-stream), 0 where no answer came at all.
    `thinking` is what came in a field of its own beside the reply.
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

    @property
    def answered(self) -> bool:
        """Tell whether the model answered to the end."""
        return self.error is None

    def signal(self) -> dict[str, Any]:
        """Return the row that the monitor reads in `signals.jsonl`."""
        return {
            "id": self.id,
            "started": round(self.started, 6),
            "ended": round(self.ended, 6),
            "model": self.model,
            "rung": self.rung,
            "switches": self.switches,
            "status": self.status,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Candidate:
    """A well-typed expression that waits for its evaluation; `digest` is that of its canonical form."""

    digest: str
    expression: str
    canonical: str
    call: str | None = None
    model: str = ""
    tree: Node | None = field(default=None, compare=False, repr=False)
    """The expression as the engine takes it; None where it came from the database and has to be parsed."""


@dataclass(frozen=True, slots=True)
class AlphaFigures:
    """An alpha's figures, by BRAIN's definitions."""

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
    """Why the figures mean nothing, whatever they are: such an alpha is stored, never kept and never an example."""

    def figures(self) -> dict[str, Any]:
        """Return the metrics and counts by name, None where one is not a finite number."""
        row = asdict(self)
        return {name: finite(row[name]) for name in (*METRICS, *COUNTS)}


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What became of a candidate: its performance, or why it has none."""

    candidate: Candidate
    source: Source
    settings: Mapping[str, Any]
    performance: AlphaFigures | None = None
    error: str | None = None
    kept: bool = False
    time: float = 0.0
    id: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What an evaluation was made under; an expression is tried once under each."""

    source: Source
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Return a short hash of the settings."""
        return hashlib.sha256(json.dumps(dict(self.settings), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of a reply's expressions were well-typed, were not, and had been tried before."""

    valid: int = 0
    invalid: int = 0
    duplicates: int = 0


def finite(value: Any) -> Any:
    """Return a number, None for what is none or not finite; JSON and SQL have no NaN in common."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass(frozen=True, slots=True)
class ExpressionFault:
    """Why a candidate has no figures: the expression's own fault, in words that its author can act on."""

    reason: str


Result = AlphaFigures | ExpressionFault


class Evaluator(Protocol):
    """Evaluates candidates. Used by one thread; raises GeneratorError where the evaluator itself fails."""

    @property
    def source(self) -> Source:
        """Return what its figures are about."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what it evaluates under; two evaluations under the same settings give the same figures."""

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return the data fields that it has with their kinds, None if it has all of the catalogue's."""

    @property
    def free(self) -> int:
        """Return how many candidates it takes now."""

    def submit(self, candidates: Sequence[Candidate]) -> None:
        """Take candidates in, at most `free` of them."""

    def results(self, patience: Seconds) -> Sequence[tuple[Candidate, Result]]:
        """Return what is done, after at most about `patience` where nothing is."""

    def close(self) -> None:
        """Let go of what it holds; what is in the works may go on elsewhere."""


@runtime_checkable
class Remembering(Protocol):
    """An evaluator that compares what it evaluates with the alphas that are kept."""

    def remember(self, candidates: Sequence[Candidate]) -> None:
        """Compare later ones with these too; one that cannot be evaluated is passed over."""
