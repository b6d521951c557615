"""The policy is held to its table: nothing happens that is not in it, and every row of it can happen."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings

from fleet.config.ladder import Ladder
from fleet.config.schema import PolicySettings
from fleet.config.values import Reserve
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Switch, SwitchKind, SwitchPhase
from fleet.runtime.units import GIGABYTE
from tests.reference.drawing import PAGE, section
from tests.reference.histories import (
    _KINDS,
    START,
    Move,
    Step,
    ladder_of,
    play,
    some_hours,
    some_moves,
    some_rules,
)
from tests.reference.transitions import TRANSITIONS, Place, place_of
from tests.unit.fleet.policy.test_properties import HISTORIES

ROWS = {(row.before, row.fact, row.after) for row in TRANSITIONS}


def taken(step: Step) -> tuple[Place, str, Place]:
    before, after = place_of(step.before, step.now), place_of(step.after, step.now)
    return before, type(step.fact).__name__, after


@settings(max_examples=HISTORIES, deadline=None)
@given(rules=some_rules(), moves=some_moves)
def test_nothing_happens_that_is_not_in_the_table(rules: Rules, moves: list[Move]) -> None:
    latest = START
    for step in play(rules, moves):
        row, latest = taken(step), max(latest, step.now)
        again = (
            row[2] is Place.PAUSED and step.now < latest
        )  # a clock set back to a pause that had just ended
        assert row[0] is row[2] or row in ROWS or again, row


def _history(chance: Random) -> tuple[Rules, list[Move], FleetState]:
    policy = PolicySettings(
        threshold=chance.choice([1, 2]),
        cool_down=0.0,
        recover_after=chance.choice([0.0, 60.0]),
        max_switches_per_hour=chance.choice([1, 2, 12]),
        on_exhausted=chance.choice(["hold", "cpu", "reset"]),
        canary=chance.random() < 0.7,
        reserve=chance.choice([Reserve(), Reserve(GIGABYTE)]),
    )
    ladder = ladder_of(chance.randint(1, 4))
    waits = (0.0, 0.5, 2.0, 6.5, 40.0, 700.0, 4000.0, 7200.0)
    moves = [
        Move(chance.choice(_KINDS), chance.choice(waits), 0.0, chance.randrange(1000)) for _ in range(60)
    ]
    needs, hours = tuple(rung.size for rung in ladder), chance.choice([(), *some_hours(len(ladder))])
    return Rules(ladder, policy, needs, free=40 * GIGABYTE, hours=hours), moves, _start(chance, ladder)


def _start(chance: Random, ladder: Ladder) -> FleetState:
    """Return a fleet on its first rung, or one on its last with the first on trial."""
    if not ladder.last or chance.random() < 0.7:
        return FleetState(0, 0, "", START).on_rung(ladder[0])
    state = FleetState(0, 0, "", START).on_rung(ladder[ladder.last])
    by_hand = chance.random() < 0.5
    kind = SwitchKind.USE if by_hand else SwitchKind.PROBE
    trial = Switch(1, kind, SwitchPhase.TRIAL, ladder.last, 0, START, "", by_hand=by_hand)
    return replace(state, switch=trial)


@pytest.mark.slow
def test_every_row_of_the_table_happens() -> None:
    chance, left = Random(6), set(ROWS)
    for _ in range(3000):
        rules, moves, state = _history(chance)
        left -= {taken(step) for step in play(rules, moves, state)}
        if not left:
            return
    raise AssertionError(f"never happened: {sorted(left)}")


def test_every_phase_is_a_place() -> None:
    assert {phase.value for phase in SwitchPhase} | {"rest", "paused", "held"} == {
        place.value for place in Place
    }
    assert place_of(FleetState(0, 0, "a", 0.0), 0.0) is Place.REST


def test_the_page_shows_the_table_as_it_is() -> None:
    assert section() in PAGE.read_text("utf-8"), "python -m tests.reference.drawing brings it up to date"
