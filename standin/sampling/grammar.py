"""A JSON Schema, checked and made ready for sampling, in the way llama.cpp turns one into a grammar.

Known words of structure are `$defs`/`definitions`, `$ref`, `anyOf`, `oneOf`, `const`, `enum`, and `type`, also as a
list. Known words of content are `properties`, `required`, `prefixItems` and `items`. Known bounds are `minItems`,
`maxItems`, `minLength`, `maxLength`, `minimum` and `maximum`. Words that only describe are skipped. Any other word is
refused: an answer that silently breaks the schema would hide a fault of its author.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

_IGNORED = {
    "$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples",
    "additionalProperties",
}  # fmt: skip
_ALLOWED = {
    "object": {"properties", "required"},
    "array": {"prefixItems", "items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "boolean": set[str](),
    "null": set[str](),
}
ENDLESS = 10**9


class SchemaError(ValueError):
    """The schema cannot be turned into a grammar; the text is llama.cpp's."""


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """One of these values: `const` and `enum`."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A value of a simple type within bounds (of its length for a string, of itself for a number)."""

    kind: str
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """An array: fixed items first, then between `least` and `most` (None: no bound) in all of the rest."""

    fixed: tuple["Node", ...]
    rest: "Node | None"
    least: int
    most: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """An object: its members in order, each with whether it must be there."""

    members: tuple[tuple[str, "Node", bool], ...]


@dataclass(slots=True, eq=False)
class AnyOf:
    """One of several; `leaves` and `branches` are all that can be chosen, unions within unions flattened."""

    options: tuple["Node", ...]
    leaves: list["Node"] = field(default_factory=list)
    branches: list["Node"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Link:
    """A `$ref`; `target` is set once all is read."""

    pointer: str
    target: "Node | None" = None


Node: TypeAlias = Values | Scalar | Items | Members | AnyOf | Link


@dataclass(frozen=True, slots=True)
class Grammar:
    """A schema ready for sampling: its root, and the least nesting below each node."""

    root: Node
    depths: dict[Node, int]


@lru_cache(maxsize=16)
def grammar_of(text: str) -> Grammar:
    """Return the grammar of a schema given as JSON text; raise SchemaError if there can be none."""
    reader = _Reader(json.loads(text))
    root = reader.read_all()
    depths = _least_depths(reader.nodes)
    if depths[root] >= ENDLESS:
        raise SchemaError("JSON schema error at #: the schema never ends")
    for node in reader.nodes:
        if isinstance(node, AnyOf):
            _flatten(node, node, set())
            node.leaves = [leaf for leaf in node.leaves if depths[leaf] < ENDLESS]
            node.branches = [branch for branch in node.branches if depths[branch] < ENDLESS]
    return Grammar(root, depths)


class _Reader:
    """Turns a schema into nodes, each `$ref` target once."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._targets: dict[str, Node] = {}
        self.nodes: list[Node] = []

    def read_all(self) -> Node:
        """Return the root node, with all links joined to their targets."""
        root = self._read(self._schema, "#")
        self._targets["#"] = root
        for node in self.nodes:  # grows while targets are read
            if isinstance(node, Link):
                if node.pointer not in self._targets:
                    self._targets[node.pointer] = self._read(
                        _resolved(self._schema, node.pointer), node.pointer
                    )
                node.target = self._targets[node.pointer]
        return root

    def _read(self, schema: Any, where: str) -> Node:
        node = self._made(schema, where)
        self.nodes.append(node)
        return node

    def _made(self, schema: Any, where: str) -> Node:
        if not isinstance(schema, dict):
            raise SchemaError(f"JSON schema error at {where}: schema must be an object")
        if "$ref" in schema:
            return _link(schema["$ref"], where)
        if "const" in schema:
            return Values((schema["const"],))
        if "enum" in schema:
            return _values(schema["enum"], where)
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self._union(schema, union, where)
        return self._typed(schema, where)

    def _union(self, schema: dict[str, Any], union: str, where: str) -> Node:
        options = schema[union]
        if not isinstance(options, list) or not options or _unknown(schema, {union}):
            raise _unrecognized(schema, where)
        return AnyOf(
            tuple(self._read(option, f"{where}/{union}/{place}") for place, option in enumerate(options))
        )

    def _typed(self, schema: dict[str, Any], where: str) -> Node:
        kind = schema.get("type", _guessed(schema))
        if isinstance(kind, list) and kind:
            return AnyOf(tuple(self._read({**schema, "type": each}, where) for each in kind))
        if kind is None or not isinstance(kind, str):
            raise _unrecognized(schema, where)
        if kind not in _ALLOWED:
            raise SchemaError(f"JSON schema error at {where}: unrecognized type {kind}")
        if _unknown(schema, _ALLOWED[kind] | {"type"}):
            raise _unrecognized(schema, where)
        if kind == "array":
            return self._array(schema, where)
        return self._object(schema, where) if kind == "object" else _scalar(schema, kind, where)

    def _array(self, schema: dict[str, Any], where: str) -> Node:
        fixed = schema.get("prefixItems", [])
        if not isinstance(fixed, list):
            raise _unrecognized(schema, where)
        least, most = _bounds(schema, "minItems", "maxItems", where)
        nodes = tuple(self._read(item, f"{where}/prefixItems/{place}") for place, item in enumerate(fixed))
        rest = schema.get("items", None if fixed else {"type": "string"})
        node = self._read(rest, f"{where}/items") if isinstance(rest, dict) else None
        return Items(nodes, node, int(least or 0), None if most is None else int(most))

    def _object(self, schema: dict[str, Any], where: str) -> Node:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise _unrecognized(schema, where)
        return Members(
            tuple(
                (name, self._read(value, f"{where}/properties/{name}"), name in required)
                for name, value in properties.items()
            )
        )


def _link(pointer: Any, where: str) -> Link:
    if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
        raise SchemaError(f"JSON schema error at {where}: unsupported ref {pointer}")
    return Link(pointer)


def _resolved(schema: Any, pointer: str) -> Any:
    place = schema
    for part in pointer[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(place, dict) and key in place:
            place = place[key]
        elif isinstance(place, list) and key.isascii() and key.isdigit() and int(key) < len(place):
            place = place[int(key)]
        else:
            raise SchemaError(f"JSON schema error at #: cannot resolve $ref {pointer}, {key} not found")
    return place


def _values(values: Any, where: str) -> Values:
    if not isinstance(values, list) or not values:
        raise SchemaError(f"JSON schema error at {where}: enum must be a non-empty array")
    return Values(tuple(values))


def _scalar(schema: dict[str, Any], kind: str, where: str) -> Scalar:
    words = ("minLength", "maxLength") if kind == "string" else ("minimum", "maximum")
    return Scalar(kind, *_bounds(schema, *words, where))


def _bounds(schema: dict[str, Any], low: str, high: str, where: str) -> tuple[float | None, float | None]:
    least, most = schema.get(low), schema.get(high)
    for value in (least, most):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _unrecognized(schema, where)
    if least is not None and most is not None and least > most:
        raise SchemaError(f"JSON schema error at {where}: {low} {least} is above {high} {most}")
    return least, most


def _guessed(schema: dict[str, Any]) -> str | None:
    for kind in ("object", "array"):
        if _ALLOWED[kind] & schema.keys():
            return kind
    return None


def _unknown(schema: dict[str, Any], known: set[str]) -> set[str]:
    return schema.keys() - known - _IGNORED


def _unrecognized(schema: Any, where: str) -> SchemaError:
    return SchemaError(f"JSON schema error at {where}: unrecognized schema: {json.dumps(schema)[:400]}")


def _children(node: Node) -> Iterator[Node]:
    """Yield the nodes that every value of this node contains."""
    if isinstance(node, Items):
        yield from node.fixed
        if node.rest is not None and node.least > len(node.fixed):
            yield node.rest
    elif isinstance(node, Members):
        yield from (value for _, value, needed in node.members if needed)


def _least_depths(nodes: list[Node]) -> dict[Node, int]:
    depths = dict.fromkeys(nodes, ENDLESS)
    changed = True
    while changed:
        changed = False
        for node in nodes:
            depth = _least_depth(node, depths)
            if depth < depths[node]:
                depths[node], changed = depth, True
    return depths


def _least_depth(node: Node, depths: dict[Node, int]) -> int:
    if isinstance(node, Link):
        return ENDLESS if node.target is None else depths[node.target]
    if isinstance(node, AnyOf):
        return min(depths[option] for option in node.options)
    if isinstance(node, Values | Scalar):
        return 0
    return min(ENDLESS, 1 + max((depths[child] for child in _children(node)), default=0))


def _flatten(choice: AnyOf, node: Node, seen: set[Node]) -> None:
    if node in seen:
        return
    seen.add(node)
    if isinstance(node, Link) and node.target is not None:
        _flatten(choice, node.target, seen)
    elif isinstance(node, AnyOf):
        for option in node.options:
            _flatten(choice, option, seen)
    else:
        (choice.leaves if isinstance(node, Values | Scalar) else choice.branches).append(node)
