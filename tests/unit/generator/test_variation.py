"""The search around an alpha: its changes, its budget, and what it finds where the best is known."""

from collections.abc import Sequence

import pytest

from generator.catalogue import load_catalogue
from generator.domain import AlphaFigures, ExpressionFault
from generator.language import parse, read, show
from generator.variation import AlphaChoices, Trial, Variant, changes, constant_changes, ranked, search

CATALOGUE = load_catalogue()
GROUPS = ("none", "market", "industry")
CHOICES = AlphaChoices(1, 0, "industry", 0.08)


def variant(text: str, choices: AlphaChoices = CHOICES) -> Variant:
    alpha = read(text, CATALOGUE)
    return Variant(alpha.tree, alpha.digest, choices)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ts_mean(close, 20)", ["ts_mean(close, 10)", "ts_mean(close, 15)", "ts_mean(close, 30)", "ts_mean(close, 40)"]),
        ("ts_mean(close, 1)", ["ts_mean(close, 2)"]),
        ("rank(close)", []),
        ("winsorize(close, std=4)", [f"winsorize(close, std={std})" for std in (2, 3, 6, 8)]),
    ],
)  # fmt: skip
def test_constants_change_one_at_a_time(text: str, found: list[str]) -> None:
    changed = [show(one) for one in constant_changes(parse(text, CATALOGUE), CATALOGUE)]
    assert changed == [show(parse(one, CATALOGUE)) for one in found]


def test_fractions_stay_fractions_and_nested_constants_are_reached() -> None:
    texts = [
        show(one) for one in constant_changes(parse("rank(ts_delta(close, 4) * 0.5)", CATALOGUE), CATALOGUE)
    ]
    assert len(texts) == 8
    assert any("0.25" in one for one in texts)
    assert any("ts_delta(close, 8)" in one for one in texts)


def test_settings_move_to_their_neighbours() -> None:
    found = [one.choices for one in changes(variant("rank(close)"), CATALOGUE, GROUPS)]
    assert found == [
        AlphaChoices(0, 0, "industry", 0.08),
        AlphaChoices(1, 2, "industry", 0.08),
        AlphaChoices(1, 0, "industry", 0.05),
        AlphaChoices(1, 0, "industry", 0.1),
        AlphaChoices(1, 0, "none", 0.08),
        AlphaChoices(1, 0, "market", 0.08),
    ]
    first = next(changes(variant("rank(close)"), CATALOGUE, GROUPS))
    assert (first.parent, first.digest) == (variant("rank(close)").digest,) * 2


def days(one: Variant) -> float:
    return float(show(one.tree).rpartition(",")[2].rstrip(")"))


class Hill:
    """Fitness that rises towards 80 days and a decay of 8; counts what is evaluated."""

    def __init__(self) -> None:
        self.seen: list[Variant] = []

    def __call__(self, variants: Sequence[Variant]) -> list[Trial]:
        self.seen += variants
        return [self.trial(one) for one in variants]

    def trial(self, one: Variant) -> Trial:
        fitness = 2.0 - abs(days(one) - 80) / 80 - abs(one.choices.decay - 8) / 8
        return Trial(one, AlphaFigures(1.0, 0.1, fitness, 0.1, 0.1, 0.1, 1.0, 1.0, 9), fitness)


@pytest.mark.parametrize("budget", [2, 3, 10, 61, 100])
def test_no_more_than_the_budget_is_evaluated_and_nothing_twice(budget: int) -> None:
    hill = Hill()
    trials = search(variant("ts_mean(close, 20)"), CATALOGUE, GROUPS, budget=budget, evaluate=hill)
    assert len(hill.seen) == len(set(hill.seen)) == len(trials) == budget


def test_the_search_climbs_over_several_changes() -> None:
    first = variant("ts_mean(close, 20)")
    trials = search(first, CATALOGUE, GROUPS, budget=150, evaluate=Hill())
    assert trials[0].variant == first
    best = trials[1]
    assert (days(best.variant), best.variant.choices.decay) == (80, 8)
    assert [one.fitness for one in trials[1:]] == sorted(
        (one.fitness or 0.0 for one in trials[1:]), reverse=True
    )


def test_a_search_ends_before_its_budget_once_its_best_has_no_untried_change() -> None:
    def flat(variants: Sequence[Variant]) -> list[Trial]:
        return [Trial(one, ExpressionFault("no figures")) for one in variants]

    trials = search(variant("rank(close)"), CATALOGUE, ("none",), budget=10_000, evaluate=flat)
    assert 6 < len(trials) < 100
    assert {one.fitness for one in trials} == {None}


def test_what_has_no_figures_comes_last() -> None:
    hill = Hill()
    good, bad = variant("ts_mean(close, 80)"), variant("ts_mean(close, 20)")
    trials = [Trial(bad, ExpressionFault("x")), hill.trial(good)]
    assert [one.variant for one in ranked(trials)] == [good, bad]
