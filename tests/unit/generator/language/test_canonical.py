from random import Random

import pytest

from generator.catalogue import load_catalogue
from generator.language import (
    Number,
    alpha_of,
    canonical,
    check,
    check_alpha,
    digest,
    parse,
    read,
    show,
)
from tests.reference.expressions import amount, patient, respelt, typed_tree

CATALOGUE = load_catalogue()
HIGHER = load_catalogue(higher=True)


def settled(text: str) -> str:
    return show(canonical(parse(text, CATALOGUE), CATALOGUE))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("open + close", "add(close, open)"),
        ("open + (close + high)", "add(add(close, high), open)"),
        ("high + open + close", "add(add(high, open), close)"),
        ("add(open, close, high)", "add(close, open, high)"),
        ("add(open, close, filter=true)", "add(close, open, filter=true)"),
        ("add(open, close, filter=false)", "add(close, open)"),
        ("add(open, close, filter=0)", "add(close, open)"),
        ("open * close", "multiply(close, open)"),
        ("max(open, close, low)", "max(close, open, low)"),
        ("close - open - high", "subtract(subtract(close, open), high)"),
        ("-(close - open)", "reverse(subtract(close, open))"),
        ("-1 * close", "multiply(-1, close)"),
        ("close * -1", "multiply(-1, close)"),
        ("close * 1", "multiply(1, close)"),
        ("- -close", "reverse(reverse(close))"),
        ("1 / close", "divide(1, close)"),
        ("close - -open", "subtract(close, reverse(open))"),
        ("close ? open : nan", "if_else(close, open, nan)"),
        ("close > open", "open < close"),
        ("close >= open", "open <= close"),
        ("open == close", "close == open"),
        ("open != close", "close != open"),
        ("open && close", "and(close, open)"),
        ("ts_corr(open, close, 20)", "ts_corr(close, open, 20)"),
        ("ts_covariance(open, close, 20)", "ts_covariance(close, open, 20)"),
        ("ts_regression(open, close, 20)", "ts_regression(open, close, 20)"),
        ("ts_regression(open, close, 20, rettype=2, lag=0)", "ts_regression(open, close, 20, rettype=2)"),
        ("ts_regression(open, close, 20, 1, 2)", "ts_regression(open, close, 20, lag=1, rettype=2)"),
        ("ts_regression(open, close, 20, rettype=2, lag=1)",
         "ts_regression(open, close, 20, lag=1, rettype=2)"),
        ("ts_mean(d=20, x=close)", "ts_mean(close, 20)"),
        ("ts_mean(close, 5 * 4)", "ts_mean(close, 20)"),
        ("ts_mean(close, '20')", "ts_mean(close, 20)"),
        ("ts_backfill(close, lookback=60, k=1)", "ts_backfill(close, 60)"),
        ("hump(close, 0.01)", "hump(close)"),
        ("hump(close, 0.020)", "hump(close, hump=0.02)"),
        ("rank(close, 2)", "rank(close)"),
        ("ts_quantile(close, 20, driver=gaussian)", "ts_quantile(close, 20)"),
        ("ts_quantile(close, 20, driver=cauchy)", "ts_quantile(close, 20, driver=cauchy)"),
        ("kth_element(close, 20, 1, ignore='nan')", "kth_element(close, 20, 1)"),
        ("kth_element(close, 20, 1, ignore='0 NaN')", 'kth_element(close, 20, 1, ignore="NAN 0")'),
        ("group_rank(close, bucket(cap, range='0, 1.0, 0.10'))",
         'group_rank(close, bucket(cap, range="0,1,0.1"))'),
        ("close * 1.50", "multiply(1.5, close)"),
        ("close + 2 * 3", "add(close, multiply(2, 3))"),
        ("ts_mean(close, max(5, 10))", "ts_mean(close, 10)"),
        ("close + -0", "add(0, close)"),
        ("close ? open : high", "if_else(close, open, high)"),
        ("a = open; b = close + a; b", "add(close, open)"),
    ],
)  # fmt: skip
def test_canonical_form(text: str, form: str) -> None:
    assert settled(text) == form
    assert settled(form) == form


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("-close + -open", "close - open"),
        ("rank(close)", "rank(open)"),
        ("close - open", "open - close"),
        ("close / open", "open / close"),
        ("close < open", "open < close"),
        ("ts_mean(close, 20)", "ts_mean(close, 21)"),
        ("add(close, open)", "add(close, open, filter=true)"),
        ("ts_regression(close, open, 20)", "ts_regression(open, close, 20)"),
        ("signed_power(close, 2)", "power(close, 2)"),
        ("close + 0.1", "close + 0.10000000000000002"),
        (
            "group_rank(close, bucket(cap, range='0,1,0.1'))",
            "group_rank(close, bucket(cap, buckets='0,1'))",
        ),
        ("-(close + open)", "-close + open"),
        ("1 / -(close - open)", "1 / (open - close)"),
        ("add(close, open, high)", "add(close, high, open)"),
        ("close * 2 * 3", "close * 6"),
    ],
)
def test_different_expressions_stay_apart(left: str, right: str) -> None:
    assert read(left, CATALOGUE).digest != read(right, CATALOGUE).digest


def test_the_digest_does_not_depend_on_machine_or_version() -> None:
    assert digest(parse("rank(close)", CATALOGUE)) == "66eec24e3a9662bf327bcc4e3cd42175"


def test_read_parses_checks_and_canonicalizes() -> None:
    alpha = read("-rank(open + close)", CATALOGUE)
    assert alpha.expression == "reverse(rank(add(close, open)))"
    assert alpha.expression == show(alpha.canonical)
    assert alpha.digest == digest(alpha.canonical)
    assert alpha.tree == parse("-rank(open + close)", CATALOGUE)
    assert alpha_of(alpha.tree, CATALOGUE) == alpha


@patient
def test_the_canonical_form_is_idempotent_and_keeps_the_kind() -> None:
    random = Random(4)
    for _ in range(amount(1500, 200_000)):
        tree = typed_tree(random, HIGHER, random.choice((2, 3, 4, 6)))
        form = canonical(tree, HIGHER)
        assert canonical(form, HIGHER) == form, show(tree)
        assert check(form, HIGHER) is check(tree, HIGHER) or isinstance(form, Number)
        assert parse(show(form), HIGHER) == form


@patient
def test_spelling_does_not_matter() -> None:
    """Swapped terms, named arguments and written defaults have the same digest."""
    random = Random(7)
    for _ in range(amount(500, 100_000)):
        tree = typed_tree(random, CATALOGUE, 5)
        other = respelt(tree, CATALOGUE, random)
        assert digest(canonical(other, CATALOGUE)) == digest(canonical(tree, CATALOGUE)), show(tree)


def test_a_canonical_alpha_is_an_alpha() -> None:
    for text in ("close * 1", "- -close", "1 * (close + 0)"):
        check_alpha(read(text, CATALOGUE).canonical, CATALOGUE)
