import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.runtime.errors import GeneratorError
from generator.catalogue import Catalogue, DataField, Kind, Offer, Operator, load_catalogue
from generator.language import (
    Call,
    Node,
    build_schema,
    canonical,
    check_alpha,
    decode,
    parse,
    show,
)
from generator.language.breed import nested
from generator.language.check import reads_data
from generator.language.nested_json import to_array
from generator.language.schema import accepts
from generator.llm.reply import decode_reply
from tests.reference.expressions import amount, instance, patient, typed_tree

CATALOGUE = load_catalogue()
HIGHER = load_catalogue(higher=True)
VECTORS = Catalogue(HIGHER.operators, {**HIGHER.fields, "news": DataField("news", Kind.VECTOR)})
KEYWORDS = {
    "$defs", "$ref", "anyOf", "const", "enum", "type", "properties", "required", "prefixItems", "items",
    "minItems", "maxItems",
}  # fmt: skip


def size(schema: dict[str, Any]) -> int:
    return len(json.dumps(schema, separators=(",", ":")))


def keywords(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {word for item in schema for word in keywords(item)}
    if not isinstance(schema, dict):
        return set()
    named = [schema.get("$defs", {}), schema.get("properties", {})]
    inner = {word for group in named for item in group.values() for word in keywords(item)}
    rest = [value for key, value in schema.items() if key not in ("$defs", "properties", "enum", "const")]
    return set(schema) | inner | {word for value in rest for word in keywords(value)}


def operators_in(tree: Node) -> set[str]:
    if not isinstance(tree, Call):
        return set()
    return {tree.name} | {name for arg in tree.args for name in operators_in(arg)}


def depth_of(tree: Node) -> int:
    return 1 + max((depth_of(arg) for arg in tree.args), default=0) if isinstance(tree, Call) else 0


def draw(schema: dict[str, Any], catalogue: Catalogue, random: Random) -> list[Node]:
    """Check that an instance, decoded in both ways, contains alphas."""
    value = json.loads(json.dumps(instance(schema, random)))
    trees = [decode(item, catalogue) for item in value["expressions"]]
    for tree in trees:
        check_alpha(tree, catalogue)
    assert decode_reply(json.dumps(value), catalogue) == trees
    return trees


@patient
@pytest.mark.parametrize("catalogue", [CATALOGUE, HIGHER, VECTORS], ids=["base", "higher", "vectors"])
@pytest.mark.parametrize("all_operators", [False, True])
def test_every_instance_is_a_batch_of_alphas(catalogue: Catalogue, *, all_operators: bool) -> None:
    random = Random(1)
    schema = build_schema(catalogue, count=2, depth=4, all_operators=all_operators)
    for _ in range(amount(400, 100_000)):
        trees = draw(schema, catalogue, random)
        assert len(trees) == 2
        assert all(1 <= depth_of(tree) <= 4 for tree in trees)
        assert [parse(show(tree), catalogue) for tree in trees] == trees


@settings(deadline=None)
@given(
    st.sets(st.sampled_from(sorted(VECTORS.operators))),
    st.sets(st.sampled_from(sorted(VECTORS.fields))),
    st.integers(1, 5),
    st.integers(0, 1000),
)
def test_every_subset_gives_alphas_or_says_that_none_can_be_made(
    operators: set[str], fields: set[str], depth: int, seed: int
) -> None:
    small = VECTORS.restricted_to(fields=fields, operators=operators)
    try:
        schema = build_schema(small, count=1, depth=depth, all_operators=True)
    except GeneratorError:
        assert not any(_can_be_fed(operator, small) for operator in small.operators.values())
        return
    for tree in draw(schema, small, Random(seed)):
        assert operators_in(tree) <= operators


def _can_be_fed(operator: Operator, catalogue: Catalogue) -> bool:
    """Return True if fields alone suffice for an alpha with this operator."""
    kinds = {field.kind for field in catalogue.fields.values()}
    data = {p.kind for p in operator.required} & {Kind.MATRIX, Kind.VECTOR, Kind.GROUP}
    conditions = {p.offer for p in operator.required} & {Offer.CONDITION, Offer.EXIT}
    is_series = operator.result is Kind.MATRIX and not operator.truth and operator.name != "ts_step"
    return is_series and data <= kinds and not conditions


@pytest.mark.parametrize("depth", [3, 4])
def test_every_operator_that_is_offered_can_come_up(depth: int) -> None:
    text = json.dumps(build_schema(VECTORS, count=1, depth=depth))
    offered = {name for name, operator in VECTORS.operators.items() if operator.search}
    assert {name for name in offered if f'"{name}"' not in text} == set()


def test_operators_not_worth_searching_come_only_when_asked_for() -> None:
    assert '"ts_step"' not in json.dumps(build_schema(CATALOGUE, count=1))
    assert '"densify"' in json.dumps(build_schema(CATALOGUE, count=1, all_operators=True))


def test_vector_operators_need_a_vector_field() -> None:
    assert '"vec_avg"' not in json.dumps(build_schema(CATALOGUE, count=1))
    assert '"vec_avg"' in json.dumps(build_schema(VECTORS, count=1))


def test_identifiers_are_never_offered() -> None:
    assert '"ticker"' not in json.dumps(build_schema(CATALOGUE, count=1))


@pytest.mark.parametrize(("depth", "most"), [(2, 8_000), (4, 16_000), (8, 32_000)])
def test_the_schema_stays_small_and_uses_only_permitted_keywords(depth: int, most: int) -> None:
    schema = build_schema(CATALOGUE, count=10, depth=depth)
    assert size(schema) <= most
    assert keywords(schema) <= KEYWORDS


def test_look_backs_and_constants_are_the_callers_within_the_operators_bounds() -> None:
    schema = build_schema(CATALOGUE, count=1, depth=3, look_backs=(1, 7, 21, 5000), constants=(4,))
    random = Random(2)
    numbers: set[float] = set()
    for _ in range(300):
        numbers |= _numbers(instance(schema, random))
    assert {1, 7, 21, 4} <= numbers
    assert not numbers & {5000, 10, 20, 60}


def _numbers(value: Any) -> set[float]:
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return {number for item in items for number in _numbers(item)}
    return {value} if isinstance(value, int | float) else set()


def test_without_look_backs_that_fit_no_operator_with_days_is_offered() -> None:
    assert '"ts_mean"' not in json.dumps(build_schema(CATALOGUE, count=1, look_backs=(5000,)))


@pytest.mark.parametrize(("count", "depth"), [(0, 3), (1, 0), (-1, 1), (1, 65)])
def test_bounds_are_refused(count: int, depth: int) -> None:
    with pytest.raises(GeneratorError, match="no schema"):
        build_schema(CATALOGUE, count=count, depth=depth)


def test_the_count_is_exact() -> None:
    schema = build_schema(CATALOGUE, count=7)
    expressions = schema["properties"]["expressions"]
    assert (expressions["minItems"], expressions["maxItems"]) == (7, 7)


def test_the_same_catalogue_gives_the_same_schema() -> None:
    assert json.dumps(build_schema(CATALOGUE, count=2)) == json.dumps(build_schema(CATALOGUE, count=2))


def calls_in(node: Node) -> list[Call]:
    if not isinstance(node, Call):
        return []
    parts = (*node.args, *(value for _, value in node.named))
    return [node, *(call for part in parts for call in calls_in(part))]


def alpha_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema["properties"]["expressions"]["items"], "$defs": schema["$defs"]}


@patient
@settings(max_examples=amount(40, 3000), deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_grammar_made_for_parents_contains_them(seed: int) -> None:
    random = Random(seed)
    parents = []
    for _ in range(3):
        tree = typed_tree(random, HIGHER, random.randint(1, 6))
        if isinstance(tree, Call) and all(map(reads_data, calls_in(tree))):
            parents.append(canonical(tree, HIGHER))
    depth = max([4, *map(nested, parents)])
    schema = build_schema(HIGHER, count=2, depth=depth, parents=parents)
    for parent in parents:
        assert accepts(alpha_schema(schema), json.loads(json.dumps(to_array(parent, HIGHER))))
    assert keywords(schema) <= KEYWORDS
    draw(schema, HIGHER, random)


@pytest.mark.parametrize(
    "text",
    [
        "ts_mean(close, 7)",  # a look-back that is not usual
        "close * 0.3",  # a constant
        "subtract(1, rank(close))",  # a constant in a series' place
        "rank(close, rate=0)",  # an option without choices
        "add(close, open, high)",  # a repeated argument
        "power(close, volume)",  # a series in a constant's place
        "if_else(sign(returns), close, open)",  # a series in a condition's place
        "kth_element(close, 5, 1)",  # an operator that is not searched
        "close > open",  # a condition as an alpha
        'group_rank(close, bucket(cap, buckets="2,5"))',
    ],
)
def test_parents_beyond_the_usual_offer_are_instances_of_their_own_grammar_alone(text: str) -> None:
    parent = canonical(parse(text, CATALOGUE), CATALOGUE)
    array = to_array(parent, CATALOGUE)
    assert not accepts(alpha_schema(build_schema(CATALOGUE, count=1)), array)
    own = alpha_schema(build_schema(CATALOGUE, count=1, parents=[parent]))
    assert accepts(own, array)
    assert not accepts(own, ["rank", "nonsense"])
    assert not accepts(own, [*array, 1] if isinstance(array, list) else 1)


def test_usual_parents_change_nothing() -> None:
    parent = canonical(
        parse("ts_regression(rank(close), volume, 20, lag=1, rettype=2)", CATALOGUE), CATALOGUE
    )
    assert build_schema(CATALOGUE, count=2, parents=[parent]) == build_schema(CATALOGUE, count=2)


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"enum": [1]}, 1, True),
        ({"enum": [1]}, 1.0, True),
        ({"enum": [1]}, True, False),
        ({"enum": [True]}, 1, False),
        ({"const": -1}, -1, True),
        ({"anyOf": [{"enum": ["a"]}, {"const": 2}]}, 2, True),
        ({"type": "array", "items": {"const": 1}, "minItems": 1, "maxItems": 2}, [1, 1], True),
        ({"type": "array", "items": {"const": 1}, "minItems": 1, "maxItems": 2}, [], False),
        ({"type": "array", "items": {"const": 1}, "minItems": 1, "maxItems": 2}, [1, 2], False),
        ({"type": "object", "properties": {"k": {"const": 1}}, "required": ["k"]}, {"k": 1}, True),
        ({"type": "object", "properties": {"k": {"const": 1}}, "required": ["k"]}, {}, False),
        ({"type": "object", "properties": {"k": {"const": 1}}, "required": []}, {"j": 1}, False),
        ({"type": "object", "properties": {}, "required": []}, [], False),
    ],
)
def test_accepts_only_instances(schema: dict[str, Any], value: Any, fits: bool) -> None:
    assert accepts(schema, value) == fits
