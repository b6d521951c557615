import json
from collections import Counter
from pathlib import Path

import pytest

import generator.catalogue
from fleet.runtime.errors import GeneratorError
from generator.catalogue import Catalogue, Kind, Operator, load, load_catalogue, save
from generator.language import check, parse

CATALOGUE = load_catalogue()
ALL = load_catalogue(higher=True)


def test_an_ordinary_account_has_66_operators_in_seven_categories() -> None:
    counts = Counter(operator.category for operator in CATALOGUE.operators.values())
    assert counts == {
        "Time Series": 24,
        "Arithmetic": 15,
        "Logical": 11,
        "Cross Sectional": 6,
        "Group": 6,
        "Vector": 2,
        "Transformational": 2,
    }


def test_higher_operators_come_only_when_asked_for() -> None:
    assert "ts_max" not in CATALOGUE.operators
    assert ALL.operators["ts_max"].level == "higher"
    assert CATALOGUE.operators.keys() < ALL.operators.keys()


@pytest.mark.parametrize("operator", ALL.operators.values(), ids=lambda operator: operator.name)
def test_every_operator_is_complete(operator: Operator) -> None:
    assert operator.name in operator.signature or operator.truth
    assert operator.meaning.endswith(".")
    assert operator.parameters
    assert len(operator.by_name) == len(operator.parameters)
    assert all(not p.optional for p in operator.parameters[: len(operator.required)])
    assert operator.search or operator.why_not_searched
    assert set(operator.one_of) <= {p.name for p in operator.optional}


@pytest.mark.parametrize("operator", ALL.operators.values(), ids=lambda operator: operator.name)
def test_every_parameter_is_in_the_signature_or_is_a_documented_extra(operator: Operator) -> None:
    extra = {"skipBegin", "skipEnd", "buckets", "x", "lookback"}
    for parameter in operator.parameters:
        assert parameter.name in operator.signature or parameter.name in extra


@pytest.mark.parametrize("operator", ALL.operators.values(), ids=lambda operator: operator.name)
def test_defaults_lie_within_their_own_bounds(operator: Operator) -> None:
    for parameter in operator.optional:
        if parameter.kind in (Kind.NUMBER, Kind.INTEGER):
            value = float(str(parameter.default))
            assert parameter.minimum is None or value >= parameter.minimum
            assert parameter.maximum is None or value <= parameter.maximum
        if parameter.kind is Kind.ENUM:
            assert parameter.default in parameter.values


def test_fields_have_kinds_and_units() -> None:
    assert CATALOGUE.fields["close"].kind is Kind.MATRIX
    assert CATALOGUE.fields["sector"].kind is Kind.GROUP
    assert CATALOGUE.fields["ticker"].kind is Kind.SYMBOL
    assert CATALOGUE.fields["cap"].unit == "price*share"
    assert all(f.unit for f in CATALOGUE.fields.values() if f.kind is Kind.MATRIX)
    assert len(CATALOGUE.fields) == 72


def test_bare_words_are_the_enums_own_and_the_truth_values() -> None:
    assert {"true", "false", "gaussian", "uniform", "cauchy", "NAN"} <= CATALOGUE.words
    assert not CATALOGUE.words & CATALOGUE.fields.keys()


def test_restriction_keeps_the_order_and_drops_unknown_names() -> None:
    small = CATALOGUE.restricted_to(fields=["volume", "close", "nonsense"], operators=["rank"])
    assert list(small.fields) == ["close", "volume"]
    assert list(small.operators) == ["rank"]
    assert CATALOGUE.restricted_to() == CATALOGUE


def test_a_saved_catalogue_loads_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.json"
    dated = Catalogue(ALL.operators, ALL.fields, date="2026-11-24", source="brain", skipped=("odd",))
    save(dated, path)
    assert load(path) == dated
    assert [p.name for p in tmp_path.iterdir()] == ["catalogue.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"operators": [], "fields": 5}',
        '{"operators": [{"name": "x"}], "fields": []}',
        '{"operators": [], "fields": [{"id": "close", "kind": "tensor"}]}',
        '{"operators": [3], "fields": []}',
    ],
)
def test_a_damaged_file_is_named_with_a_hint(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalogue.json"
    path.write_text(text)
    with pytest.raises(GeneratorError, match=r"catalogue\.json") as caught:
        load(path)
    assert caught.value.hint


def test_the_same_expression_means_the_same_after_a_round_trip(tmp_path: Path) -> None:
    save(CATALOGUE, tmp_path / "c.json")
    again = load(tmp_path / "c.json")
    text = 'group_rank(ts_corr(close, volume, 20), bucket(rank(cap), range="0.1,1,0.1"))'
    assert parse(text, again) == parse(text, CATALOGUE)
    assert check(parse(text, again), again) is Kind.MATRIX


def test_the_files_hold_one_row_a_line() -> None:
    folder = Path(generator.catalogue.__file__).parent
    for name in ("operators.json", "fields.json"):
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        rows = [line for line in lines if line.startswith("  {")]
        assert all(json.loads(line.rstrip(",")) for line in rows)
        assert len(rows) in (len(ALL.operators), len(ALL.fields))
