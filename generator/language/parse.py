"""FASTEXPR text to a tree, with names resolved; `check` checks the kinds.

The first parse imports Lark and makes its tables. Each thread has its own parser.
"""

import re
import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from generator.catalogue.model import Catalogue
from generator.language.ast import MAX_CHARACTERS, Node
from generator.language.builder import TreeBuilder
from generator.language.errors import ExpressionError

if TYPE_CHECKING:
    from lark.exceptions import UnexpectedInput

_HINTS: Final = {
    "=": "equality is written ==, an assignment is a statement of its own",
    ",": "a comma only separates the arguments of an operator",
    ")": "there is a closing parenthesis too many, or an argument is missing",
    "/*": "a comment that begins with /* ends with */",
    "**": "a power is written power(x, y) or x ^ y",
}
_OPERANDS: Final = frozenset({"NAME", "NUMBER", "STRING", "LPAR"})
_ASSIGNED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\s*=(?!=)")
PLAIN_SIGNS: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{ASTERISK OPERATOR}": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{ZERO WIDTH SPACE}": " ",
        "\N{ZERO WIDTH NO-BREAK SPACE}": " ",
    }
)
"""Signs of a Chinese or Japanese keyboard and of formatted text, each to the plain one: positions stay."""
_CHARACTERS: Final = {
    '"': "a text ends with the quote that it began with, on the same line",
    "'": "a text ends with the quote that it began with, on the same line",
    "{": "there are no braces in this language",
    "[": "there are no square brackets in this language",
    "%": "there is no such sign; use the operators by name",
    "&": "logic is written and(x, y) or &&",
    "|": "logic is written or(x, y) or ||, a size abs(x)",
    ".": "names have no dots, as in sector for IndClass.sector; write all arguments out",
    "\\": "there are no backslashes in this language",
    "`": "an expression stands without backticks",
    "$": "an expression stands without dollar signs",
    "\N{EM DASH}": "write a plain minus: -",
    "\N{LESS-THAN OR EQUAL TO}": "write <=",
    "\N{GREATER-THAN OR EQUAL TO}": "write >=",
    "\N{NOT EQUAL TO}": "write !=",
    "\N{SQUARE ROOT}": "a root is written sqrt(x)",
    "\N{SUPERSCRIPT TWO}": "a power is written power(x, y) or x ^ y",
}
_COMMENT: Final = re.compile(r"/\*.*?\*/|(?://|#)[^\n]*", re.DOTALL)


def parse(text: str, catalogue: Catalogue) -> Node:
    """Return the tree of one alpha: statements `name = …;`, substituted into the last expression.

    Raises ExpressionError with position, line and column. Causes are a syntax error, an operator or name missing from
    the catalogue, and an unused expression. Others are the bounds MAX_CHARACTERS, MAX_DEPTH and MAX_NODES.
    """
    return _threads.reader().read(text, catalogue)


_building = threading.Lock()
"""Lark reads its grammar by `ast`, which in Python before 3.11.5 fails in two threads at once (gh-106905)."""


class _Reader:
    """One thread's parser: Lark's tables with the builder that they call."""

    def __init__(self) -> None:
        from lark import Lark, UnexpectedInput  # noqa: PLC0415 - most programs never parse

        self._builder = TreeBuilder()
        self._refused: type[UnexpectedInput] = UnexpectedInput
        grammar = (Path(__file__).parent / "grammar.lark").read_text(encoding="utf-8")
        with _building:
            self._lark = Lark(
                grammar, parser="lalr", lexer="basic", transformer=self._builder, maybe_placeholders=False
            )

    def read(self, text: str, catalogue: Catalogue) -> Node:
        if len(text) > MAX_CHARACTERS:
            raise ExpressionError(f"longer than {MAX_CHARACTERS} characters", MAX_CHARACTERS)
        self._builder.begin(catalogue)
        try:
            self._lark.parse(text if text.isascii() else text.translate(PLAIN_SIGNS))
            return self._builder.finish()
        except self._refused as error:
            raise _syntax_error(error, text).within(text) from None
        except ExpressionError as error:
            error.within(text)
            raise
        finally:
            self._builder.begin(None)


class _Threads(threading.local):
    """The reader of each thread, made at its first parse."""

    def __init__(self) -> None:
        self._reader: _Reader | None = None

    def reader(self) -> _Reader:
        if self._reader is None:
            self._reader = _Reader()
        return self._reader


_threads: Final = _Threads()


def _syntax_error(error: "UnexpectedInput", text: str) -> ExpressionError:
    from lark import UnexpectedCharacters, UnexpectedToken  # noqa: PLC0415 - there by now

    if isinstance(error, UnexpectedCharacters):
        return _unknown_character(text, error.pos_in_stream)  # type: ignore[arg-type]  # declared as None
    if not isinstance(error, UnexpectedToken) or error.token.type == "$END":
        return _ends_early(getattr(error, "expected", ()), text)
    token = error.token
    start = token.start_pos or 0
    around = (text[start - 1 : start + 1] if start else "", text[start : start + 2], str(token))
    hint = next((_HINTS[part] for part in around if part in _HINTS), "")
    if _begins_statement(token.type, text, start):
        hint = "a statement ends with ;"
    message = f"unexpected {_clip(token)}{_after(text, start)}"
    return ExpressionError(message, start, hint=hint, plain="something stands where it cannot")


def _begins_statement(kind: str, text: str, start: int) -> bool:
    """Return True if an operand outside parentheses begins a line or an assignment: a `;` is missing before it."""
    if kind not in _OPERANDS or text.count("(", 0, start) > text.count(")", 0, start):
        return False
    return text[:start].rstrip(" \t").endswith("\n") or _ASSIGNED.match(text, start) is not None


def _unknown_character(text: str, start: int) -> ExpressionError:
    char = text[start]
    hint = _HINTS.get(text[start : start + 2]) or _CHARACTERS.get(char, "")
    shown = repr(char) if char.isprintable() else f"'\\u{ord(char):04x}'"
    return ExpressionError(f"unexpected character {shown}", start, hint=hint, plain="unexpected character")


def _ends_early(expected: Collection[str], text: str) -> ExpressionError:
    end = len(text.rstrip())
    if "RPAR" in expected:
        return ExpressionError("the expression ends inside a parenthesis", end, hint="close it: )")
    if "COLON" in expected:
        return ExpressionError("the expression ends inside a choice", end, hint="write c ? x : y")
    return ExpressionError("the expression ends too early", end, hint="an operand is missing at its end")


def _after(text: str, start: int) -> str:
    before = " ".join(_COMMENT.sub(" ", text[max(0, start - 200) : start]).split())[-20:].strip()
    return f" after {_clip(before)}" if before else ""


def _clip(text: str) -> str:
    return f"'{text if len(text) <= 24 else text[:21] + '...'}'"  # noqa: PLR2004 - a token's worth
