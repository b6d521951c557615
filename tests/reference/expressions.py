"""Random expressions for tests: of any shape, and as instances of a schema of the typed grammar."""

import math
import os
from random import Random
from typing import Any

import pytest

from generator.catalogue import Catalogue, Kind, Operator, Parameter
from generator.language import Call, Field, Node, Number, Text

FUZZ = int(os.environ.get("FLEET_FUZZ", "0") or 0)

patient = pytest.mark.timeout(4 * 3600 if FUZZ else 120)
"""For tests whose length FLEET_FUZZ sets."""

WORDS = ("true", "false", "gaussian", "0,1,0.1", "NAN 0", "it's", 'say "so"', "", " ", "“curly”")


def amount(small: int, large: int) -> int:
    """How many cases to try: FLEET_FUZZ if it is set (1 means the large number), else the small one."""
    return large if FUZZ == 1 else FUZZ or small


def any_tree(random: Random, catalogue: Catalogue, depth: int) -> Node:
    """A tree of the language's form and of no sense: wrong kinds, odd counts, names that do not fit."""
    if depth <= 1 or random.random() < 0.25:
        return _any_leaf(random, catalogue)
    operator = random.choice(list(catalogue.operators.values()))
    args = tuple(
        any_tree(random, catalogue, depth - 1) for _ in range(random.choice((0, 1, 1, 2, 2, 2, 3, 4)))
    )
    names = random.sample(
        ["x", "d", "filter", "rettype", "lookback", "k", "std"], random.choice((0, 0, 0, 1, 2))
    )
    named = tuple((name, any_tree(random, catalogue, depth - 1)) for name in names)
    return Call(operator.name, args, named)


def _any_leaf(random: Random, catalogue: Catalogue) -> Node:
    pick = random.randrange(4)
    if pick == 0:
        return Number(_any_number(random))
    if pick == 1:
        return Text(random.choice(WORDS))
    return Field(random.choice(list(catalogue.fields)))


def _any_number(random: Random) -> float:
    pick = random.randrange(4)
    if pick == 0:
        return float(random.randint(-300, 300))
    if pick == 1:
        return random.uniform(-1, 1)
    if pick == 2:
        return math.ldexp(random.uniform(-1, 1), random.randint(-1000, 1000))
    return random.choice((0.0, 0.5, -1.0, 1e15, 1e16, 123456789012345680.0, 5e-324, 1e-7, 1e22, 1e308))


def typed_tree(random: Random, catalogue: Catalogue, depth: int, kind: Kind = Kind.MATRIX) -> Node:
    """A well typed tree, with optional arguments by place or by name, constants and redundant forms."""
    makers = [o for o in catalogue.operators.values() if o.result is kind and "v" not in o.name[:1]]
    if depth <= 1 or not makers or random.random() < 0.2:
        return Field(random.choice(catalogue.fields_of(kind)))
    return typed_call(random, catalogue, random.choice(makers), depth)


def typed_call(random: Random, catalogue: Catalogue, operator: Operator, depth: int) -> Call:
    args = [_argument(random, catalogue, p, depth) for p in operator.required]
    if operator.variadic:
        args += [
            _argument(random, catalogue, operator.required[-1], depth) for _ in range(random.randrange(3))
        ]
    chosen = [p for p in operator.optional if random.random() < 0.3 and p.name not in operator.one_of]
    if operator.one_of:
        chosen.append(operator.by_name[random.choice(operator.one_of)])
    random.shuffle(chosen)
    named = tuple((p.name, _argument(random, catalogue, p, depth)) for p in chosen)
    return Call(operator.name, tuple(args), named)


def _argument(random: Random, catalogue: Catalogue, parameter: Parameter, depth: int) -> Node:
    if parameter.kind in (Kind.MATRIX, Kind.GROUP):
        if parameter.kind is Kind.MATRIX and random.random() < 0.2:
            return Number(random.choice((-1.0, 0.0, 1.0, 2.0, 0.5, -0.0, math.nan)))
        return typed_tree(random, catalogue, depth - 1, parameter.kind)
    if parameter.kind is Kind.BOOLEAN:
        return random.choice((Text("true"), Text("false"), Number(0.0), Number(1.0)))
    if parameter.kind is Kind.ENUM:
        return Text(random.choice(parameter.values))
    if parameter.kind is Kind.STRING:
        return Text({"range": "0, 1, 0.10", "edges": "2,5, 7", "ignore": "nan 0"}[parameter.form])
    return _number_argument(random, parameter)


def _number_argument(random: Random, parameter: Parameter) -> Node:
    if parameter.default is not None and random.random() < 0.4:
        return Number(float(parameter.default))
    low = int(parameter.minimum if parameter.minimum is not None else -2)
    high = int(parameter.maximum if parameter.maximum is not None else low + 30)
    value = random.randint(low, min(high, low + 60))
    if value > low + 1 and random.random() < 0.1:
        return Call("add", (Number(float(value - 1)), Number(1.0)))
    return Text(str(value)) if random.random() < 0.05 else Number(float(value))


def respelt(node: Node, catalogue: Catalogue, random: Random) -> Node:
    """The same expression in other words: arguments by name, in the other order, settings in another form."""
    if not isinstance(node, Call):
        return node
    operator = catalogue.operators[node.name]
    args = [respelt(arg, catalogue, random) for arg in node.args]
    for place, parameter in enumerate(operator.required):
        if parameter.kind in (Kind.INTEGER, Kind.NUMBER):
            args[place] = node.args[place]
    named = list(node.named)
    if operator.commutative and random.random() < 0.5:
        args[:2] = args[1::-1]
    if not operator.variadic and random.random() < 0.5:
        named += [(p.name, arg) for p, arg in zip(operator.required, args, strict=True)]
        args = []
    for parameter in operator.optional:
        given = any(name == parameter.name for name, _ in named)
        if parameter.default is not None and not given and random.random() < 0.5:
            named.append((parameter.name, _literal(parameter.default)))
    random.shuffle(named)
    return Call(node.name, tuple(args), tuple(named))


def _literal(value: float | str) -> Node:
    if isinstance(value, bool):
        return Text("true" if value else "false")
    return Text(value) if isinstance(value, str) else Number(float(value))


def instance(schema: dict[str, Any], random: Random) -> Any:
    """A random instance of a schema of the typed grammar; any keyword that it does not use is a KeyError."""
    return _instance(schema, schema.get("$defs", {}), random)


def _instance(schema: dict[str, Any], definitions: dict[str, Any], random: Random) -> Any:
    if "$ref" in schema:
        return _instance(definitions[schema["$ref"].rpartition("/")[2]], definitions, random)
    if "anyOf" in schema:
        return _instance(random.choice(schema["anyOf"]), definitions, random)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return random.choice(schema["enum"])
    if schema["type"] == "object":
        return {
            name: _instance(schema["properties"][name], definitions, random) for name in schema["required"]
        }
    if "prefixItems" in schema:
        return [_instance(item, definitions, random) for item in schema["prefixItems"]]
    count = random.randint(schema["minItems"], schema["maxItems"])
    return [_instance(schema["items"], definitions, random) for _ in range(count)]
