"""Finds possible expressions in plain text: in lines, fences, backticks and tables. The parser decides on each.

A line is cut at the signs between a label, an expression and its explanation. A part with only the catalogue's names
is preferred. Otherwise a part with the form of an expression is taken: its error goes into the feedback.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, TypeAlias

from generator.catalogue.model import Catalogue, Kind
from generator.language.ast import MAX_CHARACTERS
from generator.language.errors import suggestion
from generator.llm.plain.formatting import without_formatting
from generator.llm.plain.standing import Place, Standing, shape_of, standing_of

Statement: TypeAlias = tuple[str, str, Place]
"""The assigned name, empty for none, the code, and where it stands."""

_FENCE: Final = re.compile(r"^\s*(?:```(?![^\n]*```)|~~~)")
_NUMBER: Final = r"#?\(?\d{1,3}(?:\.\d{1,2}){0,3}"
_MARK: Final = re.compile(
    rf"(?:[-*\u2022+]\s+|>{{1,3}}\s+|{_NUMBER}[.):\u3001](?!\d)\s*|{_NUMBER}\s+(?=(?!and\b|or\b)[A-Za-z_])|#\d{{1,3}}\s+"
    r"|\(?(?:[A-Za-z]|[ivx]{2,4}|[IVX]{2,4})[.)]\s+|#{1,6}\s+|return\s+|\[[^\]\n]{0,40}\]\s+)*"
)
_TICKED: Final = re.compile(r"`([^`\n]{3,})`")
_QUOTED: Final = re.compile(r"[\"']([^\"'\n]{3,})[\"']")
_CALL: Final = re.compile(r"\b[A-Za-z_][A-Za-z0-9_]*\s?\(")
_MENTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\s?\(\s*(?:\.{3}\s*)?\)")
_SIGNATURE: Final = re.compile(
    r"[A-Za-z_][A-Za-z0-9_]*\s?\(\s*(?:\.{3}|[A-Za-z](?:\s*,\s*[A-Za-z])*)?\s*\)\s*(?:=(?!=)|\Z)"
)
"""An operator with single letters or an ellipsis for its arguments."""
_WORDS: Final = re.compile(r"\b(?!(?:and|or|not)\b)[A-Za-z_]+\.? (?!(?:and|or|not)\b)[A-Za-z_]+")
"""Two words side by side; no expression has them."""
_TEXT: Final = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
_NAME: Final = re.compile(r"(?<![A-Za-z0-9_.])([A-Za-z_][A-Za-z0-9_]*)(\s?\()?(\s*=(?!=))?")
_TOKEN: Final = re.compile(rf"{_NAME.pattern}|[()]")
_SIGN: Final = re.compile(r"[-+*/^<>?]|[=!]=|&&|\|\|")
_AUGMENTED: Final = re.compile(r"\A([A-Za-z_][A-Za-z0-9_]*)\s*([-+*/])=(?!=)\s*(.+)", re.DOTALL)
_TARGET: Final = re.compile(r"\s([A-Za-z_][A-Za-z0-9_]*)\s*\Z")
_SAID: Final = re.compile(
    r"\b(?:alpha|expression|formula|factor)s?(?:(?:\s+[a-z]+){0,3}?\s+(?:is|be|becomes|equals)"
    r"(?:\s+(?:then|now|simply|thus|(?:defined|given|calculated|computed)\s+(?:as|by)))?\s+(?!not\b)(?=[-\w(])|\s+(?=[a-z_]\w*\())",
    re.IGNORECASE,
)
"""The words of a sentence before an expression that it says an alpha to be."""
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=(?!=)(.*)", re.DOTALL)
_APART: Final = re.compile(
    r"[()]|(?:(?<=\s)-{1,3}\s)?[^\x00-\x7f]+(?:\s?\d{0,3}\s-{1,3}\s)?|(?<!\|)\|(?!\|)|[\t,$]|[-=]>|<[|\uff5c][^|\uff5c<>\n]{1,40}[|\uff5c]>|<!\[CDATA\[|\]\]>|\[/?INST\]|(?<=\))\s+\d{1,2}[.)]\s"
    r"|</?[A-Za-z][A-Za-z0-9_-]*(?:\s+[A-Za-z][A-Za-z0-9_-]*=(?:\"[^\"<>\n]*\"|'[^'<>\n]*'))*\s?/?>"
    r"|(?<=[\w)])\s+\*?(?=\((?!(?:and|or|not)\b)[^\W\d]+ (?!(?:and|or|not)\b)[^\W\d]+)"
    r"|(?<=\))\s+(?:(?=\()|(?=[A-Za-z])(?!(?:and|or|plus|minus|times|over|divided|multiplied)\b)(?![^\n]{0,400}\w\())"
)
"""Signs that no expression has outside parentheses, with a dash beside other scripts; tags; remarks in parentheses.

Also words after a parenthesis, where they hold no further call.
"""
_JOINT: Final = re.compile(r"[()]|[:;]|\s-{1,3}\s|(?<![=!<>])=(?!=)")
"""Signs that end a label or begin an explanation; an expression may have them too."""
_COMMENT: Final = re.compile(r"/\*.*?\*/|(?://|#)[^\n]*")
_LAST_COMMA: Final = re.compile(r",(?=\s*\))")
_REMARK: Final = re.compile(r"(?://|#)\s")
_REMARK_LINE: Final = re.compile(r"\s*(?:(?://|#|--)\s|/\*.*\*/\s*\Z)")
_ENDS_OPEN: Final = re.compile(r"(?:[-+/^?]|(?<!\*)\*|&&|\|\||[<>=!]=)\Z")
_GOES_ON: Final = re.compile(r"\s*(?:[/^?:](?!/)|&&|\|\||[<>=!]=)")
_OPENS: Final = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*\s*=\s*)?[-+*\d.\s]*\(")
_BULLETED: Final = re.compile(r"(\s*)[-+*]\s")
_POWER: Final = re.compile(r"(?<=[\w)])(\s?)\*\*\1(?=\d)")
_LOGIC: Final = frozenset({"and", "or", "not"})
_MOST_LINES: Final = 60
_MOST_JOINED: Final = 10
_MOST_PARTS: Final = 12
_MOST_STATEMENTS: Final = 200


def candidates(text: str, catalogue: Catalogue) -> Iterator[tuple[str, Place]]:
    """Yield possible expressions in order, each with its place.

    Numbering, bullets, labels, explanations and backticks are removed. An assignment is yielded with the statements
    that use its name; an unused name is a label. An expression may continue on the next line inside parentheses, and
    at a sign.
    """
    block: list[Statement] = []
    last, codes = "", list[str]()
    for number, line in enumerate(_lines(without_formatting(text))):
        names = _Names(catalogue, {name for name, _, _ in block})
        pieces, whole = _of_line(line, names), _continued(last, codes, line, names)
        is_prose = not pieces and line.strip() and not (_FENCE.match(line) or _REMARK_LINE.match(line))
        if whole:
            del block[len(block) - len(codes) :]
        elif is_prose or len(block) > _MOST_STATEMENTS:
            yield from _alphas(block, catalogue)
            block = []
        last = f"{last}\n{line}" if whole else line
        codes, plain, standing = [], _without_bold(last), Standing.ALONE
        for piece in whole or pieces:
            own = [code for code in _plain(piece).split(";") if code.strip()]
            if not own:
                continue
            is_sentence = standing is Standing.MENTIONED  # it goes on
            standing = standing_of(piece, plain)
            if is_sentence:
                standing = max(standing, Standing.MENTIONED)
            place = Place(standing, number, shape_of(piece, last))
            block += [_statement(code, place) for code in own]
            codes += own
    yield from _alphas(block, catalogue)


def _plain(code: str) -> str:
    """Return code without comments, and without Python's commas before a closing parenthesis."""
    return _LAST_COMMA.sub("", _COMMENT.sub("", code))


def _continued(last: str, codes: Sequence[str], line: str, names: "_Names") -> list[str]:
    """Return the code of two lines that make one expression, joined by a sign; empty for others.

    `codes` are those of the last line. A sign that may be a bullet joins only a line that is further in than the last
    one, which has no bullet.
    """
    if not codes or last.count("\n") >= _MOST_JOINED:
        return []
    bullet = _BULLETED.match(line)
    if bullet:
        goes_on = not _BULLETED.match(last) and len(bullet[1]) > len(last) - len(last.lstrip())
    else:
        is_open = _ENDS_OPEN.search(codes[-1].rstrip()[-2:]) and _unmarked(line) == line.strip()
        goes_on = bool(_GOES_ON.match(line) or is_open)
    pieces = _of_line(f"{last}\n{line}", names) if goes_on else []
    return pieces if len(pieces) == 1 and "\n" in pieces[0] and names.could_make(pieces[0]) else []


def _lines(text: str) -> Iterator[str]:
    """Yield the lines; code with an open parenthesis is joined with the lines up to the closing one."""
    waiting: list[str] = []
    for whole in text.splitlines():
        line = _without_remark(whole, depth=_depth(*waiting))
        if waiting and whole.strip() and not line.strip():
            continue
        if waiting and (not line.strip() or _FENCE.match(line) or _WORDS.search(_TEXT.sub(" ", line))):
            yield "\n".join(waiting)
            waiting = []
        waiting.append(line)
        is_open = _depth(*waiting) > 0
        begins = _CALL.search(waiting[0]) or _OPENS.match(_unmarked(waiting[0]))
        if not (is_open and len(waiting) < _MOST_LINES and begins):
            yield "\n".join(waiting)
            waiting = []
    if waiting:
        yield "\n".join(waiting)


def _depth(*lines: str) -> int:
    """Return the number of parentheses that lines leave open."""
    return sum(line.count("(") - line.count(")") for line in lines)


def _without_remark(line: str, *, depth: int) -> str:
    """Return a line without the comment after its code, or inside of `depth` parentheses.

    A sign that stands before the closing parenthesis begins no comment: it is Python's division.
    """
    remark = _REMARK.search(line)
    code = line[: remark.start()] if remark else line
    if depth + _depth(line) <= 0 < depth + _depth(code):
        return line
    return code if depth or _CALL.search(code) or _SIGN.search(_unmarked(code)) else line


def _unmarked(line: str) -> str:
    """Return a line without numbering and bullets."""
    line = line.strip()
    mark = _MARK.match(line)
    return line[mark.end() if mark else 0 :]


def _statement(code: str, place: Place) -> Statement:
    found = _ASSIGNMENT.fullmatch(_AUGMENTED.sub(r"\1 = \1 \2 (\3)", code.strip()))
    return (found[1], found[2].strip(" \"'[]{}"), place) if found else ("", code.strip(), place)


def _alphas(block: list[Statement], catalogue: Catalogue) -> Iterator[tuple[str, Place]]:
    """Yield each statement that no later one uses, preceded by the assignments that it uses.

    A name may be defined after its use. An unused setting such as `decay=4` or `neutralization=industry` is left out.
    """
    used = [_names_in(code) for _, code, _ in block]
    later: set[str] = set()
    """Names that are used before their definition."""
    known = {*catalogue.fields, *catalogue.operators}
    for number, (name, code, place) in enumerate(block):
        if name and (name in later or any(name in names for names in used[number + 1 :])):
            continue
        wanted, needed = set(used[number]), [code]
        for earlier in (*range(number - 1, -1, -1), *range(number + 1, len(block))):
            other, value, _ = block[earlier]
            if other in wanted and (earlier < number or other not in known):
                later |= {other} if earlier > number else set()
                wanted.remove(other)
                wanted |= used[earlier]
                needed.insert(0, f"{other} = {value};")
        is_plain = not (_CALL.search(code) or _SIGN.search(code))
        field = catalogue.fields.get(code)
        if name and is_plain and not (needed[:-1] or (field and field.kind is Kind.MATRIX)):
            continue
        yield "\n".join([*needed[:-1], f"{name} = {code}" if name and is_plain else code]), place


def _names_in(code: str) -> set[str]:
    return {found[1] for found in _NAME.finditer(_TEXT.sub(" ", code)) if not found[2]}


class _Names:
    """The names that an expression may use: the catalogue's, and those assigned before."""

    def __init__(self, catalogue: Catalogue, assigned: Collection[str]) -> None:
        self._catalogue = catalogue
        self._assigned = assigned

    def could_make(self, code: str) -> bool:
        """Return True if the code has no unknown name, and has a call or combines values."""
        bare = _TEXT.sub(" ", code)
        own = {found[1] for found in _NAME.finditer(bare) if found[3]}
        values = 0
        for found in _NAME.finditer(bare):
            is_own = found[1] in own and not found[2]
            if not (is_own or self.knows(found)):
                return False
            values += is_own or found[1] in self._catalogue.fields or found[1] in self._assigned
        is_name = code in self._assigned
        return _has_form(code) and bool(_CALL.search(bare) or is_name or (values and _SIGN.search(bare)))

    def knows(self, found: re.Match[str]) -> bool:
        """Return True if a name means something: an operator before a parenthesis, else a value or a word."""
        name = found[1]
        if name in _LOGIC or found[2]:
            return name in _LOGIC or name in self._catalogue.operators
        return name in self._catalogue.fields or name in self._assigned or name in self._catalogue.words

    def is_new(self, word: str) -> bool:
        """Return True if a word may be assigned: it means nothing yet."""
        return word not in self._catalogue.fields and word not in self._catalogue.operators

    def is_misspelt(self, word: str) -> bool:
        """Return True if a word resembles the name of a field."""
        return word.isidentifier() and bool(suggestion(word, self._catalogue.fields))


def _of_line(line: str, names: _Names) -> list[str]:
    """Return the pieces of a line that may be code: usually none or one."""
    if not line.strip() or len(line) > MAX_CHARACTERS or _FENCE.match(line):
        return []
    bare = _bare(line)
    ticked = [piece.strip() for piece in _TICKED.findall(bare)]
    if ticked:
        return [piece for piece in ticked if names.could_make(piece) or _seems(piece)]
    parts = _cut(_APART, bare)
    return (
        [piece for part in parts for piece in _longest(part, names.could_make, names)]
        or [piece for piece in _QUOTED.findall(bare) if names.could_make(piece)]
        or [piece for part in parts for piece in _longest(part, _seems, names)]
        or _spoken(bare, names)
    )


def _bare(line: str) -> str:
    """Return a line without numbering, bullets and the signs of bold and italic text."""
    bare = _unmarked(_without_bold(line))
    return bare.strip("*_") if bare.startswith(("*", "_")) else bare


def _without_bold(line: str) -> str:
    return _POWER.sub("^", line).replace("**", "").replace(":=", "=")


def _spoken(sentence: str, names: _Names) -> list[str]:
    """Return the expression that a sentence says an alpha to be."""
    said = _SAID.search(sentence)
    part = _cut(_APART, sentence[said.end() :])[0] if said else ""
    depth, end = 0, len(part)
    for token in _TOKEN.finditer(part):
        if token[1] and depth == 0 and not names.knows(token):
            end = token.start()
            break
        depth += _depth(token[0])
    code = part[:end].strip(" \t\"'`.;:")
    return [code] if names.could_make(code) else []


def _cut(signs: re.Pattern[str], text: str) -> list[str]:
    """Cut a text at signs outside parentheses; the signs are the items at odd indices."""
    pieces, depth, begin = [], 0, 0
    for found in signs.finditer(text):
        if found[0] in ("(", ")"):
            depth = max(0, depth + (1 if found[0] == "(" else -1))
        elif depth == 0:
            pieces += [text[begin : found.start()], found[0]]
            begin = found.end()
    return [*pieces, text[begin:]]


def _longest(text: str, judge: Callable[[str], bool], names: _Names) -> Iterator[str]:
    """Yield the longest runs of a text's parts for which `judge` returns True."""
    # The cost is quadratic in the parts: a line with many of them is judged part by part.
    parts = _cut(_JOINT, text)
    last = len(parts) - 1
    place = 0
    while place <= last:
        for end in range(last, place - 1, -2) if last <= 2 * _MOST_PARTS else (place,):
            code = "".join(parts[place : end + 1]).strip(" \t\n\"'`.;[]{}\\=:")
            is_target = code.isidentifier() and "".join(parts[end + 1 : end + 2]) == "="
            if code and not is_target and judge(code):
                tail = "".join(parts[end + 1 : end + 3])
                is_typo = end + 2 == last and "-" in tail and names.is_misspelt(parts[last].strip())
                is_cut = _depth(tail) > 0 and _CALL.search(tail)
                target = _TARGET.search(parts[place - 2]) if place and parts[place - 1] == "=" else None
                named = f"{target[1]} = " if target and names.is_new(target[1]) else ""
                yield named + (code + tail if is_typo or is_cut else code)
                place = end
                break
        place += 2


def _has_form(code: str) -> bool:
    """Return True unless the code is an operator's bare name (`rank()`), or has adjacent words or a label's colon.

    Quoted text does not count.
    """
    bare = _TEXT.sub(" ", code)
    return (
        _MENTION.fullmatch(bare.strip()) is None
        and _WORDS.search(bare) is None
        and (":" not in bare or 0 <= bare.find("?") < bare.find(":"))
    )


def _seems(code: str) -> bool:
    """Return True for a call or an assignment that no sentence precedes."""
    code = code.partition("#")[0].partition("//")[0]
    call = _CALL.search(code)
    if call is not None:
        return call[0][-2] != " " and _has_form(code[: call.end()]) and _SIGNATURE.match(code) is None
    return _ASSIGNMENT.match(code) is not None and _has_form(code)
