"""How an expression stands in its line: alone, beside a text, in a sentence, or rejected. Pure.

A model explains its alphas. The explanation repeats parts of them, and mentions expressions that are not proposed.
Alphas are told from these by where they stand.
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from generator.language.ast import Call, Node
from generator.language.errors import ExpressionError


class Standing(IntEnum):
    """How surely an expression is proposed; the surest comes first."""

    ALONE = 0
    BESIDE = 1
    """With a label or an explanation."""
    MENTIONED = 2
    """In a sentence, or named as an example or as the former state."""
    REJECTED = 3


class Place(NamedTuple):
    """Where an expression stands: how, in which line, and that line's shape. The items of a list share a shape."""

    standing: Standing
    line: int
    shape: str


Outcome: TypeAlias = Node | ExpressionError

_NUMBERED: Final = re.compile(
    r"\A\W*(?:(?:alpha|expression|factor|formula)[ _]?#?)?\d+\s*[.):=]?\s*", re.IGNORECASE
)
_REJECTS: Final = re.compile(
    r"(?:\b(?:do not|don't|never) (?:use|write|try|submit|recommend)\b[^.)]*"
    r"|\b(?:avoid|instead of|rather than)\b(?:\W*|[^.:)]*)"
    r"|\bnot\W*|\bwhere\b[^.:]*|[\u274c\u2717\u2718][^.]*|~~|(?:\u4e0d\u8981|\u4e0d\u80fd|\u907f\u514d)\S{0,4}\s*)\Z",
    re.IGNORECASE,
)
"""Ends of what stands before an expression that is not proposed, or that defines a name."""
_REJECTED: Final = re.compile(
    r"\A[^\w.]*(?:(?:is|was) )?(?:too \w|rejected|invalid|not (?:good|useful|valid|allowed|used|enough)\b"
    r"|(?:would|will|does|did) not (?:work|help|give|be)\b|(?:won't|doesn't) (?:work|help|give|be)\b)",
    re.IGNORECASE,
)
_MENTIONS: Final = re.compile(
    r"(?:\A\W*(?:for example|original|before|old|previous)\b|\b(?:like|such as|equivalent to)\b|\b(?:e\.g|i\.e)\.)[^.]*\Z"
    r"|\A\W*(?:explanation|rationale|reason(?:ing)?|logic|note|description|step(?:\s*\d+)?|\u8bf4\u660e|\u89e3\u91ca|\u903b\u8f91|\u7406\u7531"
    r"|\u8aac\u660e|\uc124\uba85)\s*\W*[:\uff1a]",
    re.IGNORECASE,
)
_ITEM: Final = re.compile(r"\s*(?:(\d)|([-*+\u2022])(?!\*)|(\|))")
_SENTENCE: Final = re.compile(r"[A-Za-z][\w'-]*,?\s+[A-Za-z][\w'-]*\s*[\"'`(]*\Z")
"""Two words without a sign behind them."""


def standing_of(code: str, line: str) -> Standing:
    """Return how the code stands in its line, which may have a number. A label in a numbered line is no sentence."""
    before, found, after = line.partition(code)
    if not found:
        return Standing.BESIDE
    number = _NUMBERED.match(before)
    before = before[number.end() if number else 0 :][-200:]
    is_label = number is not None and not re.search(r"\w", after)
    if _REJECTS.search(before) or _REJECTED.match(after[:200]):
        return Standing.REJECTED
    if _MENTIONS.search(before) or (_SENTENCE.search(before) and not is_label):
        return Standing.MENTIONED
    return Standing.BESIDE if re.search(r"\w", before + after) else Standing.ALONE


def shape_of(code: str, line: str) -> str:
    """Return the shape of a line: its number or bullet, or whether words stand before the code."""
    item = _ITEM.match(line)
    if item:
        return "1" if item[1] else item[0].strip()
    return "label" if re.search(r"\w", line.partition(code)[0]) else ""


def proposed(found: Sequence[tuple[Outcome, Place]]) -> list[Outcome]:
    """Return the outcomes that a reply proposes.

    A sentence proposes one only if no whole expression stands outside of sentences. An expression beside a text is left
    out if it is a part of another one, as those in explanations are. In a list of alphas one may be a part of another.
    """
    numbers: dict[Node | tuple[object, ...], int] = {}

    def number(node: Node, parts: set[int]) -> int:
        """Return a number that only equal expressions have, and add those of the node's parts."""
        key: Node | tuple[object, ...] = node
        if isinstance(node, Call):
            below = [number(part, parts) for part in (*node.args, *(value for _, value in node.named))]
            parts.update(below)
            key = (node.name, len(node.args), *(name for name, _ in node.named), *below)
        return numbers.setdefault(key, len(numbers))

    parts: list[set[int]] = [set() for _ in found]
    roots = [
        -1 if isinstance(outcome, ExpressionError) else number(outcome, own)
        for (outcome, _), own in zip(found, parts, strict=True)
    ]

    def explains(root: int, at: Place, wholes: Standing) -> bool:
        """Return True if an expression is a part of one of another shape, or of one in its own line."""
        return at.standing is not Standing.ALONE and any(
            root in own and place.standing <= wholes and (place.line == at.line or place.shape != at.shape)
            for (_, place), own in zip(found, parts, strict=True)
        )

    def kept(last: Standing, *, wholes: Standing) -> list[Outcome]:
        """Return the outcomes up to a standing that do not explain those up to another."""
        return [
            outcome
            for (outcome, place), root in zip(found, roots, strict=True)
            if place.standing <= last and not explains(root, place, wholes)
        ]

    outside = kept(Standing.BESIDE, wholes=Standing.MENTIONED)
    if any(not isinstance(outcome, ExpressionError) for outcome in outside):
        return kept(Standing.BESIDE, wholes=Standing.BESIDE)
    return kept(Standing.MENTIONED, wholes=Standing.MENTIONED)
