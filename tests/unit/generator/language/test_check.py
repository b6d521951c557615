from contextlib import suppress
from random import Random

import pytest

from generator.catalogue import Catalogue, DataField, Kind, load_catalogue
from generator.language import Call, ExpressionError, Field, Node, Number, Text, check, check_alpha, parse
from generator.language.errors import suggestion
from tests.reference.expressions import amount, any_tree, patient, typed_tree

BUNDLED = load_catalogue()
CATALOGUE = Catalogue(BUNDLED.operators, {**BUNDLED.fields, "news": DataField("news", Kind.VECTOR)})
HIGHER = load_catalogue(higher=True)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("close", Kind.MATRIX),
        ("sector", Kind.GROUP),
        ("ticker", Kind.SYMBOL),
        ("news", Kind.VECTOR),
        ("5", Kind.NUMBER),
        ("true", Kind.STRING),
        ("rank(close)", Kind.MATRIX),
        ("vec_avg(news)", Kind.MATRIX),
        ("close + 1", Kind.MATRIX),
        ("1 + 1", Kind.MATRIX),
        ("bucket(rank(cap), range='0,1,0.1')", Kind.GROUP),
        ("bucket(rank(cap), buckets='2,5,6', skipBoth=true)", Kind.GROUP),
        ("densify(sector)", Kind.GROUP),
        ("group_rank(close, densify(bucket(cap, range='0,10,1')))", Kind.MATRIX),
        ("add(close, open, high, low, 1)", Kind.MATRIX),
        ("add(close, open, filter=true)", Kind.MATRIX),
        ("add(close, open, filter=1)", Kind.MATRIX),
        ("hump(close, hump=0.1)", Kind.MATRIX),
        ("hump(close, 0.1)", Kind.MATRIX),
        ("ts_mean(close, 5 * 4)", Kind.MATRIX),
        ("ts_mean(d=20, x=close)", Kind.MATRIX),
        ("ts_backfill(close, lookback=60)", Kind.MATRIX),
        ("ts_regression(close, open, 20, lag=1, rettype=2)", Kind.MATRIX),
        ("ts_quantile(close, 20, driver=cauchy)", Kind.MATRIX),
        ("ts_quantile(close, 20, driver='cauchy')", Kind.MATRIX),
        ("kth_element(close, 20, k='1', ignore='NaN 0')", Kind.MATRIX),
        ("kth_element(close, 20, 1, ignore=NAN)", Kind.MATRIX),
        ("trade_when(close > open, close, -1)", Kind.MATRIX),
        ("ts_mean(close, 2520)", Kind.MATRIX),
        ("ts_mean(close, 1)", Kind.MATRIX),
        ("ts_step(1)", Kind.MATRIX),
        ('ts_backfill(close, lookback=5, k=1, ignore="NAN")', Kind.MATRIX),
        ("group_rank(close, bucket(rank(cap), range='0,1,0.1', skipBoth=False, NaNGroup=True))", Kind.MATRIX),
        ("nan", Kind.NUMBER),
        ("close > open ? close : nan", Kind.MATRIX),
        ("kth_element(close, 20, 1, ignore=nan)", Kind.MATRIX),
        ("rank(close, rate=0)", Kind.MATRIX),
    ],
)
def test_kinds(text: str, kind: Kind) -> None:
    assert check(parse(text, CATALOGUE), CATALOGUE) is kind


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("ts_mean(close)", "takes 2 arguments, not 1: d missing", "ts_mean(x, d)"),
        ("ts_mean(close, 5, 6)", "takes 2 arguments, not 3", "signature"),
        ("hump(close, 0.1, 0.2)", "takes 1 to 2 arguments, not 3", "signature"),
        ("add(close)", "takes 2 or more arguments, not 1", "signature"),
        ("rank()", "takes 1 to 2 arguments, not 0", "signature"),
        ("ts_mean(close, n=5)", "no argument named 'n'", "signature"),
        ("ts_backfill(close, lookbak=5)", "no argument named 'lookbak'", "did you mean lookback"),
        ("ts_mean(close, 5, d=5)", "given 'd' twice", ""),
        ("hump(close, hump=1, hump=2)", "given 'hump' twice", ""),
        ("add(close, open, x=high)", "given 'x' twice", ""),
        ("ts_mean(close, 0)", "'d' must be a whole number from 1 to 2520, not 0", "trading days"),
        ("ts_mean(close, -5)", "not -5", "trading days"),
        ("ts_mean(close, 5.5)", "whole number", ""),
        ("ts_mean(close, 2521)", "not 2521", ""),
        (
            "ts_mean(close, open)",
            "must be a whole number from 1 to 2520, not open",
            "ts_mean(x, d), and d counts trading",
        ),
        (
            "ts_corr(10, close, open)",
            "'d' must be a whole number from 2 to 2520, not open",
            "ts_corr(x, y, d)",
        ),
        ("ts_corr(close, open, 1)", "from 2 to 2520", ""),
        ("ts_delay(close, -1)", "not -1", "back from today"),
        ("ts_regression(close, open, 20, rettype=10)", "from 0 to 9", ""),
        ("winsorize(close, std=-1)", "a number from 0", ""),
        ("rank(sector)", "'sector' is a grouping", ""),
        ("rank(ticker)", "'ticker' is an identifier", ""),
        ("rank(news)", "vector field: reduce it first, as in vec_avg", ""),
        ("vec_avg(close)", "must be a vector", ""),
        ("group_rank(close, close)", "must be a group, and 'close' is a matrix", "subindustry"),
        ("group_rank(close, 5)", "must be a group", "sector"),
        ("densify(close)", "must be a group", ""),
        ("add(close, open, true)", "'true' is a text", "by name"),
        ("close > open ? close : NaN", "'NaN' is a text", "a missing value is written nan"),
        ("group_rank(close, 'sector')", "must be a group, and 'sector' is a string", "without quotes"),
        ("-'rank(close)'", "is a text", "stand without quotes"),
        ("zscore(close, 60)", "zscore takes 1 argument, not 2", "zscore(x)"),
        ("add(close, open, filter=2)", "true or false", ""),
        ("add(close, open, filter=close)", "true or false", ""),
        ("ts_quantile(close, 20, driver='normal')", "gaussian or uniform or cauchy", ""),
        ("bucket(close)", "exactly one of range or buckets, and is given 0", ""),
        ("bucket(close, range='0,1,0.1', buckets='1,2')", "and is given 2", ""),
        ("bucket(close, range='0,1')", "start, end and step", ""),
        ("bucket(close, range='1,0,0.1')", "start, end and step", ""),
        ("bucket(close, range='0,1,1e-9')", "start, end and step", ""),
        ("bucket(close, range='0,inf,1')", "start, end and step", ""),
        ("bucket(close, buckets='3,2')", "rising numbers", ""),
        ("bucket(close, buckets='')", "rising numbers", ""),
        ("kth_element(close, 20, 1, ignore='5')", "NAN", ""),
        ("ts_mean(close, nan)", "'d' must be a whole number from 1 to 2520, not nan", "trading days"),
        ("hump(close, hump=nan)", "a number from 0, not nan", ""),
    ],
)
def test_refusals(text: str, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        check(parse(text, CATALOGUE), CATALOGUE)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.position >= 0


@pytest.mark.parametrize(
    "text", ["close", "rank(close)", "trade_when(1 > 0, close, -1)", "vec_sum(news) * 2"]
)
def test_an_alpha_is_a_matrix_that_reads_data(text: str) -> None:
    check_alpha(parse(text, CATALOGUE), CATALOGUE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "reads no data"),
        ("1 + 1", "reads no data"),
        ("ts_step(1)", "reads no data"),
        ("rank(5)", "reads no data"),
        ("true", "text"),
        ("sector", "grouping"),
        ("ticker", "identifier"),
        ("news", "vec_avg"),
        ("bucket(rank(cap), range='0,1,0.1')", "grouping"),
    ],
)
def test_alphas_must_be_matrices_that_read_data(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        check_alpha(parse(text, CATALOGUE), CATALOGUE)


@pytest.mark.parametrize(
    "tree",
    [
        Field("nonsense"),
        Call("nonsense", (Field("close"),)),
        Number(float("inf")),
        Call("ts_mean", (Field("close"), Number(float("nan")))),
        Call("add", (Field("close"), Number(float("inf")))),
        Call("add", (Field("close"), Text("x"))),
        Call("ts_mean", (Field("close"), Text("five"))),
        Call("ts_mean", (Field("close"), Text("nan"))),
    ],
)
def test_trees_from_other_sources_are_checked(tree: Node) -> None:
    with pytest.raises(ExpressionError):
        check(tree, CATALOGUE)


def test_an_endless_tree_is_refused() -> None:
    tree: Node = Field("close")
    for _ in range(100_000):
        tree = Call("rank", (tree,))
    with pytest.raises(ExpressionError, match="levels"):
        check(tree, CATALOGUE)


def test_expressions_of_brains_own_pages_are_accepted() -> None:
    for text in (
        "group_count(is_nan(close),market)>40 ? close:nan",
        'ts_backfill(close, lookback=5, k=1, ignore="NAN")',
        "tail(rank(close), lower=0.2, upper=1, newval=nan)",
    ):
        check_alpha(parse(text, HIGHER), HIGHER)


@pytest.mark.parametrize("name", ["nam", "Nan", "vlume", "ts_men", "truee"])
def test_a_hint_does_not_depend_on_the_order_of_the_names(name: str) -> None:
    known = [*CATALOGUE.operators, *CATALOGUE.fields, *CATALOGUE.words]
    hints = set()
    for seed in range(5):
        Random(seed).shuffle(known)
        hints.add(suggestion(name, known))
    assert len(hints) == 1


@patient
def test_typed_trees_of_all_operators_pass() -> None:
    random = Random(2)
    for _ in range(amount(1000, 200_000)):
        tree = typed_tree(random, HIGHER, random.choice((2, 3, 5)))
        assert check(tree, HIGHER) is Kind.MATRIX


@patient
def test_any_tree_raises_nothing_else() -> None:
    random = Random(3)
    for _ in range(amount(2000, 200_000)):
        with suppress(ExpressionError):
            check(any_tree(random, CATALOGUE, 4), CATALOGUE)


@pytest.mark.parametrize(
    ("text", "hint"), [("true", ""), ("'close'", "fields and expressions stand without quotes")]
)
def test_a_text_alone_is_no_alpha(text: str, hint: str) -> None:
    with pytest.raises(ExpressionError, match="is a text") as caught:
        check_alpha(parse(text, CATALOGUE), CATALOGUE)
    assert caught.value.hint == hint
