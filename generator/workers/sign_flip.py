"""An alpha that loses steadily is one that wins with the opposite sign: what that would be. Pure."""

from dataclasses import replace

from generator.catalogue import Catalogue
from generator.domain import AlphaFigures, Candidate
from generator.language import Call, ExpressionError, alpha_of, parse, show


def opposite(performance: AlphaFigures) -> AlphaFigures:
    """Return what the alpha of the opposite sign promises, before it is tried.

    Its drawdown cannot be told from this one's, so that the best is taken for it.
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


def turned_candidate(candidate: Candidate, catalogue: Catalogue) -> Candidate | None:
    """Return the candidate of the opposite sign; None where the language has no way to say it."""
    try:
        tree = candidate.tree or parse(candidate.expression, catalogue)
        reversed_already = isinstance(tree, Call) and tree.name == "reverse" and len(tree.args) == 1
        turned = tree.args[0] if isinstance(tree, Call) and reversed_already else Call("reverse", (tree,))
        alpha = alpha_of(turned, catalogue)
    except (ExpressionError, KeyError):
        return None
    return Candidate(
        digest=alpha.digest,
        expression=show(turned),
        canonical=alpha.expression,
        call=candidate.call,
        model=candidate.model,
        tree=turned,
    )
