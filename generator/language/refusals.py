"""What BRAIN refuses of expressions that are read here: noted beside a good check, and kept from being sent."""

from collections.abc import Iterator

from generator.catalogue.model import Catalogue
from generator.language.ast import BRAIN_OPERATORS, Call, Node, operator_count


def refusals(node: Node, catalogue: Catalogue) -> list[str]:
    """Return, in sentences, why BRAIN would refuse a well typed expression as it was written."""
    notes: list[str] = []
    count = operator_count(node)
    if count > BRAIN_OPERATORS:
        notes.append(f"BRAIN takes at most {BRAIN_OPERATORS} operators, and this has {count}")
    named = sorted({call.name for call in _calls(node) if _by_place(call, catalogue)})
    if named:
        notes.append(f"BRAIN takes optional arguments by name only: see {', '.join(named)}")
    return notes


def with_names(node: Node, catalogue: Catalogue) -> Node:
    """Return a well typed expression with its optional arguments by name, as BRAIN takes them."""
    if not isinstance(node, Call):
        return node
    args = tuple(with_names(arg, catalogue) for arg in node.args)
    named = tuple((name, with_names(value, catalogue)) for name, value in node.named)
    if not _by_place(node, catalogue):
        return Call(node.name, args, named, node.position)
    operator = catalogue.operators[node.name]
    count = len(operator.required)
    surplus = tuple((p.name, arg) for p, arg in zip(operator.optional, args[count:], strict=False))
    return Call(node.name, args[:count], (*surplus, *named), node.position)


def _calls(node: Node) -> Iterator[Call]:
    if isinstance(node, Call):
        yield node
        for part in (*node.args, *(value for _, value in node.named)):
            yield from _calls(part)


def _by_place(call: Call, catalogue: Catalogue) -> bool:
    operator = catalogue.operators[call.name]
    return not operator.variadic and len(call.args) > len(operator.required)
