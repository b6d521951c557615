"""Reads expressions from arguments, standard input and files, and formats their errors."""

import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from fleet.runtime.errors import FleetError
from fleet.runtime.logging import plain_text
from generator.language import ExpressionError
from generator.language.ast import MAX_CHARACTERS

_FROM_STDIN = "-"
_SHOWN = 500
_MOST_LINES = 1000
"""Most lines of one alpha: each line reads those before it once more."""
_COMMENT: Final = re.compile(r"/\*.*?\*/|(/\*).*|//[^\n]*|#[^\n]*", re.DOTALL)
_ASSIGNMENT: Final = re.compile(r"\s*[A-Za-z_][A-Za-z0-9_]*\s*=(?!=)")
_ASSIGNED: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=(?!=)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNFINISHED: Final = re.compile(r"(?:[-+*/^<>=!&|?:,]|\b(?:and|or|not))\Z")
"""The end of a line that is continued on the next."""
_CONTINUES: Final = re.compile(r"[)*^<>=?:,&|]|/(?![/*])|!=|[-+]\s|(?:and|or)\b")
"""The beginning of a line that continues the previous one; a sign without a space begins a new alpha."""
_OPERAND: Final = re.compile(r"[A-Za-z0-9_.\"']")
_AFTER_OPERAND: Final = re.compile(r"[A-Za-z0-9_.\"')]\Z")


class ExpressionCommand(click.Command):
    """A command of expressions. All of its options are long: a short one is an expression that begins with `-`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; an error about such an expression names the remedy."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name.startswith("--"):
                raise
            sentence = f"{error.message} An expression that begins with `-` must follow `--`."
            raise click.NoSuchOption(error.option_name, sentence, ctx=ctx) from None


def expressions_of(
    arguments: Sequence[str], stdin: Iterable[str] | None = None, *, files: Sequence[Path] = ()
) -> Iterator[str]:
    """Yield the expressions of the arguments, for `-` those of standard input, then those of files.

    Raises UsageError without arguments and files, or if they hold no expression. The empty pipe of a failed program is
    therefore an error. Raises FleetError for a file that cannot be read.
    """
    if not arguments and not files:
        raise click.UsageError("Missing argument 'EXPR...', or --file.")
    found = False
    for text in _texts(arguments, stdin, files):
        found = True
        yield text
    if not found:
        places = ["standard input"] if arguments else []
        raise click.UsageError(f"There is no expression in {', '.join([*places, *map(str, files)])}.")


def _texts(arguments: Sequence[str], stdin: Iterable[str] | None, files: Sequence[Path]) -> Iterator[str]:
    for argument in arguments:
        if argument == _FROM_STDIN:
            yield from alphas_in(_standard_input() if stdin is None else stdin)
        else:
            yield argument
    for path in files:
        try:
            with path.open(encoding="utf-8-sig", errors="replace") as lines:
                yield from alphas_in(lines)
        except OSError as error:
            raise FleetError(f"{path} cannot be read: {error.strerror}", hint="Name another file.") from error


def _standard_input() -> Iterable[str]:
    """Return the lines of standard input; bytes that are no UTF-8 are replaced, and the parser refuses them."""
    if sys.stdin is None:
        raise FleetError(
            "standard input is closed", hint="Name a file by --file, or pipe the expressions in."
        )
    return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace")


def alphas_in(lines: Iterable[str]) -> Iterator[str]:
    """Yield the alphas of a text.

    An alpha ends at an empty line, at a `;` after its expression, or after a complete line. Assignments, open
    parentheses, open comments and lines that begin or end with a sign are continued. An assignment is continued over
    an empty line, if what follows is an assignment or uses its name. A part that stays open to the end is one alpha a
    line: one broken line breaks no other.
    """
    waiting: list[str] = []
    code = ""
    for line in lines:
        if waiting and "/*" not in code and not _is_continued(code, line.rstrip(), waiting):
            yield from _alpha(waiting)
            waiting, code = [], ""
        if line.strip() or waiting:
            waiting.append(line.rstrip())
            if "/*" not in code or "*/" in line:  # else the comment goes on
                code = _code(waiting)
    yield from _alpha(waiting)


def _alpha(lines: list[str]) -> Iterator[str]:
    code = _code(lines)
    is_open = "/*" in code or code.count("(") > code.count(")")
    for part in _parts(lines) if is_open else [lines]:
        if _code(part).strip("; \n"):  # a `;` on its own line ends the alpha before it
            yield "\n".join(part).strip()


def _parts(lines: list[str]) -> Iterator[list[str]]:
    """Yield the lines, each with the following ones that cannot begin an alpha: indented ones, closing parentheses."""
    part: list[str] = []
    for line in lines:
        if part and _OPERAND.match(line) and not _CONTINUES.match(line):
            yield part
            part = []
        part.append(line)
    yield part


def _code(lines: list[str]) -> str:
    """Return the lines without their comments; an open comment keeps its beginning, `/*`."""
    return _COMMENT.sub(lambda found: found[1] or " ", "\n".join(lines)).strip()


def _is_continued(code: str, line: str, lines: list[str]) -> bool:
    if len(lines) > _MOST_LINES or sum(map(len, lines)) > MAX_CHARACTERS:
        return False
    last = code.rstrip(";").rpartition(";")[2]
    assigns = _ASSIGNMENT.match(last) is not None
    if not line or _is_after_gap(lines):
        return assigns and code.endswith(";") and (not _code([line]) or _goes_on_with(code, line))
    depth = code.count("(") - code.count(")")
    is_open = not code or depth > 0 or assigns
    if is_open or code.endswith(";"):
        return is_open and not (depth > 0 and _is_new_operand(code, line))
    return _UNFINISHED.search(code) is not None or _CONTINUES.match(line.lstrip()) is not None


def _is_after_gap(lines: list[str]) -> bool:
    """Return True if only comments stand after the last empty line."""
    gap = max((number for number, line in enumerate(lines) if not line), default=None)
    return gap is not None and not _code(lines[gap:])


def _goes_on_with(code: str, line: str) -> bool:
    """Return True if a line assigns a name, too, or uses one that the code assigns."""
    names = set(_ASSIGNED.findall(code))
    return _ASSIGNMENT.match(line) is not None or not names.isdisjoint(_NAME.findall(line))


def _is_new_operand(code: str, line: str) -> bool:
    """Return True if a line begins with an operand after an operand, which begins a new alpha."""
    goes_on = _UNFINISHED.search(code) or _CONTINUES.match(line)
    return not goes_on and bool(_AFTER_OPERAND.search(code)) and bool(_OPERAND.match(line))


def shown(expression: str) -> str:
    """Return an expression for printing: on one line, of bounded length, without control characters."""
    text = expression.encode("utf-8", "replace").decode()
    return plain_text(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def error_row(error: ExpressionError) -> dict[str, Any]:
    """Return an expression's error as a JSON row: offset, line and column from 1, reason and hint."""
    return {
        "position": error.position,
        "line": error.line,
        "column": error.column,
        "reason": error.message,
        "hint": error.hint,
    }


def error_sentence(expression: str, error: dict[str, Any]) -> str:
    """Return an expression's error as a message for people."""
    line, column, position = error.get("line"), error.get("column"), error["position"]
    place = f"line {line}, column {column} (position {position}): " if line else ""
    hint = f" ({error['hint']})" if error.get("hint") else ""
    return f"wrong: {shown(expression)}\n  {place}{plain_text(error['reason'])}{hint}"
