import json
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generator.catalogue import load_catalogue
from generator.language import ExpressionError, canonical, check_alpha, decode, parse, show
from generator.language.nested_json import to_array
from tests.reference.expressions import amount, patient, typed_tree

CATALOGUE = load_catalogue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("close", "close"),
        (["rank", "close"], "rank(close)"),
        (["ts_mean", ["rank", "close"], 20], "ts_mean(rank(close), 20)"),
        (["add", "close", "open", "high"], "add(close, open, high)"),
        (["multiply", "close", -1], "multiply(close, -1)"),
        (["less", "close", "open"], "close < open"),
        (["hump", "close", 0.1], "hump(close, hump=0.1)"),
        (["hump", "close", {"hump": 0.1}], "hump(close, hump=0.1)"),
        (["ts_regression", "close", "open", 20, 0, 2], "ts_regression(close, open, 20, lag=0, rettype=2)"),
        (["ts_quantile", "close", 20, "cauchy"], "ts_quantile(close, 20, driver=cauchy)"),
        (["ts_decay_linear", "close", 20, True], "ts_decay_linear(close, 20, dense=true)"),
        (["add", "close", "open", {"filter": True}], "add(close, open, filter=true)"),
        (["group_rank", "close", ["bucket", "cap", "0,1,0.1"]],
         'group_rank(close, bucket(cap, range="0,1,0.1"))'),
        (["trade_when", ["greater", "close", "open"], "close", -1], "trade_when(close > open, close, -1)"),
        (5, "5"),
        (["rank", 1.5], "rank(1.5)"),
    ],
)  # fmt: skip
def test_nested_arrays_become_trees(value: Any, text: str) -> None:
    assert show(decode(value, CATALOGUE)) == text


def nested(depth: int) -> Any:
    value: Any = "close"
    for _ in range(depth):
        value = ["rank", value]
    return value


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (None, "is no expression", "operator"),
        (True, "is no expression", ""),
        ({}, "is no expression", ""),
        ([], "does not begin", ""),
        ([["rank", "close"]], "does not begin", ""),
        ([5, "close"], "does not begin", ""),
        (["rnk", "close"], "unknown operator 'rnk'", "did you mean rank"),
        (["rank", "clos"], "unknown field 'clos'", "did you mean close"),
        (["delay", "close", 5], "unknown operator 'delay'", "did you mean ts_delay?"),
        (["rank", "adv60"], "unknown field 'adv60'", "ts_mean(volume, 60)"),
        (["rank", "rank(close)"], "unknown field", ""),
        (["rank", None], "is no expression", ""),
        (["ts_mean", "close", ["add", 1, 2]], "must be a plain value", ""),
        (["ts_mean", "close", None], "must be a plain value", ""),
        (["ts_mean", "close", 5, 6], "at most 2 arguments, not 3", "signature"),
        (["ts_mean", "close", 5, {"k": 1}], "no argument named 'k'", "signature"),
        (["ts_mean", "close", float("inf")], "finite", ""),
        (["ts_mean", "close", 10**400], "finite", ""),
        (nested(65), "levels", ""),
        (["add", *["close"] * 5000], "parts", ""),
        ("x" * 10000, "unknown field", ""),
        ("", "unknown field", ""),
    ],
)
def test_refusals(value: Any, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        decode(value, CATALOGUE)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert len(str(caught.value)) < 400


def test_the_deepest_that_is_allowed() -> None:
    assert show(decode(nested(63), CATALOGUE)).startswith("rank(rank(")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["close", "sector", "rank", "ts_mean", "add", "bucket"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["d", "x", "k"]), inner, max_size=2),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(JSON)
def test_any_json_raises_nothing_else(value: Any) -> None:
    with suppress(ExpressionError):
        decode(value, CATALOGUE)


def test_any_call_like_json_raises_nothing_else() -> None:
    random = Random(1)
    leaves = [
        "close",
        "sector",
        "ticker",
        5,
        -1,
        0.5,
        None,
        True,
        "0,1,0.1",
        {},
        {"d": 5},
        10**400,
        "gaussian",
    ]

    def value(depth: int) -> Any:
        if depth == 0 or random.random() < 0.3:
            return random.choice(leaves)
        name = random.choice(list(CATALOGUE.operators))
        return [name, *(value(depth - 1) for _ in range(random.randrange(5)))]

    for _ in range(2000):
        made = value(3)
        before = repr(made)
        with suppress(ExpressionError):
            show(decode(made, CATALOGUE))
        assert repr(made) == before


@pytest.mark.parametrize(
    ("text", "array"),
    [
        ("close", "close"),
        ("ts_mean(rank(close), 20)", ["ts_mean", ["rank", "close"], 20]),
        ("close * 0.5", ["multiply", "close", 0.5]),
        ("0.5 * close", ["multiply", "close", 0.5]),
        ("1 - close", ["subtract", 1, "close"]),
        ("hump(close, hump=0.1)", ["hump", "close", 0.1]),
        ("ts_regression(close, open, 20, rettype=2)", ["ts_regression", "close", "open", 20, 0, 2]),
        ("ts_regression(close, open, 20, lag=1)", ["ts_regression", "close", "open", 20, 1, 0]),
        ("ts_decay_linear(close, 20, dense=true)", ["ts_decay_linear", "close", 20, True]),
        ("add(close, open, filter=true)", ["add", "close", "open", {"filter": True}]),
        ('group_rank(close, bucket(cap, range="0,1,0.1"))',
         ["group_rank", "close", ["bucket", "cap", "0,1,0.1"]]),
        ('group_rank(close, bucket(cap, buckets="2,5"))',
         ["group_rank", "close", ["bucket", "cap", {"buckets": "2,5"}]]),
    ],
)  # fmt: skip
def test_trees_become_nested_arrays(text: str, array: Any) -> None:
    assert to_array(canonical(parse(text, CATALOGUE), CATALOGUE), CATALOGUE) == array


@patient
@settings(max_examples=amount(200, 20_000), deadline=None)
@given(seed=st.integers(0, 2**31), depth=st.integers(1, 6))
def test_an_array_is_read_as_the_tree_that_it_was_made_of(seed: int, depth: int) -> None:
    tree = typed_tree(Random(seed), CATALOGUE, depth)
    with suppress(ExpressionError):
        check_alpha(tree, CATALOGUE)
        form = canonical(tree, CATALOGUE)
        back = decode(json.loads(json.dumps(to_array(form, CATALOGUE))), CATALOGUE)
        assert canonical(back, CATALOGUE) == form
