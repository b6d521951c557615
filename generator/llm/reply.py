"""Expressions of a model's reply: in the schema's form, truncated, or in any plain form."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from generator.catalogue.model import Catalogue
from generator.language.ast import MAX_DEPTH, Node
from generator.language.builder import INFIX
from generator.language.check import check_alpha
from generator.language.errors import ExpressionError
from generator.language.nested_json import decode
from generator.language.parse import parse
from generator.llm.plain.prose import candidates
from generator.llm.plain.standing import Place, Standing, proposed
from generator.llm.thinking import answer_of

MAX_REPLY: Final = 1024 * 1024
MAX_EXPRESSIONS: Final = 1000

_BRACKET: Final = re.compile(r"[\[{]")
_BETWEEN: Final = re.compile(r'(?:[\s,\]}]|(?://|#)[^\n]*|/\*[^*]{0,200}\*/|"[^"\n]{0,200}"\s*:)*')
"""Text between the values of a list or an object: separators, brackets, comments and keys."""
_KEY: Final = re.compile(r'"([^"\n]*)"\s*:\s*\Z')
_LONGEST_KEY: Final = 240
_CALL: Final = re.compile(r'\[\s*"(?:[A-Za-z_][A-Za-z0-9_]*|[-+*/^<>=!&|]{1,2})"')
_LITERAL: Final = re.compile(r"[-+.\w]*\s*")
"""The beginning of a number or a word at the end of the text: the end of a truncated reply."""
_QUOTED: Final = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'((?:[^'\\\n]|\\.)*)'")
_KEYS: Final = frozenset(
    {
        "expressions",
        "expression",
        "alphas",
        "alpha",
        "formula",
        "formulas",
        "fastexpr",
        "expr",
        "code",
        "regular",
    }
)
_OPERATOR: Final = re.compile(r"[A-Za-z_]\w*|\W{1,3}")
_SIGNS: Final = [sign for sign in INFIX if not sign.isalpha()]
_FORMER: Final = frozenset({"original", "old", "previous", "rejected", "parent"})
"""First words of keys whose expressions a reply does not propose."""
_MOST_NESTED: Final = 8
_MOST_WORK: Final = 4 * MAX_REPLY


def _merged(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; a repeated key has the list of its values."""
    found: dict[str, list[Any]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return {key: values if len(values) > 1 else values[0] for key, values in found.items()}


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_merged)
_DECODER_OF_LINES: Final = json.JSONDecoder(object_pairs_hook=_merged, strict=False)
"""Allows texts that go on over lines."""


def decode_reply(text: str, catalogue: Catalogue) -> list[Node | ExpressionError]:
    """Return each expression of a reply in order: as a well typed tree, or as its error.

    Reads the JSON object of the schema, or any JSON in the reply, with single quotes too. Values are nested arrays,
    lists of texts, and objects with either as values. A truncated reply gives the expressions before the cut. Without
    JSON, the reply is read as text: FASTEXPR in lines, fences, backticks and tables, with labels and explanations.
    Thinking before the answer is skipped. Raises nothing for any text. Returns at most `MAX_EXPRESSIONS`, and reads
    only the first `MAX_REPLY` characters.
    """
    answer = answer_of(text[:MAX_REPLY])
    found = list(islice(_of_json(answer, catalogue), MAX_EXPRESSIONS))
    if found and len(_trees(found)) == len(found):
        return found
    plain = _of_text(answer, catalogue)
    return plain if not found or len(_trees(plain)) > len(_trees(found)) else found


def _trees(outcomes: Iterable[Node | ExpressionError]) -> list[Node | ExpressionError]:
    return [outcome for outcome in outcomes if not isinstance(outcome, ExpressionError)]


def _of_json(text: str, catalogue: Catalogue) -> Iterator[Node | ExpressionError]:
    for value, keyed in _values(text):
        if isinstance(value, ExpressionError):
            yield value
            continue
        for item in _expressions(value, catalogue, keyed=keyed):
            yield from _read(item, catalogue)


def _values(text: str) -> Iterator[tuple[Any, bool]]:
    """Yield the JSON values of a text, each with True if its key is a name for expressions.

    A truncated or broken list or object gives its complete values; a broken expression gives its error.
    """
    # A failed decoding is repeated from a later position. `work` counts the characters decoded without success: a hostile
    # reply costs at most a few passes. `nested` counts the brackets entered because their whole is not valid JSON.
    position, work, nested, requoted = 0, 0, 0, False
    while work < _MOST_WORK and nested <= MAX_DEPTH:
        found = _BETWEEN.match(text, position) if nested else _BRACKET.search(text, position)
        if found is None:
            return
        position = found.end() if nested else found.start()
        key = _KEY.search(found[0], max(0, len(found[0]) - _LONGEST_KEY))
        try:
            value, position = _DECODER.raw_decode(text, position)
            yield value, key is not None and _is_key(key[1])
            continue
        except RecursionError:
            yield ExpressionError(f"nested deeper than {MAX_DEPTH} levels", hint="write a simpler one"), True
            return
        except ValueError as error:
            reached, reason = getattr(error, "pos", position + 1), str(error)[:100]
        # Each error of the decoder counts the lines before it.
        work += reached - position + position // 16
        if reason.startswith("Invalid control character") and text[position] in "[{":
            with suppress(ValueError, RecursionError):
                value, position = _DECODER_OF_LINES.raw_decode(text, position)
                yield value, key is not None and _is_key(key[1])
                continue
        if _CALL.match(text, position):
            if reason.startswith("Unterminated") or _LITERAL.fullmatch(text, reached):
                return
            yield ExpressionError("this is no JSON", hint=reason), True
            position, nested = text.find("\n", reached) % (len(text) + 1), 0
        elif text[reached : reached + 1] == "'" and not requoted:
            text, requoted = text[:position] + _QUOTED.sub(_double_quoted, text[position:]), True
        elif text[position : position + 1] in ("[", "{"):
            position, nested = position + 1, nested + 1
        else:
            position, nested = max(position + 1, reached), 0


def _is_key(key: str) -> bool:
    """Return True for the name of an expression, also as the last word: `alpha_expression`."""
    words = re.split(r"[\s_-]", key.strip().lower())
    return words[-1] in _KEYS and words[0] not in _FORMER


def _double_quoted(found: re.Match[str]) -> str:
    return found[0] if found[1] is None else json.dumps(found[1].replace("\\'", "'"))


def _expressions(value: Any, catalogue: Catalogue, *, keyed: bool, depth: int = 0) -> Iterator[Any]:
    """Yield the expressions of a JSON value: nested arrays and texts, in lists and objects.

    Without a key for expressions, a text must look like code.
    """
    if depth > _MOST_NESTED:
        return
    below: Iterable[Any] = ()
    value = _as_call(value, catalogue)
    if isinstance(value, dict):
        own = [item for key, item in value.items() if _is_key(key)]
        readable = [item for item in own if not isinstance(item, str) or _looks_like_code(item, catalogue)]
        alone = [item for item in value.values() if not isinstance(item, str) or _is_alone(item, catalogue)]
        below, keyed = readable or own or alone or value.values(), bool(own)
    elif isinstance(value, list) and not _is_call(value, catalogue):
        below = value
    elif isinstance(value, list) or keyed or (isinstance(value, str) and _looks_like_code(value, catalogue)):
        yield value
    for item in below:
        yield from _expressions(item, catalogue, keyed=keyed, depth=depth + 1)


def _as_call(value: Any, catalogue: Catalogue, depth: int = 0) -> Any:
    """Return `{"rank": ["close"]}` as `["rank", "close"]`, and `["close", "-", "open"]` as `["-", "close", "open"]`."""
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, dict) and len(value) == 1:
        [(name, args)] = value.items()
        if name in catalogue.operators and isinstance(args, list | dict):
            heads = (*catalogue.operators, *INFIX)
            parts = args if isinstance(args, list) and not (args and args[0] in heads) else [args]
            return [name, *(_as_call(part, catalogue, depth + 1) for part in parts)]
    match value:
        case [left, sign, right] if sign in _SIGNS:
            return [sign, *(_as_call(part, catalogue, depth + 1) for part in (left, right))]
    return value


def _is_call(value: list[Any], catalogue: Catalogue) -> bool:
    """Return True for `["rank", "close"]`, also with an unknown operator, and False for a list of expressions."""
    if not value or not isinstance(value[0], str):
        return False
    others = any(not isinstance(item, str | dict) for item in value[1:])
    names = len(value) > 1 and all(isinstance(item, str) and item.isidentifier() for item in value)
    is_name = _OPERATOR.fullmatch(value[0]) is not None
    return value[0] in catalogue.operators or value[0] in INFIX or names or (others and is_name)


def _looks_like_code(text: str, catalogue: Catalogue) -> bool:
    return next(candidates(text, catalogue), None) is not None


def _is_alone(text: str, catalogue: Catalogue) -> bool:
    first = next(candidates(text, catalogue), None)
    return first is not None and first[1].standing is Standing.ALONE


def _read(item: Any, catalogue: Catalogue) -> list[Node | ExpressionError]:
    """Return the expression of a text or a nested array; if it is none, those in it, or its error."""
    try:
        return [
            _checked(parse(item, catalogue) if isinstance(item, str) else decode(item, catalogue), catalogue)
        ]
    except ExpressionError as error:
        return _trees(_in_other_forms(item, catalogue)) or [error]


def _in_other_forms(item: Any, catalogue: Catalogue) -> list[Node | ExpressionError]:
    """Return the expressions of an item in another form: labelled text, arrays with infix signs or parts as text."""
    if isinstance(item, str):
        return _trees(_of_json(item, catalogue)) or _of_text(item, catalogue)
    try:
        return [_checked(parse(_as_text(item), catalogue), catalogue)]
    except (ExpressionError, RecursionError):
        return []


def _as_text(item: Any) -> str:
    """Return an array such as `["-", ["rank", "close"], "ts_mean(open, 5)"]` as FASTEXPR."""
    if isinstance(item, list) and item and isinstance(item[0], str):
        name, args = item[0], [_as_text(arg) for arg in item[1:]]
        if name in INFIX and len(args) > 1:
            return f"({f' {name} '.join(f'({arg})' for arg in args)})"
        return f"{name}({', '.join(args)})"
    if isinstance(item, dict):
        return ", ".join(f"{key}={_as_text(value)}" for key, value in item.items())
    return str(item).lower() if isinstance(item, bool) else str(item)


def _of_text(text: str, catalogue: Catalogue) -> list[Node | ExpressionError]:
    found: list[tuple[Node | ExpressionError, Place]] = []
    for candidate, place in islice(candidates(text, catalogue), MAX_EXPRESSIONS):
        try:
            found.append((_checked(parse(candidate, catalogue), catalogue), place))
        except ExpressionError as error:
            found.append((error.within(candidate), place))
    return proposed(found)


def _checked(node: Node, catalogue: Catalogue) -> Node:
    check_alpha(node, catalogue)
    return node
