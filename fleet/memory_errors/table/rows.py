"""The form of the pattern table: one `Pattern` a wording, with its cause, versions and an example.

Every expression is searched in untrusted text. None may backtrack badly: literals, character classes with possessive
or bounded repeats, no repeat of a repeat. `needles` are literals; each line that the expression matches holds one of
them. The prefilter is made of the needles.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from fleet.memory_errors.causes import KIND_OF, Cause, LogEventKind, Part, SignalKind


class PatternScope(StrEnum):
    """The text that is searched for a wording: plain lines of a runner or viewer, slog lines' `msg`, or both."""

    PLAIN = "plain"
    SERVER = "server"
    ANY = "any"


class ErrorUse(StrEnum):
    """Effect of a slog line's `error=` on the verdict.

    ignored   none
    decides   the line is a signal only if the error is about memory; the signal has the error's kind
    corrects  the line is a signal; an error about host memory makes it a failure of host memory, and an error that is
              known to be no memory's makes it no signal
    refutes   as `corrects`; an error that is not about memory makes the line no signal
    """

    IGNORED = "ignored"
    DECIDES = "decides"
    CORRECTS = "corrects"
    REFUTES = "refutes"


class FieldCheck(StrEnum):
    """A condition beyond the wording, on numbers or fields of the line."""

    NONE = "none"
    PARTIAL_OFFLOAD = "partial_offload"
    PARTIAL_PLAN = "partial_plan"
    SCHED_WARNING = "sched_warning"
    LIMITED_PROJECTOR = "limited_projector"
    NAMES_HOST = "names_host"
    NAMES_GPU = "names_gpu"
    REPORTS = "reports"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A wording that is a signal. Named groups read by the judge: device, bytes, mib, part.

    `then`: further expressions that must follow, one after the other.
    """

    id: str
    expression: re.Pattern[str]
    needles: tuple[str, ...]
    cause: Cause
    kind: SignalKind
    part: Part
    vague: bool
    scope: PatternScope
    error: ErrorUse
    check: FieldCheck
    versions: str
    backend: str
    example: str
    then: tuple[re.Pattern[str], ...] = ()


@dataclass(frozen=True, slots=True)
class EventPattern:
    """A wording that is an event; named groups read by the detector: part, whole."""

    id: str
    expression: re.Pattern[str]
    needles: tuple[str, ...]
    kind: LogEventKind
    final: bool
    versions: str
    example: str


def signal(
    identity: str,
    expression: str,
    needles: tuple[str, ...],
    cause: Cause,
    *,
    example: str,
    versions: str,
    kind: SignalKind | None = None,
    part: Part = Part.FIRST,
    vague: bool = False,
    scope: PatternScope = PatternScope.PLAIN,
    error: ErrorUse = ErrorUse.IGNORED,
    check: FieldCheck = FieldCheck.NONE,
    backend: str = "",
) -> Pattern:
    """Return the row of a signal; `kind` defaults to the kind of its cause."""
    return Pattern(
        id=identity,
        expression=re.compile(expression),
        needles=needles,
        cause=cause,
        kind=kind or KIND_OF[cause],
        part=part,
        vague=vague,
        scope=scope,
        error=error,
        check=check,
        versions=versions,
        backend=backend,
        example=example,
    )


def event(
    identity: str,
    expression: str,
    needles: tuple[str, ...],
    kind: LogEventKind,
    *,
    example: str,
    versions: str = "all",
    final: bool = False,
) -> EventPattern:
    """Return the row of an event."""
    return EventPattern(
        id=identity,
        expression=re.compile(expression),
        needles=needles,
        kind=kind,
        final=final,
        versions=versions,
        example=example,
    )
