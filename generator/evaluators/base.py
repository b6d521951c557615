"""The seam between mining and whatever evaluates: submit candidates, collect what became of them.

It suits both kinds: a backtest that works at once through a whole batch, and a service that takes a few at a
time, answers after minutes and keeps working while the generator restarts. Such a service gets its candidates
again after a restart, since their rows are still pending, and resumes by what it kept of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from fleet.runtime.units import Seconds
from generator.catalogue import Kind
from generator.domain import Candidate, Performance, Source


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a candidate has no figures: the expression's own fault, in words that its author can act on."""

    reason: str


Result = Performance | Fault


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
