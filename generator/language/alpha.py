"""An alpha expression as read: everything that the rest of the generator asks of it."""

from dataclasses import dataclass

from generator.catalogue.model import Catalogue
from generator.language.ast import Node
from generator.language.canonical import digest_text, settle
from generator.language.check import check_result, kind_of
from generator.language.errors import ExpressionError
from generator.language.limits import bounded
from generator.language.parse import parse


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
