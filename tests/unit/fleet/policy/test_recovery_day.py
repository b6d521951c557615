"""A day on a shared card: time on the best rung beside an oracle's, and how often a probe fails."""

from collections.abc import Callable
from statistics import mean

import pytest

from tests.reference.shared_card_day import (
    EVENING,
    OFFICE,
    STEADY,
    Budget,
    Card,
    Day,
    most_in_an_hour,
    originals_rule,
    random_day,
    settled_probes,
)

NAMED = {"office": OFFICE, "evening": EVENING, "steady": STEADY}
RANDOM = {f"random {seed}": random_day(seed) for seed in (1, 3)}
Record = Callable[[str, object], None]


@pytest.mark.parametrize("budget", [*NAMED.values(), *RANDOM.values()], ids=[*NAMED, *RANDOM])
def test_where_the_memory_is_known_the_best_rung_is_held_for_most_of_the_day(
    budget: Budget, record_property: Record
) -> None:
    day = Day(Card(budget), knows=True)
    share, original = day.run(seed=7), originals_rule(Card(budget))
    record_property("share_on_the_best_rung", f"{share:.3f}")
    record_property("originals_rule", f"{original:.3f}")
    assert share >= 0.95
    assert share >= original
    assert not settled_probes(day), "what is known not to fit is not tried"


@pytest.mark.slow
def test_by_outcome_alone_too_it_is_held_for_most_of_the_day(record_property: Record) -> None:
    """Nobody says what is free: what a probe costs in time is then the price of finding out."""
    budgets = [*NAMED.values(), *RANDOM.values()]
    ours = mean(Day(Card(budget), knows=False).run(seed=7) for budget in budgets)
    original = mean(originals_rule(Card(budget)) for budget in budgets)
    record_property("share_on_the_best_rung", f"{ours:.3f}")
    record_property("originals_rule", f"{original:.3f}")
    assert ours >= 0.95
    assert ours > original


@pytest.mark.parametrize("knows", [True, False], ids=["memory known", "by outcome alone"])
@pytest.mark.parametrize("budget", [STEADY, OFFICE], ids=["steady", "office"])
def test_once_the_memory_is_steady_at_most_one_probe_an_hour_fails(knows: bool, budget: Budget) -> None:
    day = Day(Card(budget), knows)
    day.run(seed=7)
    assert most_in_an_hour(settled_probes(day)) <= 1
