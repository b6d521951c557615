from random import Random

import pytest

from generator.llm.themes import ARMS, CALLS, ThemeKind, ThemeResults, choose_arm, new_theme, theme_of

BOTH = frozenset(ThemeKind)


def test_a_seed_holds_its_theme_for_all_of_its_calls() -> None:
    rng = Random(1)
    for arm in ARMS * 20:
        first = new_theme(arm, rng)
        themes = {theme_of(first + call) for call in range(CALLS)}
        assert len(themes) == 1
        assert themes.pop()[1] == arm
        assert 0 <= first + CALLS < 2**31


def test_every_kind_has_arms_of_different_styles() -> None:
    for kind in ThemeKind:
        assert len({arm.style for arm in ARMS if arm.kind is kind}) >= 4
    assert len(set(ARMS)) == len(ARMS)


@pytest.mark.parametrize("kind", list(ThemeKind))
def test_only_arms_of_the_kinds_are_chosen(kind: ThemeKind) -> None:
    rng = Random(1)
    assert {choose_arm(ThemeResults(), {kind}, rng).kind for _ in range(200)} == {kind}


def test_without_results_every_arm_is_chosen() -> None:
    rng = Random(1)
    assert {choose_arm(ThemeResults(), BOTH, rng) for _ in range(500)} == set(ARMS)


def test_the_arm_whose_alphas_are_admitted_is_chosen_most() -> None:
    rng, results, chosen = Random(1), ThemeResults(), []
    for _ in range(600):
        arm = choose_arm(results, BOTH, rng)
        chosen.append(arm)
        results = results.with_result(arm, admitted=rng.random() < (0.4 if arm == ARMS[3] else 0.05))
    assert chosen[300:].count(ARMS[3]) > 150


def test_an_arm_that_is_exhausted_loses_its_turn() -> None:
    rng, results = Random(1), ThemeResults()
    for _ in range(300):
        results = results.with_result(ARMS[0], admitted=True)
    for _ in range(2000):
        arm = choose_arm(results, BOTH, rng)
        results = results.with_result(arm, admitted=arm == ARMS[5] and rng.random() < 0.3)
    late = [choose_arm(results, BOTH, rng) for _ in range(100)]
    assert late.count(ARMS[0]) < 20 < late.count(ARMS[5])


def test_equal_randomness_gives_equal_choices() -> None:
    one, two = ([choose_arm(ThemeResults(), BOTH, rng) for _ in range(20)] for rng in (Random(1), Random(1)))
    assert one == two
