"""Fields that BRAIN calls event data: found in its refusals, and not offered again.

BRAIN lists such fields as matrices. Its refusal names the operator instead of the field: "Operator ts_delta does not
support event inputs."
"""

import logging
import re
from collections.abc import Iterable, Iterator

from fleet.runtime.logging import with_sentence
from generator.catalogue import Catalogue, Kind
from generator.catalogue.available import Scope
from generator.domain import Candidate
from generator.language import ExpressionError, parse
from generator.language.ast import Call, Field, Node

_PHRASES = ("event input", "event data")
_OPERATOR = re.compile(r"\boperator\s+[\"'`]?([A-Za-z_]\w*)", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_]\w*")
_log = logging.getLogger(__name__)


class EventFields:
    """Withdraws event data from the fields on offer. `catalogue` has every field that BRAIN lists."""

    def __init__(self, catalogue: Catalogue, scope: Scope) -> None:
        self._catalogue = catalogue
        self._scope = scope
        self._proven = frozenset(catalogue.fields_of(Kind.GROUP))

    def restore(self, outcomes: Iterable[tuple[str, str]]) -> None:
        """Learn from stored expressions and their refusals; an empty text means that it was simulated."""
        known = [(tree, message) for text, message in outcomes if (tree := self._parsed(text)) is not None]
        for tree, message in sorted(known, key=lambda one: bool(one[1])):  # simulated alphas first
            self._learn(tree, message)

    def note(self, candidate: Candidate, message: str) -> None:
        """Learn from a candidate and its refusal; an empty text means that it was simulated."""
        tree = candidate.tree or self._parsed(candidate.expression)
        if tree is not None:
            self._learn(tree, message)

    def _learn(self, tree: Node, message: str) -> None:
        if not message:
            self._proven |= frozenset(_fields(tree))
            return
        for name in sorted(self._scope.withdraw(event_fields(tree, message, self._proven))):
            sentence = f"BRAIN calls {name} event data: it is not offered any more"
            _log.warning("brain.event_field", extra=with_sentence(sentence, field=name))

    def _parsed(self, text: str) -> Node | None:
        try:
            return parse(text, self._catalogue)
        except ExpressionError:
            return None


def event_fields(tree: Node, message: str, proven: frozenset[str]) -> frozenset[str]:
    """Return the field that a refusal calls event data, none for another refusal or an unknown field.

    Fields that the message names are event data. Otherwise it is the named operator's only direct input that is not
    `proven`. The `proven` fields are those of simulated alphas.
    """
    if not any(phrase in message.lower() for phrase in _PHRASES):
        return frozenset()
    named = _fields(tree) & set(_NAME.findall(message))
    if named:
        return frozenset(named)
    operator = _OPERATOR.search(message)
    inputs = _inputs(tree, operator[1]) if operator else _fields(tree)
    suspects = frozenset(inputs) - proven
    return suspects if len(suspects) == 1 else frozenset()


def _fields(tree: Node) -> set[str]:
    return {node.name for node in _nodes(tree) if isinstance(node, Field)}


def _inputs(tree: Node, operator: str) -> set[str]:
    calls = [node for node in _nodes(tree) if isinstance(node, Call) and node.name == operator]
    return {part.name for call in calls for part in _parts(call) if isinstance(part, Field)}


def _parts(call: Call) -> list[Node]:
    return [*call.args, *(value for _, value in call.named)]


def _nodes(tree: Node) -> Iterator[Node]:
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, Call):
            todo += _parts(node)
