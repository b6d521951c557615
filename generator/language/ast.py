"""The expression tree of the parser, the checker, the printer and the engine.

Signs are calls of the operators that they abbreviate. `a + b` is `add(a, b)`, and `c ? a : b` is `if_else(c, a, b)`.
`-x` is `reverse(x)` unless x is a number. Assignments are substituted. Nodes are immutable and hashable: equal
subexpressions compare equal and can be shared.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from generator.language.errors import ExpressionError

_WORD: Final = re.compile(r"[A-Za-z0-9_.,+-]{1,20}")


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """A numeric constant. `1` equals `1.0`, and `0` equals `-0`. NaN stands for a missing value and equals NaN."""

    value: float
    position: int = -1

    # Explicit: a dataclass's equality of NaN depends on the version of Python.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Number):
            return NotImplemented
        return self.value == other.value or (math.isnan(self.value) and math.isnan(other.value))

    def __hash__(self) -> int:
        return hash(None if math.isnan(self.value) else self.value)


@dataclass(frozen=True, slots=True)
class Text:
    """A string argument, or a bare word used as a value (`driver = gaussian`, `dense = true`)."""

    value: str
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Field:
    """A data field by its id, such as `close` or `sector`."""

    name: str
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """An operator with its positional arguments and then its named ones, in the order written.

    `position` is the offset of the node's first character in the parsed text, -1 for a node without text.
    """

    name: str
    args: tuple["Node", ...]
    named: tuple[tuple[str, "Node"], ...] = ()
    position: int = field(default=-1, compare=False)


Node: TypeAlias = Number | Text | Field | Call


def brief(node: Node) -> str:
    """Return a node's short name for a message; a string of more than one word is named `a text`."""
    if isinstance(node, Call):
        return f"{node.name}(…)"
    if isinstance(node, Number):
        return f"{node.value:g}"
    if isinstance(node, Text):
        return node.value if _WORD.fullmatch(node.value) else "a text"
    return node.name[:64]


MAX_CHARACTERS: Final = 64 * 1024
MAX_DEPTH: Final = 65  # the 64 nested operators that BRAIN takes, and their innermost operand
MAX_NODES: Final = 4096

BRAIN_OPERATORS: Final = 64
"""BRAIN refuses an expression with more operators."""


def operator_count(node: Node) -> int:
    """Return the number of operators in an expression within the bounds, repetitions included."""
    if not isinstance(node, Call):
        return 0
    parts = (*node.args, *(value for _, value in node.named))
    return 1 + sum(map(operator_count, parts))


def bounded(node: Node) -> Node:
    """Return the node; raise ExpressionError beyond MAX_DEPTH levels or MAX_NODES parts."""
    # Level by level and without recursion: the tree may be deeper than Python's stack.
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
