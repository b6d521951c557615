"""A model's whole reply to expressions: as the schema says, cut off in the middle, or in plain text."""

import json
import re
from collections.abc import Iterator
from typing import Final

from generator.catalogue.model import Catalogue
from generator.language.ast import Node
from generator.language.check import check_alpha
from generator.language.errors import ExpressionError
from generator.language.limits import MAX_DEPTH
from generator.language.nested_json import decode
from generator.language.parse import parse
from generator.llm.prose import candidates

MAX_REPLY: Final = 1024 * 1024
MAX_EXPRESSIONS: Final = 1000

_LIST: Final = re.compile(r'"(?:expressions|alphas)"\s*:\s*\[')
_BARE_LIST: Final = re.compile(r"\s*\[")
_THOUGHT: Final = re.compile(r"\s*<think>")
_THOUGHT_ENDS: Final = "</think>"
_KEYS: Final = ("expression", "alpha", "code", "regular")
_OPEN: Final = frozenset("[{")
_CLOSE: Final = frozenset("]}")
_PLAIN: Final = frozenset(",]} \t\r\n")


def decode_reply(text: str, catalogue: Catalogue) -> list[Node | ExpressionError]:
    """Return, in order, each expression that a reply holds as a well typed tree, or what is wrong with it.

    Takes the JSON object that the schema asks for, or its list alone. Of a reply that was cut off, the
    expressions before the cut are kept and the broken one is left out. Anything else is read as text:
    FASTEXPR in numbered or bulleted lines, in fences, in backticks. Never raises for what the text holds; at
    most `MAX_EXPRESSIONS` come back, and only the first `MAX_REPLY` characters are looked at.
    """
    told = _after_thought(text[:MAX_REPLY])
    found = _LIST.search(told) or _BARE_LIST.match(told)
    values = _elements(told, found.end()) if found else None
    read = _texts(told, catalogue) if values is None else (_element(v, catalogue) for v in values)
    return [outcome for outcome, _ in zip(read, range(MAX_EXPRESSIONS), strict=False)]


def _after_thought(text: str) -> str:
    """Leave out what a reasoning model thinks aloud before it answers."""
    if _THOUGHT.match(text):
        return text.partition(_THOUGHT_ENDS)[2]
    return text


def _elements(text: str, start: int) -> list[str] | None:
    """Return the texts of a JSON array's complete elements; None where what follows is no JSON at all."""
    elements: list[str] = []
    position = start
    while True:
        position = _skip(text, position, " \t\r\n,")
        if position >= len(text) or text[position] == "]":
            return elements
        end = _element_end(text, position)
        if end is None:
            return elements if elements or text[position] in '["{' else None
        elements.append(text[position:end])
        position = end


def _skip(text: str, position: int, chars: str) -> int:
    while position < len(text) and text[position] in chars:
        position += 1
    return position


def _element_end(text: str, start: int) -> int | None:
    """Return where the JSON value that begins here ends; None if the text ends before it does."""
    depth, position = 0, start
    while position < len(text):
        char = text[position]
        if char == '"':
            end = _string_end(text, position)
            if end is None:
                return None
            position = end
        elif char in _OPEN:
            depth, position = depth + 1, position + 1
        elif char in _CLOSE:
            depth, position = depth - 1, position + 1
        elif depth:
            position += 1
            continue
        else:
            return _plain_end(text, position)
        if depth <= 0:
            return position
    return None


def _plain_end(text: str, start: int) -> int | None:
    position = start
    while position < len(text) and text[position] not in _PLAIN:
        position += 1
    return position if start < position < len(text) else None


def _string_end(text: str, start: int) -> int | None:
    position = start + 1
    while position < len(text):
        if text[position] == "\\":
            position += 2
        elif text[position] == '"':
            return position + 1
        else:
            position += 1
    return None


def _element(text: str, catalogue: Catalogue) -> Node | ExpressionError:
    try:
        return _checked(_value(text, catalogue), catalogue)
    except ExpressionError as error:
        error.written = text
        return error


def _value(text: str, catalogue: Catalogue) -> Node:
    if _too_deep(text):
        raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels", hint="write a simpler expression")
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ExpressionError("this is no JSON", hint=str(error)[:100]) from None
    if isinstance(value, dict):
        value = next((value[key] for key in _KEYS if key in value), value)
    if isinstance(value, str):
        return parse(value, catalogue)
    return decode(value, catalogue)


def _too_deep(text: str) -> bool:
    """Bound the nesting before the JSON reader recurses; brackets inside strings only make it stricter."""
    depth = 0
    for char in text:
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth > MAX_DEPTH + 1:
            return True
    return False


def _texts(text: str, catalogue: Catalogue) -> Iterator[Node | ExpressionError]:
    for candidate in candidates(text):
        try:
            yield _checked(parse(candidate, catalogue), catalogue)
        except ExpressionError as error:
            error.written = candidate
            yield error.within(candidate)


def _checked(node: Node, catalogue: Catalogue) -> Node:
    check_alpha(node, catalogue)
    return node
