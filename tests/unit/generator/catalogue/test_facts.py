"""Compares the catalogue with public captures of BRAIN's lists of operators and fields."""

import json
from pathlib import Path
from typing import Any

import pytest

from generator.catalogue import load_catalogue
from generator.catalogue.model import Parameter

FACTS = json.loads((Path(__file__).parents[3] / "data/brain/facts.json").read_text())
ALL = load_catalogue(higher=True)
KINDS = {
    "expr": {"matrix", "number"},
    "bool": {"boolean"},
    "int": {"integer"},
    "number": {"number", "integer"},
    "string": {"string"},
    "enum": {"enum"},
    "group": {"group"},
    "vector": {"vector"},
}
OURS_ALONE = {("ts_decay_exp_window", "factor")}
"""Parameters with a default on the operator's page and none in its row."""

LISTED_ELSEWHERE = {("ts_backfill", "ignore")}
"""Parameters of other captures of the same rows, from accounts with a newer or older signature."""


def test_both_have_the_same_operators_and_fields() -> None:
    assert {row["name"] for row in FACTS["operators"]} == ALL.operators.keys()
    assert {row["id"]: row["type"].lower() for row in FACTS["fields"]} == {
        name: field.kind.value for name, field in ALL.fields.items()
    }
    assert {row["id"]: row["dataset"] for row in FACTS["fields"]} == {
        name: field.dataset for name, field in ALL.fields.items()
    }
    base = {row["name"] for row in FACTS["operators"] if row["level"] == "base"}
    assert base == load_catalogue().operators.keys()
    assert len(base) == 66


@pytest.mark.parametrize("row", FACTS["operators"], ids=lambda row: row["name"])
def test_an_operator_is_as_listed(row: dict[str, Any]) -> None:
    operator = ALL.operators[row["name"]]
    assert (operator.category, operator.level) == (row["category"], row["level"])
    assert (operator.result.value, operator.variadic) == (row["returns"], row["variadic"])
    shared = [one for one in operator.parameters if (operator.name, one.name) not in LISTED_ELSEWHERE]
    assert [parameter.name for parameter in shared] == [one["name"] for one in row["params"]]
    for parameter, listed in zip(shared, row["params"], strict=True):
        assert parameter.kind.value in KINDS[listed["kind"]]
        assert (operator.name, parameter.name) in OURS_ALONE or default(parameter) == plain(listed)


def default(parameter: Parameter) -> object:
    value = parameter.default
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def plain(listed: dict[str, Any]) -> object:
    value = listed.get("default")
    if listed["kind"] == "bool":
        return {"true": True, "false": False}.get(str(value).lower(), value)
    if listed["kind"] in {"string", "enum"}:
        return value
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number is left as it is
    except (TypeError, ValueError):
        return value
