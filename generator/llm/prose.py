"""Where in plain text expressions may stand: lines, fences, backticks. The parser judges what is found."""

import re
from collections.abc import Iterator
from typing import Final

from generator.language.limits import MAX_CHARACTERS

_FENCE: Final = re.compile(r"^\s*(?:```|~~~)")
_MARK: Final = re.compile(r"(?:[-*\u2022+]\s+|\(?\d{1,3}[.):]\s*|#{1,6}\s+)*")
_LABEL: Final = re.compile(
    r"(?:\*\*)?(?:alpha|expression|factor|signal|formula)?\s?#?\d{0,4}\s?(?:\*\*)?\s?[:\uff1a](?:\*\*)?",
    re.IGNORECASE,
)
_TICKED: Final = re.compile(r"`([^`\n]{3,})`")
_CALL: Final = re.compile(r"\b[A-Za-z_][A-Za-z0-9_]*\s?\(")
_PROSE: Final = re.compile(r"\b(?!(?:and|or|not)\b)[A-Za-z_]+ (?!(?:and|or|not)\b)[A-Za-z_]+")
"""Two words side by side, which no expression has."""
_MOST_LINES: Final = 60
_ASSIGNMENT: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*\s*=[^=]")


def candidates(text: str) -> Iterator[str]:
    """Yield, in order, what may be an expression.

    That is a line that has a call in it and does not read like a sentence, stripped of numbering, bullets,
    labels and backticks. Lines that belong together are put together: assignments with the statement that
    uses them, and an expression broken inside its parentheses.
    """
    waiting: list[str] = []
    for line in text.splitlines():
        pieces = _pieces(line, is_continued=bool(waiting))
        if waiting and not pieces and line.strip():
            yield "\n".join(waiting)
            waiting = []
        for piece in pieces:
            waiting.append(piece)
            if not _goes_on(waiting):
                yield "\n".join(waiting)
                waiting = []
    if waiting:
        yield "\n".join(waiting)


def _goes_on(lines: list[str]) -> bool:
    """Tell whether more must follow: a parenthesis is open, or the last statement only assigns."""
    if len(lines) >= _MOST_LINES:
        return False
    if sum(line.count("(") - line.count(")") for line in lines) > 0:
        return True
    last = lines[-1].rstrip().rstrip(";").rpartition(";")[2].strip()
    return _ASSIGNMENT.match(last) is not None


def _pieces(line: str, *, is_continued: bool) -> list[str]:
    if _FENCE.match(line) or not line.strip() or len(line) > MAX_CHARACTERS:
        return []
    if is_continued and _PROSE.search(line) is None:
        return [line.strip()]
    bare = _without(_MARK, line.strip())
    ticked = _TICKED.findall(bare)
    if ticked:
        return [piece.strip() for piece in ticked if _CALL.search(piece)]
    bare = _without(_LABEL, bare).strip('"').rstrip(",").strip('"')
    return [bare] if _is_candidate(bare) else []


def _without(prefix: re.Pattern[str], line: str) -> str:
    found = prefix.match(line)
    return line[found.end() :].strip() if found else line


def _is_candidate(line: str) -> bool:
    """Tell code from a sentence: what leads up to the first call, or to the equals sign, is not two words."""
    code = line.partition("#")[0].partition("//")[0]
    call = _CALL.search(code)
    if call is not None:
        return _PROSE.search(code[: call.end()]) is None
    return _ASSIGNMENT.match(code) is not None and _PROSE.search(code) is None
