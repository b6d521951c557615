"""Patterns that a user adds in `fleet.toml`: checked before anything starts, and bounded in their work.

A pattern is an ASCII regular expression of a plain kind. `.*` stands for "anything between": its pieces are
searched one after the other. Within a piece a few repeats are allowed, none of a group, and no
look-around or back-reference. That keeps the work on any line to a small multiple of its length.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from fleet.errors import ConfigError
from monitor.patterns import Pattern
from monitor.patterns_make import signal
from monitor.signals import Cause

LONGEST = 200
MOST = 50
_MOST_REPEATS = 2
_MOST_OPTIONAL = 3
_WIDEST = 64
_WIDEST_OF_TWO = 16
_CAUSES = (
    Cause.ALLOCATION,
    Cause.RUNNER_DIED,
    Cause.NOT_RECOVERED,
    Cause.SPILL,
    Cause.RETRY,
    Cause.SWAP,
    Cause.HOST,
)
_TOKEN = re.compile(
    r"(?P<literal>\\[^bBdDwWsSAZ0-9]|\\[bBdDwWsSAZ])|(?P<back>\\[0-9])|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*+\])"
    r"|(?P<look>\(\?(?!:))|(?P<open>\((?:\?:)?)|(?P<close>\))|(?P<repeat>[*+]|\{\d*,?\d*\})|(?P<option>\?)|(?P<other>.)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class UserPattern:
    """A pattern as the configuration has it."""

    pattern: str
    cause: str


def user_patterns(rows: Sequence[UserPattern | Mapping[str, object]]) -> tuple[Pattern, ...]:
    """Return the rows as table rows `user-1`, `user-2`, …; raise ConfigError that names every faulty one."""
    problems: list[str] = []
    made: list[Pattern] = []
    for number, row in enumerate(rows, start=1):
        text, cause = _parts(row)
        problem = fault(text, cause) if number <= MOST else f"at most {MOST} can be added"
        if problem is None:
            made.append(_row(number, text, Cause(cause)))
        else:
            problems.append(f"pattern {number} ({text[:60]!r}): {problem}")
    if problems:
        raise ConfigError("; ".join(problems), hint="pieces of plain text with `.*` between them always work")
    return tuple(made)


def fault(text: str, cause: str) -> str | None:
    """Return what is wrong with a pattern, None if nothing."""
    if cause not in {each.value for each in _CAUSES}:
        return f"cause {cause!r} is none of {', '.join(_CAUSES)}"
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
    """Return why a pattern could be slow on some line, None if it cannot."""
    pieces = _pieces(text)
    if len(pieces) > 1 and "|" in _outermost(text):
        return "has both `.*` and `|` outside brackets; add it as two patterns"
    return next((problem for piece in pieces if (problem := _slow_piece(piece)) is not None), None)


def _slow_piece(piece: list[re.Match[str]]) -> str | None:
    """Return why one piece could be slow."""
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
    """Split a pattern at its `.*` and `.+`; the pieces' tokens, empty pieces left out."""
    pieces: list[list[re.Match[str]]] = [[]]
    for token in _TOKEN.finditer(text):
        if token.group() in ("*", "+") and pieces[-1] and pieces[-1][-1].group() == ".":
            pieces[-1].pop()
            pieces.append([])
        elif not (token.lastgroup == "option" and not pieces[-1]):  # the lazy mark of `.*?`
            pieces[-1].append(token)
    return [piece for piece in pieces if piece]


def _outermost(text: str) -> str:
    """Return what of a pattern stands outside its brackets."""
    depth, out = 0, []
    for token in _TOKEN.finditer(text):
        depth += token.lastgroup == "open"
        if not depth and token.lastgroup == "other":
            out.append(token.group())
        depth -= token.lastgroup == "close"
    return "".join(out)


def _row(number: int, text: str, cause: Cause) -> Pattern:
    first, *then = [_bounded(piece) for piece in _pieces(text)]
    row = signal(f"user-{number}", first, (), cause, versions="added by the user", example="")
    return replace(row, then=tuple(re.compile(piece) for piece in then))


def _bounded(piece: list[re.Match[str]]) -> str:
    """Return a piece with a bound on each repeat, a narrower one where there are two."""
    repeats = [token for token in piece if token.lastgroup == "repeat"]
    widest = _WIDEST if len(repeats) <= 1 else _WIDEST_OF_TWO
    bounds = {"*": f"{{0,{widest}}}", "+": f"{{1,{widest}}}"}
    return "".join(
        bounds.get(token.group(), token.group()) if token in repeats else token.group() for token in piece
    )


def _parts(row: UserPattern | Mapping[str, object]) -> tuple[str, str]:
    if isinstance(row, UserPattern):
        return row.pattern, row.cause
    return str(row.get("pattern", "")), str(row.get("cause", Cause.ALLOCATION))
