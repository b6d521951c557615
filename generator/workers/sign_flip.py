"""The alpha of the opposite sign: one that loses steadily wins with its sign reversed. Pure."""

from dataclasses import replace

from generator.catalogue import Catalogue
from generator.domain import AlphaFigures, Candidate, Origin
from generator.language import Call, ExpressionError, alpha_of, parse, show


def opposite(performance: AlphaFigures) -> AlphaFigures:
    """Return the expected figures of the alpha with the opposite sign.

    Its drawdown does not follow from this one's; the best possible value, 0, is assumed.
    """
    return replace(
        performance,
        sharpe=-performance.sharpe,
        fitness=-performance.fitness,
        returns=-performance.returns,
        margin=-performance.margin,
        drawdown=0.0,
        long_count=performance.short_count,
        short_count=performance.long_count,
    )


def reversed_candidate(candidate: Candidate, catalogue: Catalogue) -> Candidate | None:
    """Return the candidate of the opposite sign; None if the catalogue cannot express it."""
    try:
        tree = candidate.tree or parse(candidate.expression, catalogue)
        is_reversed = isinstance(tree, Call) and tree.name == "reverse" and len(tree.args) == 1
        opposed = tree.args[0] if isinstance(tree, Call) and is_reversed else Call("reverse", (tree,))
        alpha = alpha_of(opposed, catalogue)
    except (ExpressionError, KeyError):
        return None
    return Candidate(
        digest=alpha.digest,
        expression=show(opposed),
        canonical=alpha.expression,
        call=candidate.call,
        model=candidate.model,
        tree=opposed,
        origin=Origin.FLIPPED,
        parents=(candidate.digest,),
    )
