from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generator.catalogue import load_catalogue
from generator.language import Call, ExpressionError, Field, Node, Number, Text, parse, show
from generator.language.ast import MAX_DEPTH
from tests.reference.expressions import amount, any_tree, patient, typed_tree

CATALOGUE = load_catalogue()


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("close", "close"),
        ("close*-1", "multiply(close, -1)"),
        ("-close", "reverse(close)"),
        ("close<open", "close < open"),
        ("(close<open)==high", "(close < open) == high"),
        ("close < (open < high)", "close < (open < high)"),
        ("rank(close > 1)", "rank(close > 1)"),
        ("close&&!open||high", "or(and(close, not(open)), high)"),
        ("close>1?open:2.50", "if_else(close > 1, open, 2.5)"),
        ("close^.5", "power(close, 0.5)"),
        ("a=close;b=a/a;rank(b)", "rank(divide(close, close))"),
        ("ts_quantile(close,5,driver=gaussian)", "ts_quantile(close, 5, driver=gaussian)"),
        ("add(close,open,filter=true)", "add(close, open, filter=true)"),
        ("bucket(close,range=“0,1,0.1”)", 'bucket(close, range="0,1,0.1")'),
        ("close*1e-7", "multiply(close, 0.0000001)"),
        ("close*1e21", "multiply(close, 1000000000000000000000)"),
    ],
)
def test_printed_form(text: str, printed: str) -> None:
    assert show(parse(text, CATALOGUE)) == printed


def test_a_comparison_of_odd_form_is_printed_as_a_call() -> None:
    odd = Call("less", (Field("close"),), (("x", Number(1.0)),))
    assert show(Call("equal", (odd, Number(1.0)))) == "less(close, x=1) == 1"
    assert parse(show(odd), CATALOGUE) == odd


def test_an_odd_comparison_inside_a_proper_one_keeps_its_brackets() -> None:
    odd = Call("equal", (Field("close"),))
    tree = Call("equal", (Field("open"), Call("equal", (odd, Field("high")))))
    assert show(tree) == "open == (equal(close) == high)"
    assert parse(show(tree), CATALOGUE) == tree


@pytest.mark.parametrize("value", ["\"'“", "\n", "“ \" '"])
def test_text_that_cannot_be_quoted_is_refused(value: str) -> None:
    with pytest.raises(ExpressionError, match="quotes"):
        show(Text(value))


def test_trees_beyond_the_bounds_are_refused() -> None:
    tree: Node = Field("close")
    for _ in range(MAX_DEPTH * 100):
        tree = Call("rank", (tree,))
    with pytest.raises(ExpressionError, match="levels"):
        show(tree)


def test_shared_parts_do_not_multiply_the_work() -> None:
    tree: Node = Field("close")
    for _ in range(60):
        tree = Call("add", (tree, tree))
    with pytest.raises(ExpressionError, match="parts"):
        show(tree)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_back_to_the_last_bit(value: float) -> None:
    assert parse(show(Number(value)), CATALOGUE) == Number(value)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_every_tree_is_read_back(seed: int) -> None:
    tree = any_tree(Random(seed), CATALOGUE, 5)
    assert parse(show(tree), CATALOGUE) == tree


@pytest.mark.slow
@patient
def test_a_million_expressions_are_read_back() -> None:
    random = Random(1)
    for _ in range(amount(1000, 1_000_000)):
        make = any_tree if random.random() < 0.5 else typed_tree
        tree = make(random, CATALOGUE, random.choice((2, 3, 4, 6)))
        assert parse(show(tree), CATALOGUE) == tree
