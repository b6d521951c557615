"""Patterns of a user from `fleet.toml`, restricted to expressions that are fast on any line (pure).

A pattern is an ASCII regular expression of a simple kind. `.*` splits it into pieces that are searched one after the
other. A piece may hold a few repeats, but no repeated group, look-around or back-reference. The work on a line is
therefore at most a small multiple of its length.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from fleet.memory_errors.causes import Cause
from fleet.memory_errors.table.rows import Pattern, signal

LONGEST = 200
MOST = 50
"""Largest number of patterns: each costs a pass over every chunk of the log."""
_MOST_REPEATS = 2
_MOST_OPTIONAL = 3
_WIDEST = 64
_WIDEST_OF_TWO = 16
PATTERN_CAUSES = ("allocation", "runner_died", "not_recovered", "spill", "retry", "swap", "host")
"""The causes that a pattern may name."""
_TOKEN = re.compile(
    r"(?P<literal>\\[^bBdDwWsSAZ0-9]|\\[bBdDwWsSAZ])|(?P<back>\\[0-9])|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*+\])"
    r"|(?P<look>\(\?(?!:))|(?P<open>\((?:\?:)?)|(?P<close>\))|(?P<repeat>[*+]|\{\d*,?\d*\})|(?P<option>\?)|(?P<other>.)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class UserPattern:
    """A pattern of the configuration; `name` is its name in reports."""

    pattern: str
    cause: str
    name: str


def fault(text: str) -> str | None:
    """Return the fault of a pattern, None if it has none."""
    if not 3 <= len(text) <= LONGEST:  # noqa: PLR2004 - what is shorter matches everything
        return f"has {len(text)} characters; 3 to {LONGEST} are allowed"
    if not text.isascii() or not text.isprintable():
        return "has characters other than printable ASCII"
    try:
        compiled = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    if compiled.search(""):
        return "matches an empty line, so it would match every line"
    return _slow(text)


def _slow(text: str) -> str | None:
    """Return why a pattern can be slow on a line, None if it cannot."""
    pieces = _pieces(text)
    if len(pieces) > 1 and "|" in _outermost(text):
        return "has both `.*` and `|` outside brackets; add it as two patterns"
    return next((problem for piece in pieces if (problem := _slow_piece(piece)) is not None), None)


def _slow_piece(piece: list[re.Match[str]]) -> str | None:
    """Return why one piece can be slow, None if it cannot."""
    kinds = [token.lastgroup for token in piece]
    if "look" in kinds:
        return "uses (?…), which is not allowed; only (?:…) is"
    if "back" in kinds:
        return "uses a back-reference, which is not allowed"
    if kinds.count("open") != kinds.count("close"):
        return "has `.*` inside a bracket, which can be slow"
    for before, token in pairwise(piece):
        if before.lastgroup == "close" and token.lastgroup == "repeat":
            return f"repeats a group ({token.group()} after a bracket), which can be slow; write it out"
    if kinds.count("repeat") > _MOST_REPEATS or kinds.count("option") > _MOST_OPTIONAL:
        return f"has more than {_MOST_REPEATS} repeats or {_MOST_OPTIONAL} `?` without `.*` between"
    widest = _WIDEST if kinds.count("repeat") <= 1 else _WIDEST_OF_TWO
    return next((problem for token in piece if (problem := _too_wide(token, widest)) is not None), None)


def _too_wide(token: re.Match[str], widest: int) -> str | None:
    repeat = token.group()
    if token.lastgroup != "repeat" or not repeat.startswith("{"):
        return None
    numbers = [int(number) for number in re.findall(r"\d{1,9}", repeat)]
    if not numbers or max(numbers) > widest or repeat.endswith(",}"):
        return f"repeats with {repeat}; at most {widest} times is allowed"
    return None


def _pieces(text: str) -> list[list[re.Match[str]]]:
    """Return the tokens of each piece between `.*` and `.+`, without empty pieces."""
    pieces: list[list[re.Match[str]]] = [[]]
    for token in _TOKEN.finditer(text):
        if token.group() in ("*", "+") and pieces[-1] and pieces[-1][-1].group() == ".":
            pieces[-1].pop()
            pieces.append([])
        elif not (token.lastgroup == "option" and not pieces[-1]):  # the lazy mark of `.*?`
            pieces[-1].append(token)
    return [piece for piece in pieces if piece]


def _outermost(text: str) -> str:
    """Return the part of a pattern outside its brackets."""
    depth, out = 0, []
    for token in _TOKEN.finditer(text):
        depth += token.lastgroup == "open"
        if not depth and token.lastgroup == "other":
            out.append(token.group())
        depth -= token.lastgroup == "close"
    return "".join(out)


def bounded_pieces(text: str) -> list[str]:
    """Return the pieces of a pattern, each with bounded repeats; they must match one after the other."""
    return [_bounded(piece) for piece in _pieces(text)]


def _bounded(piece: list[re.Match[str]]) -> str:
    """Return a piece with a bound on each repeat, a narrower one where it has two."""
    repeats = [token for token in piece if token.lastgroup == "repeat"]
    widest = _WIDEST if len(repeats) <= 1 else _WIDEST_OF_TWO
    bounds = {"*": f"{{0,{widest}}}", "+": f"{{1,{widest}}}"}
    return "".join(
        bounds.get(token.group(), token.group()) if token in repeats else token.group() for token in piece
    )


def user_patterns(rows: Iterable[UserPattern]) -> tuple[Pattern, ...]:
    """Return a row of the table for each pattern, in order."""
    return tuple(_row(row) for row in rows)


def _row(own: UserPattern) -> Pattern:
    first, *then = bounded_pieces(own.pattern)
    row = signal(own.name, first, (), Cause(own.cause), versions="added by the user", example="")
    return replace(row, then=tuple(re.compile(piece) for piece in then))
