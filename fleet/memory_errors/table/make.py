"""How a row of the pattern table is made: what is left out is the common case."""

import re

from fleet.memory_errors.causes import KIND_OF, Cause, EventKind, Kind, Part
from fleet.memory_errors.table.rows import Check, ErrorUse, EventPattern, Pattern, Scope


def signal(
    identity: str,
    expression: str,
    needles: tuple[str, ...],
    cause: Cause,
    *,
    example: str,
    versions: str,
    kind: Kind | None = None,
    part: Part = Part.FIRST,
    vague: bool = False,
    scope: Scope = Scope.PLAIN,
    error: ErrorUse = ErrorUse.IGNORED,
    check: Check = Check.NONE,
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
    kind: EventKind,
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
