"""Folding of signs into the steps that they negate (pure).

A separate `reverse` step reads and writes the whole matrix only to change its sign, as in `-ts_corr(x, y, 10)`. The
kernels of `signed` primitives multiply by the sign while a value is in a register.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from generator.backtest.plan.graph import Graph
from generator.backtest.plan.primitives import PRIMITIVES, SOURCES


def fold_signs(graph: Graph, roots: Sequence[int]) -> Graph:
    """Return a graph with the same step numbers and results, with signs folded.

    A step that only a `reverse` uses takes over the sign.
    """
    steps = list(graph.steps)
    needed = graph.ancestors(roots)
    uses = Counter(i for number in needed for i in steps[number].inputs)
    uses.update(roots)
    for number in needed:
        step = steps[number]
        if step.op != "reverse" or uses[step.inputs[0]] > 1:
            continue
        negated = steps[step.inputs[0]]
        if negated.op not in SOURCES and PRIMITIVES[negated.op].signed:
            steps[number] = replace(negated, sign=-negated.sign)
    return Graph(steps)
