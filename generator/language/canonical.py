"""One form for all spellings of an expression, and a name for it, so that nothing is tried twice.

Every rewriting here keeps each value to the last bit, but for one: sums and products are put in one order
and their constants combined, which may move the last bit of a rounded result. Two expressions with one
canonical form are one alpha.
"""

import math
from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import takewhile
from typing import Final, TypeAlias

from generator.catalogue.model import Catalogue, Kind, Operator, Parameter
from generator.language.ast import Call, Field, Node, Number, Text
from generator.language.check import plain_number, truth_value
from generator.language.constants import fold
from generator.language.forms import settle_form
from generator.language.limits import bounded
from generator.language.print import show, show_call, show_number, show_text
from generator.language.signature import bind, parameter_at

Settled: TypeAlias = tuple[Node, str]
"""A canonical tree and its text."""

_DATA: Final = frozenset({Kind.MATRIX, Kind.VECTOR, Kind.GROUP, Kind.SYMBOL})
_MIRRORED: Final = {"greater": "less", "greater_equal": "less_equal"}
_DIGEST_BYTES: Final = 16


def canonical(node: Node, catalogue: Catalogue) -> Node:
    """Return the canonical form of a well typed expression; applied again it changes nothing.

    Settled are: required arguments by place and optional ones by name in the operator's order, those at their
    default left out; numbers, truth values and strings in one spelling; constants combined; double
    negation, factors of 1 and -1, mirrored comparisons; sums, products and extremes opened into one and
    their arguments sorted, as those of `and`, `equal` and `ts_corr` are. Raises ExpressionError as `check` does
    for arguments that do not fit.
    """
    return settle(bounded(node), catalogue)[0]


def digest(node: Node) -> str:
    """Return the name of an expression: 32 hexadecimal digits made of its text, the same everywhere."""
    return digest_text(show(node))


def digest_text(text: str) -> str:
    """Return the name of an expression of which the printed text is known."""
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def settle(node: Node, catalogue: Catalogue) -> Settled:
    """Return the canonical form with its text, for a tree known to be within the bounds and well typed."""
    if isinstance(node, Call):
        return _Settling(catalogue).call(node)
    return _leaf(node)


def _leaf(node: Node) -> Settled:
    if isinstance(node, Field):
        return node, node.name
    if isinstance(node, Text):
        return node, show_text(node.value)
    return _number(node.value + 0.0) if isinstance(node, Number) else (node, show(node))


def _number(value: float) -> Settled:
    return Number(value), show_number(value)


class _Settling:
    """The walk, bottom up; each step returns tree and text together, so that sorting never prints twice."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._operators = catalogue.operators

    def call(self, call: Call) -> Settled:
        operator = self._operators[call.name]
        bound = bind(operator, call)
        args = [self._argument(parameter_at(operator, i), arg) for i, arg in enumerate(bound.required)]
        named = [(p.name, self._argument(p, arg)) for p, arg in bound.optional if not _is_default(p, arg)]
        return self.made(operator, args, named)

    def made(self, operator: Operator, args: list[Settled], named: list[tuple[str, Settled]]) -> Settled:
        """Put a call together of settled arguments, rewritten where a rule says so."""
        if named:
            return _written(operator, _sorted(operator, args), named)
        constants = [node.value for node, _ in args if isinstance(node, Number)]
        folded = fold(operator.name, constants) if len(constants) == len(args) else None
        if folded is not None:
            return _number(folded)
        rule = _RULES.get(operator.name)
        rewritten = rule(self, operator, args) if rule else None
        if rewritten is not None:
            return rewritten
        return _written(
            operator, _sorted(operator, _constants_combined(operator, self.opened(operator, args))), []
        )

    def opened(self, operator: Operator, args: list[Settled]) -> list[Settled]:
        """Replace an argument that is a call of the same associative operator by that call's arguments."""
        if not operator.associative or not any(_is_plain(operator.name, node) for node, _ in args):
            return args
        opened: list[Settled] = []
        for arg in args:
            opened += self.parts(arg[0]) if _is_plain(operator.name, arg[0]) else [arg]
        return opened

    def parts(self, node: Node) -> list[Settled]:
        """Return the arguments of a canonical call, settled."""
        args = node.args if isinstance(node, Call) else ()
        return [self.call(arg) if isinstance(arg, Call) else _leaf(arg) for arg in args]

    def of(self, name: str, args: list[Settled]) -> Settled | None:
        """Return the call of another operator, where the catalogue has it."""
        operator = self._operators.get(name)
        return None if operator is None else self.made(operator, args, [])

    def _argument(self, parameter: Parameter, arg: Node) -> Settled:
        if parameter.kind in _DATA:
            return self.call(arg) if isinstance(arg, Call) else _leaf(arg)
        return _leaf(_plain(parameter, arg))


def _reverse(settling: _Settling, _: Operator, args: list[Settled]) -> Settled | None:
    inner = args[0][0]
    if _is_plain("reverse", inner):
        return settling.parts(inner)[0]
    if _is_plain("multiply", inner):
        return settling.of("multiply", [_number(-1.0), *settling.parts(inner)])
    if _is_plain("subtract", inner):
        return _turned(settling, settling.parts(inner))
    return None


def _turned(settling: _Settling, parts: list[Settled]) -> Settled | None:
    """Write `-(a - b - c)` as `c - (a - b)`; turned again it is what it was."""
    *first, last = parts
    left = settling.of("subtract", first) if len(first) > 1 else first[0]
    return None if left is None else settling.of("subtract", [last, left])


def _multiply(settling: _Settling, operator: Operator, args: list[Settled]) -> Settled | None:
    """Signs gather in one place: the smallest constant, or a reversal of the only factor."""
    factors = settling.opened(operator, args)
    constants = [node.value for node, _ in factors if isinstance(node, Number)]
    reversals = [factor for factor in factors if _is_plain("reverse", factor[0])]
    others = [factor for factor in factors if not isinstance(factor[0], Number) and factor not in reversals]
    others += [settling.parts(node)[0] for node, _ in reversals]
    sizes = _product(abs(value) for value in constants)
    negative = (sum(value < 0 for value in constants) + len(reversals)) % 2 == 1
    if not sizes and len(others) == 1:
        return (settling.of("reverse", others) if negative else others[0]) or None
    if negative:
        sizes = [-sizes[0], *sizes[1:]] if sizes else [-1.0]
    return _written(operator, _sorted(operator, [*map(_number, sizes), *others]), [])


def _product(sizes: Iterable[float]) -> list[float]:
    """Return the product of constants, nothing for 1; the constants as they are where a double cannot hold it."""
    factors = sorted(size for size in sizes if size != 1)
    product = math.prod(factors)
    if not math.isfinite(product) or (product == 0 and 0 not in factors):
        return factors
    return [] if product == 1 else [product]


def _constants_combined(operator: Operator, args: list[Settled]) -> list[Settled]:
    """Combine the constants among the arguments of a sum or an extreme, in the order of their size."""
    constants = sorted(node.value for node, _ in args if isinstance(node, Number))
    value = fold(operator.name, constants) if operator.associative else None
    return args if value is None else [_number(value), *(arg for arg in args if not _is_number(arg))]


def _subtract(settling: _Settling, operator: Operator, args: list[Settled]) -> Settled | None:
    """Write `(a - b) - c` as `subtract(a, b, c)`, with constants in front combined."""
    first = args[0]
    if len(args) == 2 and _is_plain("reverse", args[1][0]):  # noqa: PLR2004  # x - -y is x + y
        return settling.of("add", [first, *settling.parts(args[1][0])])
    parts = settling.parts(first[0]) if _is_plain("subtract", first[0]) else [first]
    parts = _leading_combined([*parts, *args[1:]])
    return None if parts == args else _written(operator, parts, [])


def _leading_combined(parts: list[Settled]) -> list[Settled]:
    """Take constants from one another where they stand first, as evaluation would."""
    leading = [node.value for node, _ in takewhile(_is_number, parts) if isinstance(node, Number)]
    value = fold("subtract", leading)
    return parts if value is None else [_number(value), *parts[len(leading) :]]


def _is_number(settled: Settled) -> bool:
    return isinstance(settled[0], Number)


def _divide(settling: _Settling, _: Operator, args: list[Settled]) -> Settled | None:
    if args[1][0] == Number(1.0):
        return args[0]
    return settling.of("inverse", args[1:]) if args[0][0] == Number(1.0) else None


def _mirror(settling: _Settling, operator: Operator, args: list[Settled]) -> Settled | None:
    return settling.of(_MIRRORED[operator.name], args[::-1])


_Rule: TypeAlias = Callable[[_Settling, Operator, list[Settled]], Settled | None]
_RULES: Final[dict[str, _Rule]] = {
    "reverse": _reverse,
    "multiply": _multiply,
    "subtract": _subtract,
    "divide": _divide,
    "greater": _mirror,
    "greater_equal": _mirror,
}


def _written(operator: Operator, args: list[Settled], named: list[tuple[str, Settled]]) -> Settled:
    call = Call(
        operator.name,
        tuple(node for node, _ in args),
        tuple((name, node) for name, (node, _) in named),
    )
    return call, show_call(call, [text for _, text in args], [(name, text) for name, (_, text) in named])


def _sorted(operator: Operator, args: list[Settled]) -> list[Settled]:
    """Sort what may change places: all arguments of a sum, the two series of a correlation."""
    if not operator.commutative:
        return args
    count = len(args) if operator.variadic else sum(p.kind is Kind.MATRIX for p in operator.required)
    return sorted(args[:count], key=_text) + args[count:]


def _text(settled: Settled) -> str:
    return settled[1]


def _is_plain(name: str, node: Node) -> bool:
    return isinstance(node, Call) and node.name == name and not node.named


def _plain(parameter: Parameter, arg: Node) -> Node:
    """Return a plain argument in its one spelling."""
    if parameter.kind is Kind.BOOLEAN:
        return Text("true" if truth_value(arg) else "false")
    if parameter.kind in (Kind.NUMBER, Kind.INTEGER):
        value = plain_number(arg)
        return arg if value is None else Number(value)
    if parameter.kind is Kind.STRING and isinstance(arg, Text):
        return Text(settle_form(parameter.form, arg.value) or arg.value)
    return arg


def _is_default(parameter: Parameter, arg: Node) -> bool:
    node, default = _plain(parameter, arg), parameter.default
    if isinstance(default, bool):
        return node == Text("true" if default else "false")
    if isinstance(default, str):
        return node == Text(settle_form(parameter.form, default) or default)
    return default is not None and node == Number(default)
