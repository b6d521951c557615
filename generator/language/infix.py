"""How operators are written with signs: which call each sign abbreviates, and how tightly it binds.

The order is C's, which the documentation's own examples follow; `^` binds tightest and to the right, so that
`-x ^ 2` is `-(x ^ 2)`. Of the signs, BRAIN documents arithmetic, comparison and the ternary; the signs for
logic and `^` are read here because models and people write them, and printed as calls.
"""

from typing import Final

INFIX: Final = {
    "||": ("or", 1),
    "or": ("or", 1),
    "&&": ("and", 2),
    "and": ("and", 2),
    "==": ("equal", 4),
    "!=": ("not_equal", 4),
    "<": ("less", 5),
    "<=": ("less_equal", 5),
    ">": ("greater", 5),
    ">=": ("greater_equal", 5),
    "+": ("add", 6),
    "-": ("subtract", 6),
    "*": ("multiply", 7),
    "/": ("divide", 7),
    "^": ("power", 9),
}
"""Sign: the operator it stands for, and its binding strength."""

RIGHT_TO_LEFT: Final = frozenset({"^"})

PREFIX: Final = {"not": ("not", 3), "-": ("reverse", 8), "!": ("not", 8), "+": ("", 8)}
"""The same before an operand; a plus sign stands for nothing."""

COMPARISONS: Final = {
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}
"""Operators that BRAIN knows by their sign only."""
