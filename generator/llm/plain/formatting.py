"""Replaces the formatting inside a reply's expressions: typographic signs, HTML's entities, LaTeX. Pure."""

import html
import re
from typing import Final

from generator.language.parse import PLAIN_SIGNS

_SIGNS: Final = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{ASTERISK OPERATOR}": "*",
        "\N{DOT OPERATOR}": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{LESS-THAN OR EQUAL TO}": "<=",
        "\N{GREATER-THAN OR EQUAL TO}": ">=",
        "\N{NOT EQUAL TO}": "!=",
        "\N{SQUARE ROOT}": "sqrt",
        "\N{SUPERSCRIPT TWO}": "^2",
        "\N{SUPERSCRIPT THREE}": "^3",
        "\N{NO-BREAK SPACE}": " ",
        "\N{SOFT HYPHEN}": None,
        "\N{ZERO WIDTH SPACE}": None,
        "\N{ZERO WIDTH NON-JOINER}": None,
        "\N{ZERO WIDTH JOINER}": None,
        "\N{LEFT-TO-RIGHT MARK}": None,
        "\N{RIGHT-TO-LEFT MARK}": None,
        "\N{WORD JOINER}": None,
        "\N{ZERO WIDTH NO-BREAK SPACE}": None,
    }
)
_WIDE: Final = {code: sign for code, sign in PLAIN_SIGNS.items() if chr(code) not in "\uff08\uff09\uff01"}
"""Signs of a wide keyboard without parentheses and exclamation mark, which also stand round and after explanations."""
_WIDE_PARENTHESES: Final = re.compile(
    r"(^|[A-Za-z_]|[-+*/^(,=<>&|?:.\u3001\uff08]\s*)\uff08([^\uff08\uff09]*)\uff09", re.MULTILINE
)
_ENTITY: Final = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#39);")
_FONT: Final = re.compile(
    r"\\(?:text(?:tt|it|bf|rm|sf)?|math(?:rm|it|bf|sf|tt)|operatorname\*?|boxed)\s*\{([^{}]*)\}"
)
_FRACTION: Final = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_COMMAND: Final = re.compile(r"\\(times|cdot|div|leq?|geq?|neq?)(?![A-Za-z])")
_SIGN_OF: Final = {
    "times": "*",
    "cdot": "*",
    "div": "/",
    "le": "<=",
    "leq": "<=",
    "ge": ">=",
    "geq": ">=",
    "ne": "!=",
    "neq": "!=",
}
_ESCAPE: Final = re.compile(r"\\(?:left|right)\b\s*|\\item\b\s*|\\(?=[_*#&<>^|%()\[\]-])|\\[ ,;:!]")
_LINE_END: Final = re.compile(r"(?<!\\)\\\n")
"""A line's end that shells and Python ignore."""
_MOST_NESTED: Final = 4


def without_formatting(text: str) -> str:
    """Return a text in which expressions have plain signs, without the marks of LaTeX inside of them."""
    text = _ENTITY.sub(lambda found: html.unescape(found[0]), text).translate(_SIGNS)
    if not text.isascii():
        text = text.translate(_WIDE)
        for _ in range(_MOST_NESTED):
            text = _WIDE_PARENTHESES.sub(_with_plain_parentheses, text)
    if "\\" not in text:
        return text
    text = _LINE_END.sub(" ", text)
    for _ in range(_MOST_NESTED):
        text = _FRACTION.sub(r"((\1) / (\2))", _FONT.sub(r"\1", text.replace("\\_", "_")))
    return _ESCAPE.sub("", _COMMAND.sub(lambda found: _SIGN_OF[found[1]], text))


def _with_plain_parentheses(found: re.Match[str]) -> str:
    """Return the parentheses of a call or a term as plain ones, those of an explanation in words unchanged."""
    return f"{found[1]}({found[2]})" if found[2].isascii() else found[0]
