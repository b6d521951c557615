from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generator.catalogue import Catalogue, DataField, Kind, load_catalogue
from generator.language import (
    BRAIN_OPERATORS,
    Call,
    ExpressionError,
    Field,
    Node,
    Number,
    canonical,
    check_alpha,
    operator_count,
    parse,
    show,
)
from generator.language.ast import MAX_DEPTH
from generator.language.breed import MOST_NESTED, MOST_OPERATORS, breed, nested
from generator.language.check import brain_refusals
from generator.language.grow import Grower
from generator.language.schema import LOOK_BACKS
from tests.reference.expressions import amount, patient, typed_tree

CATALOGUE = load_catalogue()
HIGHER = load_catalogue(higher=True)
VECTORS = Catalogue(HIGHER.operators, {**HIGHER.fields, "news": DataField("news", Kind.VECTOR)})
CATALOGUES = {"base": CATALOGUE, "higher": HIGHER, "vectors": VECTORS}
PARENT = parse("multiply(reverse(ts_delta(close, 5)), group_rank(volume, sector))", CATALOGUE)


def variants(tree: Node, catalogue: Catalogue = CATALOGUE, count: int = 400, **given: Node) -> set[str]:
    rng = Random(7)
    found = (breed(tree, catalogue, rng, **given) for _ in range(count))
    return {show(one) for one in found if one is not None}


def fields(node: Node) -> set[str]:
    if isinstance(node, Field):
        return {node.name}
    if not isinstance(node, Call):
        return set()
    return {name for part in (*node.args, *(v for _, v in node.named)) for name in fields(part)}


@patient
@pytest.mark.parametrize("name", CATALOGUES)
@settings(max_examples=amount(60, 3000), deadline=None)
@given(seed=st.integers(0, 2**31), depth=st.integers(1, 5))
def test_a_variant_is_another_alpha_within_the_bounds(name: str, seed: int, depth: int) -> None:
    catalogue = CATALOGUES[name]  # by name: hypothesis prints the arguments of a failure
    random = Random(seed)
    tree, partner = (typed_tree(random, catalogue, depth) for _ in range(2))
    try:
        check_alpha(tree, catalogue)
        check_alpha(partner, catalogue)
    except ExpressionError:  # a tree of constants alone
        return
    for mate in (None, partner):
        child = breed(tree, catalogue, random, mate)
        assert child is not None
        check_alpha(child, catalogue)
        assert child != canonical(tree, catalogue)
        assert child == canonical(child, catalogue)
        assert parse(show(child), catalogue) == child
        own = canonical(tree, catalogue)
        assert operator_count(child) <= max(MOST_OPERATORS, operator_count(own))
        assert nested(child) <= max(MOST_NESTED, nested(own))


def test_a_large_alpha_stays_within_brains_bounds() -> None:
    tree: Node = Field("close")
    for _ in range(BRAIN_OPERATORS):
        tree = Call("rank", (tree,))
    rng = Random(3)
    for _ in range(100):
        child = breed(tree, CATALOGUE, rng)
        assert child is not None
        assert not brain_refusals(child, CATALOGUE)
        assert nested(child) < MAX_DEPTH


def test_equal_seeds_give_equal_variants() -> None:
    one, two = ([breed(PARENT, CATALOGUE, rng) for _ in range(50)] for rng in (Random(1), Random(1)))
    assert one == two
    assert one != [breed(PARENT, CATALOGUE, Random(2)) for _ in range(50)]


@pytest.mark.parametrize(
    "wanted",
    [
        "multiply(group_rank(volume, sector), reverse(ts_delta(close, 4)))",  # a look-back by a factor
        "multiply(group_rank(volume, sector), reverse(ts_delta(close, 20)))",  # a usual look-back
        "multiply(group_rank(volume, industry), reverse(ts_delta(close, 5)))",  # a grouping
        "multiply(group_rank(volume, sector), reverse(ts_mean(close, 5)))",  # an operator
        "multiply(group_rank(volume, sector), ts_delta(close, 5))",  # an operator removed
        "multiply(group_rank(volume, sector), reverse(ts_delta(rank(close), 5)))",  # one added
    ],
)
def test_variants_differ_by_one_step(wanted: str) -> None:
    small = CATALOGUE.restricted_to(
        operators=["multiply", "reverse", "rank", "ts_delta", "ts_mean", "group_rank"],
        fields=["close", "volume", "sector", "industry"],
    )
    assert wanted in variants(PARENT, small, 3000)


def test_parts_of_the_partner_are_taken_over() -> None:
    partner = parse("rank(cap)", CATALOGUE)
    small = CATALOGUE.restricted_to(
        operators=["multiply", "reverse", "rank", "ts_delta", "group_rank"],
        fields=["close", "volume", "sector", "cap"],
    )
    found = variants(PARENT, small, partner=partner)
    assert "multiply(group_rank(volume, sector), rank(cap))" in found
    assert any(one.startswith("multiply(rank(multiply(") for one in found)


def test_variants_use_the_catalogues_fields_alone() -> None:
    small = CATALOGUE.restricted_to(fields=["close", "volume", "sector"])
    for text in variants(PARENT, small):
        assert fields(parse(text, small)) <= {"close", "volume", "sector"}


def test_optional_arguments_are_varied_and_stay_named() -> None:
    found = variants(parse("ts_regression(close, volume, 20, lag=1, rettype=2)", CATALOGUE))
    assert "ts_regression(close, volume, 20, lag=5, rettype=2)" in found
    assert "ts_regression(close, volume, 20, lag=1, rettype=3)" in found


def test_a_condition_is_replaced_by_a_condition() -> None:
    tree = parse("trade_when(volume > adv20, reverse(returns), -1)", CATALOGUE)
    for text in variants(tree):
        child = parse(text, CATALOGUE)
        if isinstance(child, Call) and child.name == "trade_when":
            condition = child.args[0]
            assert isinstance(condition, Call)
            assert CATALOGUE.operators[condition.name].truth, text


@pytest.mark.parametrize(
    ("text", "operators", "names"),
    [("close", [], ["close"]), ("close", ["vec_avg"], ["close", "sector"])],
)
def test_a_catalogue_that_allows_no_other_alpha_gives_none(
    text: str, operators: list[str], names: list[str]
) -> None:
    small = CATALOGUE.restricted_to(operators=operators, fields=names)
    assert breed(parse(text, small), small, Random(1)) is None


def test_a_parent_that_is_no_alpha_is_refused() -> None:
    for wrong in (Field("nonsense"), Number(1.0), Call("rank", (Field("sector"),))):
        with pytest.raises(ExpressionError):
            breed(wrong, CATALOGUE, Random(1))
    with pytest.raises(ExpressionError):
        breed(PARENT, CATALOGUE, Random(1), Field("nonsense"))


@settings(max_examples=amount(100, 3000), deadline=None)
@given(seed=st.integers(0, 2**31), depth=st.integers(0, 4))
def test_what_grows_is_a_series_of_the_depth(seed: int, depth: int) -> None:
    for catalogue in (CATALOGUE, VECTORS):
        tree = Grower(catalogue, Random(seed)).series(depth)
        assert tree is not None
        check_alpha(tree, catalogue)
        # A condition is a comparison even where a series would be a field.
        assert nested(tree) <= depth + 1


def test_look_backs_that_grow_are_usual_ones() -> None:
    grower = Grower(CATALOGUE, Random(1))
    for operator in CATALOGUE.operators.values():
        for parameter in operator.required:
            if parameter.lookback:
                value = grower.setting(parameter)
                assert isinstance(value, Number)
                assert value.value in LOOK_BACKS
                assert value.value >= parameter.least
