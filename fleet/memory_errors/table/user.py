"""The rows of the pattern table that a user has added in `fleet.toml`, which has checked them."""

import re
from collections.abc import Iterable
from dataclasses import replace

from fleet.memory_errors.causes import Cause
from fleet.memory_errors.table.make import signal
from fleet.memory_errors.table.rows import Pattern
from fleet.memory_errors.user_patterns import UserPattern, bounded_pieces


def user_patterns(rows: Iterable[UserPattern]) -> tuple[Pattern, ...]:
    """Return rows of the table for a user's patterns, in order."""
    return tuple(_row(row) for row in rows)


def _row(own: UserPattern) -> Pattern:
    first, *then = bounded_pieces(own.pattern)
    row = signal(own.name, first, (), Cause(own.cause), versions="added by the user", example="")
    return replace(row, then=tuple(re.compile(piece) for piece in then))
