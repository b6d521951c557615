"""Samples are checked against their schema by a validator of the test's own."""

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standin.sampling.grammar import SchemaError, grammar_of
from standin.sampling.sampler import sample


def accepts(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    if "$ref" in schema:
        return accepts(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root)
    if "const" in schema:
        return bool(schema["const"] == value)
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(accepts(option, value, root) for option in schema["anyOf"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return any(is_a(kind, schema, value, root) for kind in kinds)


def is_a(kind: str, schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    if kind == "object":
        known = schema.get("properties", {})
        return (
            isinstance(value, dict)
            and set(schema.get("required", [])) <= set(value) <= set(known)
            and all(accepts(known[name], each, root) for name, each in value.items())
        )
    if kind == "array":
        return isinstance(value, list) and is_array(schema, value, root)
    if kind == "string":
        return isinstance(value, str) and within(len(value), schema.get("minLength"), schema.get("maxLength"))
    if kind in {"integer", "number"}:
        types = int if kind == "integer" else int | float
        fits = isinstance(value, types) and not isinstance(value, bool)
        return fits and within(value, schema.get("minimum"), schema.get("maximum"))
    return isinstance(value, bool) if kind == "boolean" else value is None


def is_array(schema: dict[str, Any], value: list[Any], root: dict[str, Any]) -> bool:
    fixed = schema.get("prefixItems", [])
    if not within(len(value), max(len(fixed), schema.get("minItems", 0)), schema.get("maxItems")):
        return False
    rest = value[len(fixed) :]
    if rest and "items" not in schema:
        return False
    return all(accepts(item, each, root) for item, each in zip(fixed, value, strict=False)) and all(
        accepts(schema["items"], each, root) for each in rest
    )


def within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def drawn(schema: dict[str, Any], seed: int) -> Any:
    return sample(grammar_of(json.dumps(schema)), random.Random(seed))


def bounded(
    kind: str, low: str, high: str, values: st.SearchStrategy[int]
) -> st.SearchStrategy[dict[str, Any]]:
    pairs = st.tuples(values, values).map(sorted)
    return st.one_of(
        st.just({"type": kind}),
        values.map(lambda least: {"type": kind, low: least}),
        pairs.map(lambda pair: {"type": kind, low: pair[0], high: pair[1]}),
    )


scalars = st.one_of(
    bounded("integer", "minimum", "maximum", st.integers(-300, 300)),
    bounded("number", "minimum", "maximum", st.integers(-300, 300)),
    bounded("string", "minLength", "maxLength", st.integers(0, 40)),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["null", "integer"]}]),
    st.lists(st.one_of(st.integers(), st.text(), st.none()), min_size=1).map(lambda each: {"enum": each}),
    st.text().map(lambda each: {"const": each}),
)


def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.text("abc", min_size=1, max_size=3)
    counts = st.tuples(st.integers(0, 4), st.integers(0, 3)).map(lambda pair: (pair[0], pair[0] + pair[1]))
    return st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda options: {"anyOf": options}),
        st.lists(inner, min_size=1, max_size=4).map(lambda items: {"type": "array", "prefixItems": items}),
        st.tuples(inner, counts).map(
            lambda pair: {
                "type": "array",
                "items": pair[0],
                "minItems": pair[1][0],
                "maxItems": pair[1][1],
            }
        ),
        st.dictionaries(names, inner, max_size=3).flatmap(
            lambda members: st.sets(st.sampled_from(sorted(members) or [""])).map(
                lambda needed: {
                    "type": "object",
                    "properties": members,
                    "required": sorted(needed & set(members)),
                }
            )
        ),
    )


@settings(max_examples=150, deadline=None)
@given(st.recursive(scalars, nested, max_leaves=12), st.integers(0, 2**32))
def test_samples_fit_their_schema(schema: dict[str, Any], seed: int) -> None:
    assert accepts(schema, drawn(schema, seed), schema)


def grammar(operators: int, depth: int) -> dict[str, Any]:
    """Return a schema of nested expressions as the generator sends it: unrolled to a depth."""
    defs: dict[str, Any] = {
        "field": {"enum": [f"f{number}" for number in range(40)]},
        "days": {"enum": [5, 20]},
    }
    for level in range(depth, 0, -1):
        inner = {"$ref": f"#/$defs/matrix{level + 1}"}
        shapes = [[inner], [inner, {"$ref": "#/$defs/days"}], [inner, inner]]
        calls = [
            {"type": "array", "prefixItems": [{"const": f"op{number}"}, *shapes[number % 3]]}
            for number in range(operators)
        ]
        defs[f"matrix{level}"] = {"anyOf": [{"$ref": "#/$defs/field"}, *(calls if level < depth else [])]}
    items = {"type": "array", "items": {"$ref": "#/$defs/matrix1"}, "minItems": 2, "maxItems": 2}
    return {
        "type": "object",
        "properties": {"expressions": items},
        "required": ["expressions"],
        "$defs": defs,
    }


def operators_in(expression: Any) -> int:
    return 1 + sum(map(operators_in, expression[1:])) if isinstance(expression, list) else 0


def test_expressions_have_a_few_operators_and_vary() -> None:
    schema = grammar(operators=30, depth=7)
    found = [drawn(schema, seed)["expressions"] for seed in range(300)]
    assert all(accepts(schema, {"expressions": pair}, schema) for pair in found)
    counts = Counter(operators_in(each) for pair in found for each in pair)
    total = sum(counts.values())
    assert sum(counts[number] for number in (2, 3, 4)) > 0.5 * total
    assert counts[0] < 0.1 * total
    assert len({json.dumps(each) for pair in found for each in pair}) > 0.9 * total


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {
        "$defs": {
            "tree": {
                "anyOf": [
                    {"type": "array", "items": {"$ref": "#/$defs/tree"}, "minItems": 2, "maxItems": 4},
                    {"enum": ["leaf"]},
                ]
            }
        },
        "$ref": "#/$defs/tree",
    }
    for seed in range(200):
        assert len(json.dumps(drawn(schema, seed))) < 50_000


def test_members_that_never_end_are_left_out() -> None:
    endless = {"type": "array", "items": {"$ref": "#/$defs/endless"}, "minItems": 1}
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/endless"}, "b": {"anyOf": [endless, {"const": 1}]}},
        "required": ["b"],
        "$defs": {"endless": endless},
    }
    assert {json.dumps(drawn(schema, seed)) for seed in range(20)} == {'{"b": 1}'}


def test_the_same_seed_gives_the_same_answer() -> None:
    schema = grammar(operators=10, depth=5)
    assert drawn(schema, 5) == drawn(schema, 5)
    assert drawn(schema, 5) != drawn(schema, 6)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "nosuch"}, "JSON schema error at #: unrecognized type nosuch"),
        (
            {"$ref": "#/$defs/none"},
            "JSON schema error at #: cannot resolve $ref #/$defs/none, $defs not found",
        ),
        (
            {"$ref": "#/$defs/none", "$defs": {}},
            "JSON schema error at #: cannot resolve $ref #/$defs/none, none not found",
        ),
        ({"$ref": "http://example.com/x"}, "unsupported ref"),
        ({"not": {"type": "null"}}, "unrecognized schema"),
        ({"type": "string", "pattern": "a+"}, "unrecognized schema"),
        ({"type": "array", "items": {"type": "odd"}}, "at #/items: unrecognized type odd"),
        ({"enum": []}, "enum must be a non-empty array"),
        ({"anyOf": []}, "unrecognized schema"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "minimum 5 is above maximum 4"),
        ({"type": "array", "minItems": "2"}, "unrecognized schema"),
        ({"$ref": "#"}, "never ends"),
        ([], "must be an object"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(schema: Any, words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        grammar_of(json.dumps(schema))
    assert words in str(caught.value)
