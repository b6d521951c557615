import pytest

from generator.catalogue import load_catalogue
from generator.language import BRAIN_OPERATORS, Call, ExpressionError, Field, Node, operator_count, parse
from generator.language.ast import MAX_DEPTH, MAX_NODES, bounded

CATALOGUE = load_catalogue()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("close", 0),
        ("5", 0),
        ("rank(close)", 1),
        ("close + open * 2", 2),
        ("-rank(ts_mean(close, 5))", 3),
        ("a = rank(close); a * a", 3),
        ("hump(rank(close), hump=0.1)", 2),
        ("group_rank(close, bucket(rank(cap), range='0,1,0.1'))", 3),
    ],
)
def test_operators_are_counted_where_they_stand(text: str, count: int) -> None:
    assert operator_count(parse(text, CATALOGUE)) == count


def test_a_chain_of_as_many_operators_as_brain_takes_is_read() -> None:
    assert operator_count(parse("+".join(["close"] * (BRAIN_OPERATORS + 1)), CATALOGUE)) == BRAIN_OPERATORS


def _nested(depth: int) -> Node:
    tree: Node = Field("close")
    for _ in range(depth - 1):
        tree = Call("rank", (tree,))
    return tree


def test_depth_counts_levels() -> None:
    assert bounded(_nested(MAX_DEPTH)) == _nested(MAX_DEPTH)
    with pytest.raises(ExpressionError, match=f"{MAX_DEPTH} levels"):
        bounded(_nested(MAX_DEPTH + 1))


def test_named_arguments_count_as_well() -> None:
    with pytest.raises(ExpressionError, match="levels"):
        bounded(Call("hump", (Field("close"),), (("hump", _nested(MAX_DEPTH)),)))


def test_size_counts_every_part() -> None:
    largest = Call("add", (Field("close"),) * (MAX_NODES - 1))
    assert bounded(largest) is largest
    with pytest.raises(ExpressionError, match="4096 parts"):
        bounded(Call("add", (Field("close"),) * MAX_NODES))
