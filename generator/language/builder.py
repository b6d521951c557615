"""Builds the tree during the parse: resolves names and substitutes assignments.

Each thread's parser has its own builder. `begin` and `finish` bracket each text.
"""

import math
from typing import TYPE_CHECKING, Final, TypeAlias

from generator.catalogue.model import Catalogue
from generator.language.ast import Call, Field, Node, Number, Text, bounded
from generator.language.errors import ExpressionError, field_hint, unknown_operator

if TYPE_CHECKING:
    from lark import Token

_Named: TypeAlias = tuple[str, Node]

INFIX: Final = {
    "||": "or",
    "or": "or",
    "&&": "and",
    "and": "and",
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "divide",
    "^": "power",
}
"""Infix sign to operator. The grammar defines the precedence."""

_PREFIX: Final = {"not": "not", "!": "not", "-": "reverse"}
"""Prefix sign to operator; a prefix plus is dropped."""

_CAPITALISED: Final = frozenset({"True", "False"})
"""The spelling on BRAIN's page on `bucket`."""


class TreeBuilder:
    """Lark's transformer, called during the parse: one method for each rule of the grammar."""

    def __init__(self) -> None:
        self._catalogue = Catalogue({}, {})
        self._variables: dict[str, Node] = {}
        self._last: Node | None = None
        self._last_name = ""

    def begin(self, catalogue: Catalogue | None) -> None:
        """Drop the last text, and use this catalogue for the next; None keeps the catalogue."""
        self._catalogue = catalogue or self._catalogue
        self._variables = {}
        self._last = None
        self._last_name = ""

    def finish(self) -> Node:
        """Return the alpha, the last statement; raise ExpressionError if it is an assignment or missing."""
        if self._last is None:
            raise ExpressionError("there is no expression here", 0)
        if self._last_name:
            message = f"the last statement assigns '{self._last_name}' and gives no alpha"
            raise ExpressionError(
                message,
                self._last.position,
                hint="leave out the assignment, or end with the name",
                plain="the last statement assigns a name and gives no alpha",
            )
        return self._last

    def start(self, children: list[None]) -> None:
        """Do nothing: the rules of the statements have stored each."""

    def assign(self, children: "list[Token | Node]") -> None:
        """Store `name = expression`: later uses of the name are replaced by the expression."""
        self._refuse_unused()
        token, value = children
        name = str(token)
        if name in self._catalogue.words:
            raise ExpressionError(f"'{name}' is a value and cannot be assigned to", _at(token))
        self._variables[name] = self._last = bounded(_node(value))
        self._last_name = name

    def bare(self, children: list[Node]) -> None:
        """Store an expression without an assignment; only the last statement may be one."""
        self._refuse_unused()
        self._last = bounded(children[0])
        self._last_name = ""

    def number(self, children: "list[Token]") -> Node:
        """Return a literal as a Number; raise ExpressionError beyond the range of a double."""
        value = float(children[0])
        if math.isinf(value):
            raise ExpressionError("the number is too large", _at(children[0]))
        return Number(value, _at(children[0]))

    def string(self, children: "list[Token]") -> Node:
        """Return a quoted literal as a Text without its quotes."""
        return Text(str(children[0])[1:-1], _at(children[0]))

    def name(self, children: "list[Token]") -> Node:
        """Resolve a name: variables first, then fields, then bare words."""
        token = children[0]
        name = str(token)
        if self._variables and name in self._variables:
            return self._variables[name]
        if name in self._catalogue.fields:
            return Field(name, _at(token))
        if name == "nan":
            return Number(math.nan, _at(token))
        if name in self._catalogue.words:
            return Text(name.lower() if name in _CAPITALISED else name, _at(token))
        raise self._unknown_name(name, _at(token))

    def named(self, children: "list[Token | Node]") -> _Named:
        """Return a named argument, `name = value`."""
        return str(children[0]), _node(children[1])

    def call(self, children: "list[Token | Node | _Named]") -> Node:
        """Return a call; raise ExpressionError for a positional argument after a named one."""
        name, position = str(children[0]), _at(children[0])
        if name not in self._catalogue.operators:
            raise self._unknown_operator(name, position)
        args: list[Node] = []
        named: list[_Named] = []
        for child in children[1:]:
            if isinstance(child, tuple):
                named.append(child)
            elif named:
                message = f"{name}: a positional argument stands after '{named[-1][0]} ='"
                plain = f"{name}: a positional argument stands after a named one"
                raise ExpressionError(message, _at(child), hint="put named arguments last", plain=plain)
            else:
                args.append(_node(child))
        return Call(name, tuple(args), tuple(named), position)

    def ternary(self, children: list[Node]) -> Node:
        """Return `c ? a : b` as `if_else(c, a, b)`."""
        return Call("if_else", tuple(children), (), children[0].position)

    def infix(self, children: "list[Token | Node]") -> Node:
        """Return `left sign right` as a call."""
        left, sign, right = children
        return Call(INFIX[str(sign)], (_node(left), _node(right)), (), _at(left))

    def prefix(self, children: "list[Token | Node]") -> Node:
        """Return `sign operand` as a call; a negated number is a negative Number."""
        sign, operand = str(children[0]), _node(children[1])
        if sign == "+":
            return operand
        if sign == "-" and isinstance(operand, Number) and not math.isnan(operand.value):
            return Number(0.0 - operand.value, _at(children[0]))
        return Call(_PREFIX[sign], (operand,), (), _at(children[0]))

    def _refuse_unused(self) -> None:
        if self._last is not None and not self._last_name:
            hint = "only the last statement is the alpha: assign the others to names, or leave them out"
            raise ExpressionError("found an unused expression", self._last.position, hint=hint)

    def _unknown_name(self, name: str, position: int) -> ExpressionError:
        if name in self._catalogue.operators:
            hint = f"it is an operator: {self._catalogue.operators[name].signature}"
            return ExpressionError(f"'{name}' needs its arguments", position, hint=hint)
        known = [*self._catalogue.fields, *self._variables, *self._catalogue.words]
        return ExpressionError(
            f"unknown field or name '{name[:64]}'",
            position,
            hint=field_hint(name, known),
            plain="unknown field or name",
        )

    def _unknown_operator(self, name: str, position: int) -> ExpressionError:
        if name in self._catalogue.fields:
            return ExpressionError(f"'{name}' is a data field, not an operator", position)
        return unknown_operator(name, self._catalogue.operators, position)


def _node(value: "Token | Node | _Named") -> Node:
    if isinstance(value, str | tuple):
        raise TypeError(f"the grammar gave {value!r} where an expression belongs")
    return value


def _at(value: "Token | Node | _Named") -> int:
    position = value.position if isinstance(value, Number | Text | Field | Call) else value.start_pos  # type: ignore[union-attr]
    return -1 if position is None else int(position)
