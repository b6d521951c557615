"""The grammar's terminals as one regular expression, run in one sweep; Lark's own lexer takes twice as long.

Imported only together with Lark. The terminals are still defined in `grammar.lark` and nowhere else.
"""

import re
from collections.abc import Iterator

from lark import Token
from lark.common import LexerConf
from lark.lexer import Lexer, PatternStr, TerminalDef

from generator.language.errors import ExpressionError


class SweepLexer(Lexer):
    """A lexer without states: by priority, fixed signs last, keywords told from names afterwards."""

    def __init__(self, conf: LexerConf) -> None:
        words = {t.pattern.value: t.name for t in conf.terminals if _is_keyword(t)}
        patterns = [t for t in conf.terminals if t.name not in words.values()]
        patterns.sort(key=lambda t: (-t.priority, isinstance(t.pattern, PatternStr)))
        alternatives = (f"(?P<{t.name}>{t.pattern.to_regexp()})" for t in patterns)
        self._words = words
        self._ignored = frozenset(conf.ignore)
        self._sweep = re.compile("|".join(alternatives)).finditer

    def lex(self, data: str) -> Iterator[Token]:  # type: ignore[override]  # Lark wraps lexers of plain text itself
        """Yield the tokens; raise ExpressionError at a character that begins none."""
        words, ignored, position = self._words, self._ignored, 0
        for match in self._sweep(data):
            start, end = match.span()
            if start != position:
                break
            position = end
            kind = match.lastgroup or ""
            if kind not in ignored:
                text = match.group()
                yield Token(words.get(text, kind) if kind == "NAME" else kind, text, start)
        if position != len(data):
            raise _unknown(data, position)


def _is_keyword(terminal: TerminalDef) -> bool:
    return isinstance(terminal.pattern, PatternStr) and terminal.pattern.value.isalpha()


def _unknown(text: str, position: int) -> ExpressionError:
    char = text[position]
    hint = _HINTS.get(text[position : position + 2]) or _HINTS.get(char, "")
    shown = repr(char) if char.isprintable() else f"'\\u{ord(char):04x}'"
    return ExpressionError(f"unexpected character {shown}", position, hint=hint)


_HINTS = {
    '"': "a text ends with the quote that it began with, on the same line",
    "'": "a text ends with the quote that it began with, on the same line",
    "{": "there are no braces in this language",
    "[": "there are no square brackets in this language",
    "%": "there is no such sign; use the operators by name",
    "&": "logic is written and(x, y) or &&",
    "|": "logic is written or(x, y) or ||",
    "\N{MINUS SIGN}": "write a plain minus: -",
    "\N{MULTIPLICATION SIGN}": "write a plain star: *",
}
