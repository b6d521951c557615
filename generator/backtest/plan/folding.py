"""Signs folded into the steps that they change (pure).

`-ts_corr(x, y, 10)` is written so that a kernel would read and write the whole matrix once more only to change its sign.
The kernels of PRIMITIVES that are `signed` multiply by it while a value is in a register.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from generator.backtest.plan.graph import Graph
from generator.backtest.plan.primitives import PRIMITIVES, SOURCES


def fold_signs(graph: Graph, roots: Sequence[int]) -> Graph:
    """Return a graph with the same numbers and results, in which what only a change of sign needs has that sign itself."""
    steps = list(graph.steps)
    needed = graph.ancestors(roots)
    uses = Counter(i for number in needed for i in steps[number].inputs)
    uses.update(roots)
    for number in needed:
        step = steps[number]
        if step.op != "reverse" or uses[step.inputs[0]] > 1:
            continue
        changed = steps[step.inputs[0]]
        if changed.op not in SOURCES and PRIMITIVES[changed.op].signed:
            steps[number] = replace(changed, sign=-changed.sign)
    return Graph(steps)
