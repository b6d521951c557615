"""One digest has one value: what `check` accepts the engine evaluates, and every spelling gives the same bits."""

from random import Random

import numpy as np
import pytest

from generator.backtest.panel import Panel
from generator.backtest.plan.operators import OPERATORS
from generator.backtest.run.engine import Engine
from generator.catalogue import Catalogue, Kind, load_catalogue
from generator.catalogue.available import with_fields
from generator.language import Call, Node, canonical, check_alpha, digest, parse, read, show
from tests.reference.expressions import amount, patient, respelt, typed_tree

DAYS, INSTRUMENTS = 40, 13
FIELDS = {**dict.fromkeys("abc", Kind.MATRIX), "sector": Kind.GROUP, "market": Kind.GROUP}


def local(catalogue: Catalogue) -> Catalogue:
    return with_fields(catalogue.restricted_to(operators=OPERATORS), FIELDS)


CATALOGUE = local(load_catalogue(higher=True))


def hostile_panel(seed: int) -> Panel:
    """Zeros of both signs, infinities, ties, gaps, a constant column and an empty day."""
    rng = np.random.default_rng(seed)
    fields = {"a": rng.normal(size=(DAYS, INSTRUMENTS))}
    fields["b"] = np.round(rng.normal(size=(DAYS, INSTRUMENTS)))
    fields["c"] = np.abs(np.round(2 * rng.normal(size=(DAYS, INSTRUMENTS))))
    for x in fields.values():
        for value, share in ((np.nan, 0.1), (np.inf, 0.02), (-np.inf, 0.02), (0.0, 0.05), (-0.0, 0.05)):
            x[rng.random(x.shape) < share] = value
        x[:, 3] = 1.0
        x[5] = np.nan
    sector = rng.integers(-1, 4, (DAYS, INSTRUMENTS)).astype(np.int32)
    return Panel(
        dates=np.datetime64("2020-01-01") + np.arange(DAYS),
        symbols=tuple(f"S{i:02d}" for i in range(INSTRUMENTS)),
        fields=fields,
        groups={"sector": sector},
        group_names={"sector": ("u", "v", "w", "x")},
    )


def differing(left: np.ndarray, right: np.ndarray) -> int:
    """How many cells have other bits; one NaN is as good as another."""
    missing = np.isnan(left) & np.isnan(right)
    return int((~missing & (left.view(np.int64) != right.view(np.int64))).sum())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@patient
def test_every_spelling_has_the_same_bits(dtype: type) -> None:
    random = Random(12)
    engine = Engine(hostile_panel(3), threads=1, dtype=dtype)
    for _ in range(amount(40, 20_000)):
        trees = [typed_tree(random, CATALOGUE, random.choice((2, 3, 4))) for _ in range(6)]
        written = engine.values(trees)
        forms = [canonical(tree, CATALOGUE) for tree in trees]
        others = [respelt(tree, CATALOGUE, random) for tree in trees]
        # In another order, so that no step has the number that it had.
        settled = engine.values(forms[::-1])[::-1]
        spelt = engine.values(others[::-1])[::-1]
        for tree, form, other, x, y, z in zip(trees, forms, others, written, settled, spelt, strict=True):
            assert digest(canonical(other, CATALOGUE)) == digest(form), show(tree)
            assert not differing(x, y), f"{show(tree)}  against  {show(form)}"
            assert not differing(x, z), f"{show(tree)}  against  {show(other)}"


@patient
def test_accepted_expressions_are_evaluated() -> None:
    random = Random(21)
    engine = Engine(hostile_panel(4), threads=1)
    for _ in range(amount(600, 200_000)):
        tree = typed_tree(random, CATALOGUE, random.choice((2, 3, 5)))
        check_alpha(Call("add", (tree, parse("a", CATALOGUE))), CATALOGUE)
        engine.compiler().matrix(parse(show(tree), CATALOGUE))


def value(text: str) -> np.ndarray:
    return Engine(hostile_panel(5), threads=1).values([tree(text)])[0]


def tree(text: str) -> Node:
    return parse(text, CATALOGUE)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("ts_mean(a, max(5, 10))", "ts_mean(a, 10)"),
        ("ts_mean(a, 2 ^ 3)", "ts_mean(a, 8)"),
        ("ts_mean(a, abs(-4) + 1)", "ts_mean(a, '5')"),
        ("scale(a, longscale=1)", "scale(a)"),
        ("scale(a, 1, 1, 1)", "scale(a)"),
        ("max(a * 0, b)", "max(b, a * 0)"),
        ("a * b", "b * a"),
        ("add(a, b, c)", "add(b, a, c)"),
        ("ts_corr(a, b, 5)", "ts_corr(b, a, 5)"),
        ("a > b", "b < a"),
        ("kth_element(a, 5, 1, ignore=nan)", "kth_element(a, 5, 1)"),
        ("a + -0", "a + 0"),
        ("tail(a, lower=0, upper=1, newval=nan)", "tail(a, 0, 1, nan)"),
    ],
)
def test_two_spellings_of_one_alpha(left: str, right: str) -> None:
    assert read(left, CATALOGUE).digest == read(right, CATALOGUE).digest
    assert not differing(value(left), value(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1 / -(a - b)", "1 / (b - a)"),
        ("inverse(reverse(b))", "reverse(inverse(reverse(reverse(b)))) * 0"),
        ("add(a, b, c)", "add(a, c, b)"),
        ("a + (b + c)", "(a + b) + c"),
        ("0.1 * a * 3", "0.3 * a"),
        ("scale(a, longscale=2)", "scale(a)"),
        ("group_normalize(a, sector)", "group_normalize(a, sector, constantCheck=true)"),
    ],
)
def test_expressions_that_may_differ_in_a_bit_have_two_digests(left: str, right: str) -> None:
    assert read(left, CATALOGUE).digest != read(right, CATALOGUE).digest
    assert differing(value(left), value(right))
