"""Random instances of a grammar: the stand-in's answers. Pure, given the randomness.

A union of simple and nested values mostly nests at first, and ever more rarely further down. A schema of expressions
therefore gives a few operators each, and a schema that refers to itself ends.
"""

import random
from typing import Any

from standin.sampling.grammar import (
    ENDLESS,
    AnyOf,
    Grammar,
    Items,
    Link,
    Members,
    Node,
    Scalar,
    SchemaError,
    Values,
)

# Fitted so that an expression of the generator's grammar mostly has two to four operators.
_NESTING = (0.98, 0.68, 0.14, 0.05, 0.03, 0.02)
_WEIGHT_OF_A_LIST = 6
_EXTRA_ITEMS = 3
_OPTIONAL = 0.5
_WORDS = ("alpha", "momentum", "reversal", "volume", "spread", "quality", "value", "trend", "gap", "range")
_SPANS = (2, 3, 5, 10, 20, 22, 40, 60, 63, 120, 240)


def sample(grammar: Grammar, rng: random.Random) -> Any:
    """Return a JSON value that the grammar's schema accepts."""
    return _Sampler(grammar, rng).sample(grammar.root, 0)


class _Sampler:
    def __init__(self, grammar: Grammar, rng: random.Random) -> None:
        self._depths = grammar.depths
        self._rng = rng

    def sample(self, node: Node, depth: int) -> Any:
        """Return a value of a node that `depth` nested choices led to."""
        if isinstance(node, Link):
            if node.target is None:
                raise SchemaError(f"JSON schema error at #: cannot resolve $ref {node.pointer}")
            return self.sample(node.target, depth)
        if isinstance(node, Values):
            return self._rng.choice(node.values)
        if isinstance(node, Scalar):
            return _SCALARS[node.kind](self._rng, node.least, node.most)
        if isinstance(node, AnyOf):
            return self._chosen(node, depth)
        return self._array(node, depth) if isinstance(node, Items) else self._object(node, depth)

    def _chosen(self, node: AnyOf, depth: int) -> Any:
        chance = _NESTING[depth] if depth < len(_NESTING) else 0.0
        if node.leaves and (not node.branches or self._rng.random() >= chance):
            weights = [
                min(len(leaf.values), _WEIGHT_OF_A_LIST) if isinstance(leaf, Values) else 1
                for leaf in node.leaves
            ]
            return self.sample(self._rng.choices(node.leaves, weights)[0], depth)
        return self.sample(self._branch(node.branches, depth), depth + 1)

    def _branch(self, branches: list[Node], depth: int) -> Node:
        if depth < len(_NESTING):
            return self._rng.choice(branches)
        least = min(self._depths[branch] for branch in branches)
        return self._rng.choice([branch for branch in branches if self._depths[branch] == least])

    def _array(self, node: Items, depth: int) -> list[Any]:
        items = [self.sample(item, depth) for item in node.fixed]
        if node.rest is not None and self._ends(node.rest):
            items += [self.sample(node.rest, depth) for _ in range(self._more(node, depth))]
        return items

    def _more(self, node: Items, depth: int) -> int:
        least = max(node.least, len(node.fixed))
        most = least + _EXTRA_ITEMS if node.most is None else node.most
        if depth >= len(_NESTING):
            most = least
        return self._rng.randint(least, max(least, most)) - len(node.fixed)

    def _object(self, node: Members, depth: int) -> dict[str, Any]:
        return {
            name: self.sample(value, depth)
            for name, value, needed in node.members
            if needed or (depth < len(_NESTING) and self._rng.random() < _OPTIONAL and self._ends(value))
        }

    def _ends(self, node: Node) -> bool:
        return self._depths[node] < ENDLESS


def _string(rng: random.Random, least: float | None, most: float | None) -> str:
    text = " ".join(rng.choices(_WORDS, k=rng.randint(1, 3)))
    while len(text) < (least or 0):
        text += " " + rng.choice(_WORDS)
    return text if most is None else text[: int(most)]


def _integer(rng: random.Random, least: float | None, most: float | None) -> int:
    if least is None and most is None:
        return rng.choice(_SPANS)
    low = int(least) if least is not None else int(most or 0) - 250
    high = int(most) if most is not None else low + 250
    return rng.randint(low, high)


def _number(rng: random.Random, least: float | None, most: float | None) -> float:
    low = least if least is not None else (most - 10 if most is not None else 0.0)
    high = most if most is not None else low + 10
    return min(high, max(low, round(rng.uniform(low, high), 2)))


_SCALARS = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda rng, *_: rng.random() < 0.5,  # noqa: PLR2004  # a coin
    "null": lambda *_: None,
}
