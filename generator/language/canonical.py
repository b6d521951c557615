"""Canonical form and digest of an expression: duplicates are found by them.

Every rewriting keeps each value to the last bit, signs of zeros included. The engine computes equal values for
two expressions with one canonical form.
"""

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeAlias

from generator.catalogue.model import Catalogue
from generator.language.ast import Call, Field, Node, Number, Text, bounded
from generator.language.check import check_result, kind_of
from generator.language.errors import ExpressionError
from generator.language.parse import parse
from generator.language.print import show, show_call, show_number, show_text
from generator.language.signature import Value, bind

_NodeText: TypeAlias = tuple[Node, str]
"""A canonical tree and its text."""

_MIRRORED: Final = {"greater": "less", "greater_equal": "less_equal"}
_DIGEST_BYTES: Final = 16


def canonical(node: Node, catalogue: Catalogue) -> Node:
    """Return the canonical form of a well typed expression; the function is idempotent.

    Required arguments stand by place, optional ones by name in the operator's order. Arguments at their default are
    left out. Numbers, truth values and strings have one spelling. The first two arguments of a commutative operator
    are sorted. Further terms keep their order, because another order rounds differently. Raises ExpressionError as
    `check` does for arguments that do not fit.
    """
    return _canonical(bounded(node), catalogue)[0]


def digest(node: Node) -> str:
    """Return the digest of an expression's text: 32 hexadecimal digits, equal on every machine."""
    return digest_text(show(node))


def digest_text(text: str) -> str:
    """Return the digest of a printed expression."""
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _canonical(node: Node, catalogue: Catalogue) -> _NodeText:
    """Return the canonical form of a well typed tree within the bounds, with its text."""
    if isinstance(node, Call):
        return _call(node, catalogue)
    if isinstance(node, Number):
        return _number(node.value)
    return node, node.name if isinstance(node, Field) else show_text(node.value)


def _call(call: Call, catalogue: Catalogue) -> _NodeText:
    # Each tree carries its text: sorting at every level would print each subtree again.
    operator = catalogue.operators[call.name]
    bound = bind(operator, call)
    args = [_argument(value, catalogue) for value in bound.required]
    named = [
        (parameter.name, _argument(value, catalogue))
        for parameter, value in bound.optional
        if value != parameter.default
    ]
    name = operator.name
    if operator.commutative:
        args[:2] = sorted(args[:2], key=_text)
    elif name in _MIRRORED and _MIRRORED[name] in catalogue.operators:
        name, args = _MIRRORED[name], args[::-1]
    tree = Call(name, tuple(node for node, _ in args), tuple((key, node) for key, (node, _) in named))
    return tree, show_call(tree, [text for _, text in args], [(key, text) for key, (_, text) in named])


def _argument(value: Value, catalogue: Catalogue) -> _NodeText:
    if isinstance(value, bool):
        return Text("true" if value else "false"), "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    return (Text(value), show_text(value)) if isinstance(value, str) else _canonical(value, catalogue)


def _number(value: float) -> _NodeText:
    if math.isnan(value):
        return Number(math.nan), "nan"
    return Number(value + 0.0), show_number(value + 0.0)  # -0.0 + 0.0 is 0.0


def _text(node_text: _NodeText) -> str:
    return node_text[1]


CANONICAL_VERSION = 2
"""Version of the canonical forms. Increase it when one changes: figures of another form then do not count."""


@dataclass(frozen=True, slots=True)
class Alpha:
    """A well typed alpha; `expression` is its canonical text, duplicates have the same `digest`."""

    tree: Node
    canonical: Node
    expression: str
    digest: str


def read(text: str, catalogue: Catalogue) -> Alpha:
    """Parse, check and canonicalize an expression; raise ExpressionError with line and column."""
    try:
        return _alpha(parse(text, catalogue), catalogue)
    except ExpressionError as error:
        error.within(text)
        raise


def alpha_of(tree: Node, catalogue: Catalogue) -> Alpha:
    """Check and canonicalize a tree; raise ExpressionError if it is no alpha."""
    return _alpha(bounded(tree), catalogue)


def _alpha(tree: Node, catalogue: Catalogue) -> Alpha:
    kind_of(tree, catalogue)
    check_result(tree, catalogue)
    canonical_tree, text = _canonical(tree, catalogue)
    return Alpha(tree, canonical_tree, text, digest_text(text))
