"""Which field BRAIN's refusal means, and that it is not offered again."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from generator.brain.account_catalogue import Listing
from generator.brain.event_data import EventFields, event_fields
from generator.catalogue import load_catalogue
from generator.catalogue.available import Scope
from generator.domain import Candidate, Evaluated, ExpressionFault, Result, Ruleset, Source
from generator.evaluators.brain import BrainEvaluator, EvaluatorContext
from generator.language import parse
from generator.reporting.stats import RunStats
from generator.rules_in_force import RulesInForce
from generator.storage.simulations import brain_outcomes
from generator.storage.store import AlphaStore
from tests.reference.manual_clock import StillClock
from tests.reference.stored_rows import finish

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


class Refusing:
    """A simulator with one result ready."""

    def __init__(self, result: tuple[Candidate, Result]) -> None:
        self._results = [result]

    def step(self) -> list[tuple[Candidate, Result]]:
        done, self._results = self._results, []
        return done

    def state(self) -> dict[str, object]:
        return {}


def test_the_evaluator_learns_from_each_result() -> None:
    scope, clock = Scope(CATALOGUE, None), StillClock()
    rules = RulesInForce(Ruleset(Source.BRAIN, {}))
    context = EvaluatorContext(
        SimpleNamespace(), SimpleNamespace(), clock, Random(0), threading.Event(), scope, RunStats(), rules  # type: ignore[arg-type]
    )  # fmt: skip
    refused = (candidate("ts_delta(assets, 5)"), ExpressionFault(REFUSAL.format("ts_delta")))
    evaluator = BrainEvaluator(
        SimpleNamespace(),  # type: ignore[arg-type]
        Refusing(refused),  # type: ignore[arg-type]
        context,
        Listing(SimpleNamespace(), clock, replace(CATALOGUE, date="1970-01-01")),  # type: ignore[arg-type]
        EventFields(CATALOGUE, scope),
        disconnect=lambda: None,
    )
    assert evaluator.results(0.0) == [refused]
    assert "assets" not in scope.catalogue.fields


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlphaStore]:
    with closing(AlphaStore(f"sqlite:///{tmp_path}/alphas.db", owner="here")) as made:
        yield made


def test_outcomes_of_brain_are_read_whatever_their_settings(store: AlphaStore) -> None:
    usa, europe = (Ruleset(Source.BRAIN, {"region": region}) for region in ("USA", "EUR"))
    finish(store, "close", rules=usa)
    finish(store, "open", rules=Ruleset(Source.PANEL, {}))
    failed = Evaluated(candidate("rank(assets)"), Source.BRAIN, {}, error="refused", time=999.0)
    store.finish(failed, europe)
    assert brain_outcomes(store, limit=9) == [("rank(assets)", "refused"), ("rank(close)", "")]
