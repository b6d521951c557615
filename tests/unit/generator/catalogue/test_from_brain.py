from typing import Any

import pytest

from generator.catalogue import Kind, from_brain, load_catalogue
from generator.language import check, parse, read


def row(definition: str, name: str = "", **more: Any) -> dict[str, Any]:
    """Return a row in the form of `GET /operators`."""
    return {
        "name": name or definition.partition("(")[0],
        "category": "Time Series",
        "scope": ["REGULAR"],
        "definition": definition,
        "description": "Text.",
        "documentation": None,
        "level": "ALL",
        **more,
    }


def field(name: str, kind: str = "MATRIX", **more: Any) -> dict[str, Any]:
    """Return a row in the form of `GET /data-fields`."""
    return {
        "id": name,
        "type": kind,
        "description": "Text",
        "dataset": {"id": "pv1", "name": "Prices"},
        **more,
    }


def test_an_operator_known_here_keeps_our_typed_parameters() -> None:
    made = from_brain([row("hump(x, hump = 0.01)")], [field("close")], date="2026-11-24")
    assert made.operators["hump"] == load_catalogue().operators["hump"]
    assert (made.date, made.source, made.skipped) == ("2026-11-24", "brain", ())


def test_typographic_quotes_and_odd_spacing_are_read() -> None:
    made = from_brain(
        [row("kth_element(x, d, k, ignore=“NaN”)"), row("ts_backfill(x,lookback = d, k=1)")], []
    )
    assert made.operators.keys() == {"kth_element", "ts_backfill"}
    assert made.operators["kth_element"] == load_catalogue().operators["kth_element"]


def test_an_operator_new_to_us_is_typed_by_brains_conventions() -> None:
    made = from_brain([row('group_thing(x, group, d, k=1, way="fast", dense=false)', level=None)], [])
    operator = made.operators["group_thing"]
    assert [p.kind for p in operator.parameters] == [
        Kind.MATRIX,
        Kind.GROUP,
        Kind.INTEGER,
        Kind.NUMBER,
        Kind.STRING,
        Kind.BOOLEAN,
    ]
    assert [p.default for p in operator.optional] == [1.0, "fast", False]
    assert operator.required[2].lookback
    assert (operator.level, operator.search) == ("higher", False)


def test_a_new_operator_can_be_used_in_an_expression() -> None:
    made = from_brain([row("ts_new(x, d)"), row("vec_new(x)")], [field("close"), field("news", "VECTOR")])
    assert check(parse("ts_new(vec_new(news), 5)", made), made) is Kind.MATRIX


def test_a_signature_that_changed_is_taken_from_brain() -> None:
    made = from_brain([row("rank(x, rate=2, side=1)")], [field("close")])
    assert [p.name for p in made.operators["rank"].parameters] == ["x", "rate", "side"]
    assert read("rank(close, side=2)", made).expression == "rank(close, side=2)"


def test_a_default_that_is_only_a_letter_is_to_be_given() -> None:
    made = from_brain([row("ts_new(x, d, factor = f)")], [field("close")])
    assert [p.name for p in made.operators["ts_new"].required] == ["x", "d", "factor"]
    assert read("ts_new(close, 5, factor=0.5)", made).expression == "ts_new(close, 5, 0.5)"


def test_days_with_a_default_may_be_left_out() -> None:
    made = from_brain([row('new(y, x, days=0, lag=0, solver="SVD")')], [field("close"), field("open")])
    assert read("new(close, open, days=0, solver='QR')", made).expression == ('new(close, open, solver="QR")')


def test_a_word_that_is_a_default_needs_no_quotes() -> None:
    made = from_brain([row("one_side(x , side = long )")], [field("close")])
    assert read("one_side(close, side=long)", made).expression == "one_side(close)"
    assert read("one_side(close, side='short')", made).expression == 'one_side(close, side="short")'


def test_a_space_before_the_parenthesis_is_read() -> None:
    made = from_brain([row("new (x, d, mode = 1)", name="new")], [field("close")])
    assert [p.name for p in made.operators["new"].parameters] == ["x", "d", "mode"]


def test_variadic_is_read_from_the_dots() -> None:
    made = from_brain([row("most(x, y, ..)")], [field("close"), field("open")])
    assert made.operators["most"].variadic
    check(parse("most(close, open, close, 1)", made), made)


@pytest.mark.parametrize("definition", ["", "no parentheses", "odd(x", "odd(x y z!)", "other(x)"])
def test_an_operator_not_understood_is_skipped_and_named(definition: str) -> None:
    made = from_brain([row(definition, name="odd")], [])
    assert made.skipped == ("odd",)
    assert not made.operators


def test_operators_of_other_scopes_are_left_out() -> None:
    assert not from_brain([row("reduce_avg(x)", scope=["COMBO", "SELECTION"])], []).operators


def test_comparisons_come_without_a_call() -> None:
    made = from_brain([row("input1 < input2", name="less")], [field("close")])
    assert made.operators["less"] == load_catalogue().operators["less"]


def test_fields_get_our_units_where_known() -> None:
    made = from_brain([], [field("cap"), field("fnd6_newq", "VECTOR"), field("sector", "GROUP")])
    assert made.fields["cap"].unit == "price*share"
    assert made.fields["fnd6_newq"].kind is Kind.VECTOR
    assert made.fields["sector"].dataset == "pv1"


@pytest.mark.parametrize(
    "bad",
    [
        "close",
        None,
        {},
        {"id": "x"},
        {"id": "x", "type": "TENSOR"},
        {"id": "a b", "type": "MATRIX"},
        {"id": 5, "type": None},
    ],
)
def test_rows_that_are_no_fields_are_left_out(bad: Any) -> None:
    assert not from_brain([], [bad]).fields


def test_names_that_are_no_identifiers_are_left_out() -> None:
    assert not from_brain([row("x(y)", name="x(y)"), {"name": None}, {}, "rank", None], []).operators


def test_all_66_as_listed_make_the_same_operators() -> None:
    ours = load_catalogue()
    listed = [row(o.signature, name=o.name, category=o.category) for o in ours.operators.values()]
    assert from_brain(listed, []).operators == ours.operators
