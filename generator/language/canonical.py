"""One form for all spellings of an expression, and a name for it, so that nothing is tried twice.

Every rewriting here keeps each value to the last bit, signs of zeros included: two expressions with one canonical
form are one alpha, and the engine gives both the same values.
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

Settled: TypeAlias = tuple[Node, str]
"""A canonical tree and its text."""

_MIRRORED: Final = {"greater": "less", "greater_equal": "less_equal"}
_DIGEST_BYTES: Final = 16


def canonical(node: Node, catalogue: Catalogue) -> Node:
    """Return the canonical form of a well typed expression; applied again it changes nothing.

    Settled are: required arguments by place and optional ones by name in the operator's order, those at their
    default left out; numbers, truth values and strings in one spelling; the order of arguments where both orders
    give the same bits. Longer sums keep their order, but for the first two terms: another would round otherwise.
    Raises ExpressionError as `check` does for arguments that do not fit.
    """
    return settle(bounded(node), catalogue)[0]


def digest(node: Node) -> str:
    """Return the name of an expression: 32 hexadecimal digits made of its text, the same everywhere."""
    return digest_text(show(node))


def digest_text(text: str) -> str:
    """Return the name of an expression of which the printed text is known."""
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def settle(node: Node, catalogue: Catalogue) -> Settled:
    """Return the canonical form with its text, for a tree known to be within the bounds and well typed."""
    if isinstance(node, Call):
        return _call(node, catalogue)
    if isinstance(node, Number):
        return _number(node.value)
    return node, node.name if isinstance(node, Field) else show_text(node.value)


def _call(call: Call, catalogue: Catalogue) -> Settled:
    """Settle a call bottom up; text comes with each tree, so that sorting never prints twice."""
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


def _argument(value: Value, catalogue: Catalogue) -> Settled:
    if isinstance(value, bool):
        return Text("true" if value else "false"), "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    return (Text(value), show_text(value)) if isinstance(value, str) else settle(value, catalogue)


def _number(value: float) -> Settled:
    if math.isnan(value):
        return Number(math.nan), "nan"
    return Number(value + 0.0), show_number(value + 0.0)


def _text(settled: Settled) -> str:
    return settled[1]


@dataclass(frozen=True, slots=True)
class Alpha:
    """A well typed alpha; `expression` is its canonical text, `digest` what duplicates are known by."""

    tree: Node
    canonical: Node
    expression: str
    digest: str


def read(text: str, catalogue: Catalogue) -> Alpha:
    """Parse, check and settle an expression; raise ExpressionError, with its place, for what is wrong."""
    try:
        return _alpha(parse(text, catalogue), catalogue)
    except ExpressionError as error:
        error.within(text)
        raise


def alpha_of(tree: Node, catalogue: Catalogue) -> Alpha:
    """Check and settle an expression that came as a tree; raise ExpressionError if it is no alpha."""
    return _alpha(bounded(tree), catalogue)


def _alpha(tree: Node, catalogue: Catalogue) -> Alpha:
    kind_of(tree, catalogue)
    check_result(tree, catalogue)
    settled, text = settle(tree, catalogue)
    return Alpha(tree, settled, text, digest_text(text))
