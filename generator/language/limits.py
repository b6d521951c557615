"""How large an expression may be, so that no input costs more than a moment."""

from typing import Final

from generator.language.ast import Call, Node
from generator.language.errors import ExpressionError

MAX_CHARACTERS: Final = 64 * 1024
MAX_DEPTH: Final = 64
MAX_NODES: Final = 4096

BRAIN_OPERATORS: Final = 64
"""BRAIN refuses an expression of more operators than this."""


def operator_count(node: Node) -> int:
    """Return how many operators an expression within the bounds has, each place counted."""
    if not isinstance(node, Call):
        return 0
    parts = (*node.args, *(value for _, value in node.named))
    return 1 + sum(map(operator_count, parts))


def bounded(node: Node) -> Node:
    """Return the node; raise ExpressionError if it is nested deeper, or has more parts, than is allowed.

    Walks level by level, so that it needs no recursion and stops at the bound however large the tree is.
    """
    level, depth, count = [node], 0, 0
    while level:
        depth += 1
        count += len(level)
        if depth > MAX_DEPTH:
            raise ExpressionError(
                f"nested deeper than {MAX_DEPTH} levels", level[0].position, hint="write a simpler expression"
            )
        if count > MAX_NODES:
            raise ExpressionError(
                f"more than {MAX_NODES} parts", node.position, hint="write a shorter expression"
            )
        level = _below(level)
    return node


def _below(level: list[Node]) -> list[Node]:
    below: list[Node] = []
    for node in level:
        if isinstance(node, Call):
            below += node.args
            if node.named:
                below += [value for _, value in node.named]
    return below
