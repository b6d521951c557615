"""The form of the pattern table: one `Pattern` a wording, with its cause, versions and an example.

Every expression here is searched in untrusted text, so none may backtrack badly: literals, character classes
with possessive or bounded repeats, no repeat over a repeat. `needles` are literals of which one stands in
each line that the expression matches; the prefilter is made of them.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from fleet.memory_errors.causes import KIND_OF, Cause, LogEventKind, Part, SignalKind


class PatternScope(StrEnum):
    """Where a wording is looked for: a runner's or viewer's plain line, a slog line's `msg`, or both."""

    PLAIN = "plain"
    SERVER = "server"
    ANY = "any"


class ErrorUse(StrEnum):
    """What a slog line's `error=` does to the verdict.

    ignored   nothing
    decides   there is a signal only if the error speaks of memory, and it is of the error's kind
    corrects  there is a signal in any case; an error that speaks of the host's memory makes it the host's
    refutes   as `corrects`, and an error that speaks of no memory at all makes it none
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
    NO_LAYERS = "no_layers"
    NAMES_HOST = "names_host"
    NAMES_GPU = "names_gpu"
    REPORTS = "reports"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A wording that is a signal. Named groups read by the detector: device, bytes, mib.

    `then` are further expressions that must follow one another after the first.
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
    """A wording that tells of the server's work; groups as in `Pattern`, and `detail`."""

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
    """Make a signal's row; without `kind` it is the cause's own."""
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
    """Make an event's row."""
    return EventPattern(
        id=identity,
        expression=re.compile(expression),
        needles=needles,
        kind=kind,
        final=final,
        versions=versions,
        example=example,
    )
