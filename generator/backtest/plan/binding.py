"""From a call as written to the arguments that an operator's definition names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from generator.backtest.errors import EvaluationError
from generator.language.ast import Call, Field, Node, Number, Text


class Kind(Enum):
    """What an operator's parameter takes."""

    MATRIX = "matrix"
    GROUP = "group"
    DAYS = "days"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter by name; one without a default must be given, `optional` ones may be absent without one."""

    name: str
    kind: Kind
    default: float | bool | str | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """An operator's parameters in order; a variadic one takes any number of matrices, at least two, first."""

    name: str
    parameters: tuple[Parameter, ...]
    variadic: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """A call with every argument under its parameter's name; `matrices` are a variadic operator's."""

    call: Call
    given: Mapping[str, Node]
    signature: Signature
    matrices: tuple[Node, ...] = ()

    def has(self, name: str) -> bool:
        """Say whether the argument was written."""
        return name in self.given

    def node(self, name: str) -> Node:
        """Return the argument's tree; raise EvaluationError if it is missing."""
        if name in self.given:
            return self.given[name]
        raise EvaluationError(f"{self.call.name}() needs {name}", position=self.call.position)

    def _default(self, name: str) -> float | bool | str | None:
        return next(p.default for p in self.signature.parameters if p.name == name)

    def number(self, name: str) -> float:
        """Return a number that stands in the expression itself."""
        default = self._default(name)
        if name not in self.given and default is not None:
            return float(default)
        value = constant(self.node(name))
        if value is None:
            raise EvaluationError(
                f"{self.call.name}(): {name} must be a number", position=self.node(name).position
            )
        return value

    def integer(self, name: str) -> int:
        """Return a whole number."""
        value = self.number(name)
        if value != int(value):
            raise EvaluationError(
                f"{self.call.name}(): {name} must be a whole number, not {value:g}",
                position=self.node(name).position,
            )
        return int(value)

    def days(self, name: str) -> int:
        """Return a look-back of at least one day."""
        value = self.integer(name)
        if value < 1:
            raise EvaluationError(
                f"{self.call.name}(): {name} must be at least 1 day, not {value}",
                position=self.node(name).position,
            )
        return value

    def flag(self, name: str) -> bool:
        """Return true or false, written as a word or as 1 or 0."""
        if name not in self.given:
            return bool(self._default(name))
        node = self.given[name]
        if isinstance(node, Number):
            return node.value != 0
        word = word_of(node)
        if word is not None and word.lower() in {"true", "false"}:
            return word.lower() == "true"
        raise EvaluationError(f"{self.call.name}(): {name} must be true or false", position=node.position)

    def text(self, name: str) -> str:
        """Return a text; a bare word counts as one."""
        if name not in self.given:
            return str(self._default(name))
        word = word_of(self.given[name])
        if word is None:
            raise EvaluationError(
                f"{self.call.name}(): {name} must be a text", position=self.given[name].position
            )
        return word


def word_of(node: Node) -> str | None:
    """Return the word that a text or a bare identifier is."""
    if isinstance(node, Text):
        return node.value
    return node.name if isinstance(node, Field) else None


def constant(node: Node) -> float | None:
    """Return the value of a number or of arithmetic on numbers, None for anything else."""
    if isinstance(node, Number):
        return node.value
    if not isinstance(node, Call) or node.named:
        return None
    values = [constant(a) for a in node.args]
    known = [v for v in values if v is not None]
    if len(known) != len(values):
        return None
    return _fold(node.name, known)


def _fold(name: str, v: Sequence[float]) -> float | None:
    match (name, len(v)):
        case ("reverse", 1):
            return -v[0]
        case ("add", 2):
            return v[0] + v[1]
        case ("subtract", 2):
            return v[0] - v[1]
        case ("multiply", 2):
            return v[0] * v[1]
        case ("divide", 2) if v[1] != 0:
            return v[0] / v[1]
    return None


def bind(call: Call, signature: Signature) -> Bound:
    """Match a call's arguments with the parameters; raise EvaluationError for surplus, unknown or double ones."""
    names = [p.name for p in signature.parameters]
    named = dict(call.named)
    if len(named) != len(call.named):
        raise EvaluationError(f"{call.name}(): an argument is named twice", position=call.position)
    for name, node in call.named:
        if name not in names:
            raise EvaluationError(
                f"{call.name}() has no argument {name}",
                position=node.position,
                hint=f"it takes {', '.join(names)}",
            )
    if signature.variadic:
        return _bind_variadic(call, signature, named)
    if len(call.args) > len(names):
        raise EvaluationError(
            f"{call.name}() takes at most {len(names)} arguments, not {len(call.args)}",
            position=call.position,
        )
    given = dict(zip(names, call.args, strict=False))
    for name, node in named.items():
        if name in given:
            raise EvaluationError(f"{call.name}(): {name} is given twice", position=node.position)
        given[name] = node
    for parameter in signature.parameters:
        if parameter.name not in given and parameter.default is None and not parameter.optional:
            raise EvaluationError(f"{call.name}() needs {parameter.name}", position=call.position)
    return Bound(call, given, signature)


def _bind_variadic(call: Call, signature: Signature, named: dict[str, Node]) -> Bound:
    """Take all positional arguments as operands; a last bare true or false is the flag."""
    args = list(call.args)
    flags = [p.name for p in signature.parameters if p.kind is Kind.FLAG]
    if flags and len(args) > 2 and (word_of(args[-1]) or "").lower() in {"true", "false"}:  # noqa: PLR2004
        named.setdefault(flags[0], args.pop())
    operands = [named.pop(n) for n in ("x", "y") if n in named]
    operands = args + operands
    if len(operands) < 2:  # noqa: PLR2004
        raise EvaluationError(f"{call.name}() needs at least two inputs", position=call.position)
    return Bound(call, named, signature, tuple(operands))
