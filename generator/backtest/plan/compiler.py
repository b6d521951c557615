"""From expression trees to the steps of one graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from generator.backtest.errors import EvaluationError
from generator.backtest.plan import operators_more  # noqa: F401  # it adds to OPERATORS
from generator.backtest.plan.binding import bind, constant
from generator.backtest.plan.graph import Graph, Param
from generator.backtest.plan.operators import OPERATORS, Grouping
from generator.backtest.semantics import Semantics
from generator.language.ast import Call, Field, Node, Text

_DEEPEST = 200
_COMMUTATIVE = frozenset({"add", "multiply", "max", "min", "and", "or", "equal", "not_equal", "unordered"})


@dataclass(slots=True)
class Compiler:
    """Adds trees to a graph; `fields` are the panel's matrices, `groups` its groupings with their sizes."""

    fields: frozenset[str]
    groups: Mapping[str, int]
    instruments: int
    semantics: Semantics
    graph: Graph = field(default_factory=Graph)
    masked: bool = False
    """Whether fields are NaN outside the universe (pasteurized)."""
    has_universe: bool = False
    _depth: int = 0
    _known: dict[Node, int] = field(default_factory=dict)

    def matrix(self, node: Node) -> int:
        """Return the step that gives a tree's values.

        Raises EvaluationError, with the position, for what cannot be evaluated on the panel.
        """
        known = self._known.get(node)
        if known is not None:
            return known
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise EvaluationError(f"more than {_DEEPEST} operators are nested", position=node.position)
            step = self._matrix(node)
        finally:
            self._depth -= 1
        self._known[node] = step
        return step

    def _matrix(self, node: Node) -> int:
        value = constant(node)
        if value is not None:
            return self.graph.emit("fill", params=(value,))
        if isinstance(node, Field):
            return self._field(node)
        if isinstance(node, Call):
            operator = OPERATORS.get(node.name)
            if operator is None:
                raise EvaluationError(f"{node.name}() cannot be evaluated locally", position=node.position)
            return operator.define(self, bind(node, operator.signature))
        raise EvaluationError("a text stands where values are needed", position=node.position)

    def _field(self, node: Field) -> int:
        if node.name in self.fields:
            step = self.graph.emit("field", params=(node.name,))
            return self.graph.emit("mask_outside", step, self.universe()) if self.masked else step
        if node.name in self.groups:
            raise EvaluationError(
                f"{node.name} is a grouping and stands where values are needed",
                position=node.position,
                hint="use it as the group of a group_ operator",
            )
        raise EvaluationError(
            f"the panel has no field {node.name}",
            position=node.position,
            hint=f"it has {', '.join(sorted(self.fields))}",
        )

    def group(self, node: Node) -> Grouping:
        """Return the step that gives a tree's group codes; raise EvaluationError where it is no grouping."""
        if isinstance(node, Field | Text):
            name = node.name if isinstance(node, Field) else node.value
            if name in self.groups:
                return self.grouping(name)
            raise EvaluationError(
                f"the panel has no grouping {name}",
                position=node.position,
                hint=f"it has {', '.join(sorted(self.groups)) or 'none'}",
            )
        operator = OPERATORS.get(node.name) if isinstance(node, Call) else None
        if operator is None or not operator.returns_group:
            raise EvaluationError(
                "a grouping is needed here",
                position=node.position,
                hint="a group field, bucket() or densify()",
            )
        dense = self.graph.emit("dense", self.matrix(node))
        return Grouping(self.graph.emit("to_codes", dense), self.instruments)

    def grouping(self, name: str) -> Grouping:
        """Return a group field of the panel."""
        return Grouping(self.graph.emit("group", params=(name,)), self.groups[name])

    def universe(self) -> int:
        """Return the step that gives the universe's mask."""
        return self.graph.emit("group", params=("universe",))

    def inside(self, step: int) -> int:
        """Return a step with NaN outside the universe, if the panel has one."""
        return self.emit("mask_outside", step, self.universe()) if self.has_universe else step

    def emit(self, op: str, *inputs: int, params: tuple[Param, ...] = ()) -> int:
        """Return the number of a step; operands of commutative ones are put in order."""
        if op in _COMMUTATIVE:
            inputs = tuple(sorted(inputs))
        return self.graph.emit(op, *inputs, params=params)

    def binary(self, op: str, left: Node | int, right: Node | int) -> int:
        """Return a step of elementwise arithmetic; a number is taken as one and simple powers are products."""
        a = None if isinstance(left, int) else constant(left)
        b = None if isinstance(right, int) else constant(right)
        if b is not None:
            x = left if isinstance(left, int) else self.matrix(left)
            simple = self._simple_power(op, x, b)
            return simple if simple is not None else self.emit(op + ":number", x, params=(float(b), False))
        y = right if isinstance(right, int) else self.matrix(right)
        if a is not None:
            return self.emit(op + ":number", y, params=(float(a), True))
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
