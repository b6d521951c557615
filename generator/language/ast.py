"""The expression tree: what the parser makes, the checker types, the printer prints and the engine runs.

There is one form for one meaning: infix, unary and ternary operators stand as calls of the operator they
abbreviate (`a + b` is `add(a, b)`, `-x` is `reverse(x)` unless x is a number, `c ? a : b` is `if_else`), and
assignments are already substituted. Nodes are immutable and hashable, so that equal subexpressions compare
equal and can be shared.
"""

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric constant; `1` and `1.0` are the same."""

    value: float
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A string argument, or a bare identifier used as a value (`driver = gaussian`, `dense = true`)."""

    value: str
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Field:
    """A data field by its id, such as `close` or `sector`."""

    name: str
    position: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """An operator applied to positional arguments and then to named ones, in the order written.

    `position` is the offset of the node's first character in the text it was parsed from, -1 if there is
    none.
    """

    name: str
    args: tuple["Node", ...]
    named: tuple[tuple[str, "Node"], ...] = ()
    position: int = field(default=-1, compare=False)


Node: TypeAlias = Number | Text | Field | Call
