"""Which field BRAIN's refusal means, and that it is not offered again."""

import pytest

from generator.brain.event_data import EventFields, event_fields
from generator.catalogue import load_catalogue
from generator.catalogue.available import Scope
from generator.domain import Candidate
from generator.language import parse

CATALOGUE = load_catalogue()
REFUSAL = "Operator {} does not support event inputs."


@pytest.mark.parametrize(
    ("expression", "message", "meant"),
    [
        ("ts_delta(assets, 5)", REFUSAL.format("ts_delta"), {"assets"}),
        ("add(rank(close), ts_zscore(assets, 20))", REFUSAL.format("ts_zscore") + " Learn more", {"assets"}),
        ("group_neutralize(assets, industry)", REFUSAL.format("group_neutralize"), {"assets"}),
        ("assets - close", REFUSAL.format("subtract"), {"assets"}),
        ("assets - debt", REFUSAL.format("subtract"), set()),
        ("rank(ts_mean(assets, 5))", REFUSAL.format("rank"), set()),
        ("assets - debt", 'The field "debt" is event data', {"debt"}),
        ("ts_delta(assets, 5)", 'Attempted to use unknown variable "assets"', set()),
        ("ts_delta(assets, 5)", "", set()),
    ],
)
def test_a_refusal_means_the_one_input_that_no_simulation_has_proven(
    expression: str, message: str, meant: set[str]
) -> None:
    proven = frozenset({"close", "industry"})
    assert event_fields(parse(expression, CATALOGUE), message, proven) == meant


def candidate(expression: str) -> Candidate:
    return Candidate(expression, expression, expression)


def test_event_data_are_not_offered_again(caplog: pytest.LogCaptureFixture) -> None:
    scope = Scope(CATALOGUE, None)
    watch = EventFields(CATALOGUE, scope)
    watch.note(candidate("assets - debt"), REFUSAL.format("subtract"))
    assert {"assets", "debt"} <= scope.catalogue.fields.keys()
    watch.note(candidate("rank(debt)"), "")
    watch.note(candidate("assets - debt"), REFUSAL.format("subtract"))
    watch.note(candidate("assets - debt"), REFUSAL.format("subtract"))
    assert "assets" not in scope.catalogue.fields
    assert "debt" in scope.catalogue.fields
    scope.adopt(load_catalogue(higher=True))
    assert "assets" not in scope.catalogue.fields
    assert [record.message for record in caplog.records] == ["brain.event_field"]


def test_what_the_database_holds_is_learned_at_the_start() -> None:
    scope = Scope(CATALOGUE, None)
    EventFields(CATALOGUE, scope).restore(
        [("assets - debt", REFUSAL.format("subtract")), ("gone(debt)", ""), ("rank(debt)", "")]
    )
    assert "assets" not in scope.catalogue.fields
    assert "debt" in scope.catalogue.fields
