"""Compiler from expression trees to the steps of one graph (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from generator.backtest.errors import EvaluationError
from generator.backtest.plan import operators_more  # noqa: F401  # it adds to OPERATORS
from generator.backtest.plan.graph import Graph, Param
from generator.backtest.plan.operators import OPERATORS, Grouping
from generator.backtest.settings import Semantics
from generator.catalogue import Kind, Operator, load_catalogue
from generator.language.ast import Call, Field, Node, Number
from generator.language.errors import ExpressionError
from generator.language.signature import Bound, bind

_MAX_DEPTH = 200
_COMMUTATIVE = frozenset({"add", "multiply", "max", "min", "and", "or", "equal", "not_equal", "unordered"})


@dataclass(slots=True)
class Compiler:
    """Adds trees to a graph. `fields` are the names of the panel's fields, `groups` its groupings with their sizes."""

    fields: frozenset[str]
    groups: Mapping[str, int]
    instruments: int
    semantics: Semantics
    graph: Graph = field(default_factory=Graph)
    masked: bool = False
    """True if fields are NaN outside the universe (pasteurized)."""
    has_universe: bool = False
    operators: Mapping[str, Operator] = field(default_factory=lambda: load_catalogue(higher=True).operators)
    _depth: int = 0
    _known: dict[Node, int] = field(default_factory=dict)

    def matrix(self, node: Node) -> int:
        """Return the step that computes a tree's values.

        Raises EvaluationError, with the position, for a tree that cannot be evaluated on the panel.
        """
        known = self._known.get(node)
        if known is not None:
            return known
        self._depth += 1
        try:
            if self._depth > _MAX_DEPTH:
                raise EvaluationError(f"more than {_MAX_DEPTH} operators are nested", position=node.position)
            step = self._matrix(node)
        finally:
            self._depth -= 1
        self._known[node] = step
        return step

    def _matrix(self, node: Node) -> int:
        if isinstance(node, Number):
            return self.graph.emit("fill", params=(node.value + 0.0,))
        if isinstance(node, Field):
            return self._field(node)
        if isinstance(node, Call):
            if node.name not in OPERATORS:
                raise EvaluationError(f"{node.name}() cannot be evaluated locally", position=node.position)
            return OPERATORS[node.name](self, self._bound(node))
        raise EvaluationError("a text is used where values are needed", position=node.position)

    def _bound(self, call: Call) -> Bound:
        try:
            return bind(self.operators[call.name], call)
        except ExpressionError as error:
            raise EvaluationError(error.message, position=error.position, hint=error.hint) from error

    def _field(self, node: Field) -> int:
        if node.name in self.fields:
            step = self.graph.emit("field", params=(node.name,))
            return self.graph.emit("mask_outside", step, self.universe()) if self.masked else step
        if node.name in self.groups:
            raise EvaluationError(
                f"{node.name} is a grouping, and values are needed here",
                position=node.position,
                hint="use it as the group of a group_ operator",
            )
        raise EvaluationError(
            f"the panel has no field {node.name}",
            position=node.position,
            hint=f"it has {', '.join(sorted(self.fields))}",
        )

    def group(self, node: Node) -> Grouping:
        """Return the step that computes a tree's group codes; raise EvaluationError if it is not a grouping."""
        if isinstance(node, Field):
            if node.name in self.groups:
                return self.grouping(node.name)
            raise EvaluationError(
                f"the panel has no grouping {node.name}",
                position=node.position,
                hint=f"it has {', '.join(sorted(self.groups)) or 'none'}",
            )
        operator = self.operators.get(node.name) if isinstance(node, Call) else None
        if operator is None or operator.result is not Kind.GROUP:
            raise EvaluationError(
                "a grouping is needed here",
                position=node.position,
                hint="a group field, bucket() or densify()",
            )
        dense = self.graph.emit("dense", self.matrix(node))
        return Grouping(self.graph.emit("to_codes", dense), self.instruments)

    def grouping(self, name: str) -> Grouping:
        """Return the step of one of the panel's groupings."""
        return Grouping(self.graph.emit("group", params=(name,)), self.groups[name])

    def universe(self) -> int:
        """Return the step of the universe's mask."""
        return self.graph.emit("group", params=("universe",))

    def in_universe(self, step: int) -> int:
        """Return the step with NaN outside the universe; the step itself if the panel has none."""
        return self.emit("mask_outside", step, self.universe()) if self.has_universe else step

    def emit(self, op: str, *inputs: int, params: tuple[Param, ...] = ()) -> int:
        """Return the number of a step; sort the inputs of a commutative one, so that both orders share it."""
        if op in _COMMUTATIVE:
            inputs = tuple(sorted(inputs))
        return self.graph.emit(op, *inputs, params=params)

    def binary(self, op: str, left: Node | int, right: Node | int) -> int:
        """Return a step of elementwise arithmetic.

        A number becomes a parameter instead of a constant matrix. Simple powers become products and roots.
        """
        if isinstance(right, Number):
            x, value = left if isinstance(left, int) else self.matrix(left), right.value + 0.0
            simple = self._simple_power(op, x, value)
            return simple if simple is not None else self.emit(op + ":number", x, params=(value, False))
        y = right if isinstance(right, int) else self.matrix(right)
        if isinstance(left, Number):
            return self.emit(op + ":number", y, params=(left.value + 0.0, True))
        return self.emit(op, left if isinstance(left, int) else self.matrix(left), y)

    def _simple_power(self, op: str, x: int, exponent: float) -> int | None:
        match (op, exponent):
            case ("power" | "signed_power", 1.0):
                return x
            case ("power", 2.0):
                return self.emit("multiply", x, x)
            case ("power", 0.5):
                return self.emit("sqrt", x)
            case ("power", -1.0):
                return self.emit("inverse", x)
            case ("signed_power", 2.0):
                return self.emit("multiply", x, self.emit("abs", x))
            case ("signed_power", 0.5):
                return self.emit("multiply", self.emit("sign", x), self.emit("sqrt", self.emit("abs", x)))
        return None
