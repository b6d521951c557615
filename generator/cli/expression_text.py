"""Expressions as people give them to the command line, and how their faults are shown."""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fleet.runtime.logging import plain_text
from generator.language import ExpressionError

_FROM_STDIN = "-"
_SHOWN = 500


def expressions_of(arguments: Sequence[str], stdin: Iterable[str] | None = None) -> Iterator[str]:
    """Yield the expressions that arguments name: themselves, or for `-` the lines of standard input."""
    for argument in arguments:
        if argument != _FROM_STDIN:
            yield argument
            continue
        for line in _standard_input() if stdin is None else stdin:
            if line.strip():
                yield line.strip()


def _standard_input() -> Iterable[str]:
    """Return the lines of standard input, whatever its bytes are: what is no text is the parser's to refuse."""
    return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace")


def shown(expression: str) -> str:
    """Return an expression as it may be printed: on one line, of bounded length, without control characters."""
    text = expression.encode("utf-8", "replace").decode()
    return plain_text(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def error_row(error: ExpressionError) -> dict[str, Any]:
    """Return what is wrong with an expression: its place (an offset; line and column from 1) and why."""
    return {
        "position": error.position,
        "line": error.line,
        "column": error.column,
        "reason": error.message,
        "hint": error.hint,
    }


def error_sentence(expression: str, error: dict[str, Any]) -> str:
    """Return what is wrong with an expression, for a person."""
    line, column, position = error.get("line"), error.get("column"), error["position"]
    place = f"line {line}, column {column} (position {position}): " if line else ""
    hint = f" ({error['hint']})" if error.get("hint") else ""
    return f"wrong: {shown(expression)}\n  {place}{plain_text(error['reason'])}{hint}"
