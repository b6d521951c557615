"""The policy's states, closed: every invariant holds in each that can be reached, and wrong lines are found."""

import re
from random import Random

import pytest

from fleet.config.schema import PolicySettings
from tests.reference.drawing import PAGE, invariants
from tests.reference.histories import _KINDS, Move, play
from tests.space.invariants import INVARIANTS
from tests.space.search import BrokenInvariantError, Search
from tests.space.seeded_faults import SEEDED_FAULTS, SeededFault, planted
from tests.space.settings import FLAGS, choices, rules_of
from tests.space.world import World, settled

LONG = {"on_exhausted=cpu"}
"""Flags with which one rung has more worlds than a quick test visits: without the GPU it is a second rung."""


@pytest.mark.parametrize("flags", choices(1), ids=lambda flags: flags[0] if flags else "none")
def test_one_rung_is_closed_with_each_flag(flags: tuple[str, ...]) -> None:
    search = Search(rules_of(1, *flags)).run(worlds=300)
    assert search.closed or LONG & set(flags)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_one_rung_is_closed_with_each_pair_of_flags() -> None:
    for flags in choices(2):
        if not LONG & set(flags):
            assert Search(rules_of(1, *flags)).run(worlds=1500).closed, flags


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_rungs_are_closed() -> None:
    assert Search(rules_of(2)).run().closed


@pytest.mark.slow
@pytest.mark.parametrize("flags", choices(1)[1:], ids=lambda flags: flags[0])
def test_two_rungs_hold_as_far_as_a_second_reaches(flags: tuple[str, ...]) -> None:
    assert Search(rules_of(2, *flags)).run(seconds=1).worlds


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_rungs_hold_as_far_as_two_minutes_reach() -> None:
    """The bound is processor time."""
    assert Search(rules_of(3)).run(seconds=120).worlds


@pytest.mark.slow
@pytest.mark.parametrize("fault", SEEDED_FAULTS, ids=lambda one: f"{one.module}: {one.wrong.strip()[:40]}")
def test_a_wrong_line_is_found(fault: SeededFault) -> None:
    with planted(fault), pytest.raises(BrokenInvariantError):
        Search(rules_of(fault.rungs, *fault.flags)).run(worlds=20_000)


def test_a_wrong_line_breaks_the_invariant_that_speaks_of_it() -> None:
    fault = SeededFault(
        "decide", "last_finished=finished, hold=None)", "last_finished=finished, hold=state.hold)"
    )
    with planted(fault), pytest.raises(BrokenInvariantError) as found:
        Search(rules_of(1)).run()
    assert found.value.invariant == "an_answer_ends_the_hold"
    assert found.value.way[0] == "start"
    assert Search(rules_of(1)).run().closed, "the right code is back"


def test_the_wrong_lines_are_many_and_each_is_the_policys() -> None:
    assert len(SEEDED_FAULTS) >= 20
    for fault in SEEDED_FAULTS:
        with planted(fault):
            pass


def test_random_histories_stay_within_the_worlds_that_were_found() -> None:
    """The abstraction leaves nothing out: what real times and incidents lead to is among the worlds."""
    rules = rules_of(1)
    closed = Search(rules).run()
    states = {key[1:] for key in closed.worlds}
    chance = Random(3)
    kinds = [kind for kind in _KINDS if kind not in {"pause", "resume", "card"}]  # see test_caps
    for _ in range(40):
        moves = [
            Move(
                chance.choice(kinds),
                chance.choice((0.0, 2.0, 40.0, 700.0, 4000.0)),
                0.0,
                chance.randrange(1000),
            )
            for _ in range(60)
        ]
        for step in play(rules, moves):
            world = settled(World(step.after), step.now, rules)
            assert world.key[1:] in states, step.fact


def test_every_flag_of_the_policy_is_searched() -> None:
    """Durations need none, since a timer may run out at any moment; so do settings that the policy does not read."""
    searched = {name for changes in FLAGS.values() for name in changes}
    durations = {"window", "recover_cap", "incident_gap", "check_interval"}
    elsewhere = {"causes", "spill_share"}
    assert set(PolicySettings.__dataclass_fields__) <= searched | durations | elsewhere


def test_the_page_lists_the_invariants() -> None:
    assert invariants() in PAGE.read_text("utf-8"), "python -m tests.reference.drawing brings it up to date"
    assert len(re.findall(r"^\| `\w+` +\|", invariants(), flags=re.MULTILINE)) == len(INVARIANTS) + 1
