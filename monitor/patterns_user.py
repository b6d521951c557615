"""The rows of the pattern table that a user has added in `fleet.toml`, which has checked them."""

import re
from collections.abc import Iterable
from dataclasses import replace

from fleet.user_patterns import UserPattern, bounded_pieces
from monitor.patterns import Pattern
from monitor.patterns_make import signal
from monitor.signals import Cause


def user_patterns(rows: Iterable[UserPattern]) -> tuple[Pattern, ...]:
    """Return rows of the table for a user's patterns, in order."""
    return tuple(_row(row) for row in rows)


def _row(own: UserPattern) -> Pattern:
    first, *then = bounded_pieces(own.pattern)
    row = signal(own.name, first, (), Cause(own.cause), versions="added by the user", example="")
    return replace(row, then=tuple(re.compile(piece) for piece in then))
