"""The stand-in BRAIN's own rules, without a network."""

import math
from typing import Any

import pytest

from standin.brain import figures
from standin.brain.faults import Board, BrainFault, BrainFaultKind
from standin.brain.settings import BrainStandinSettings
from standin.brain.world import World
from tests.reference.manual_clock import StillClock

OPERATORS = frozenset(row["name"] for row in figures.operator_rows())
FIELDS = frozenset(row["id"] for row in figures.field_rows())


def test_an_expression_has_always_the_same_figures_and_its_negative_the_opposite() -> None:
    once, again = figures.sample_figures("rank(close)"), figures.sample_figures(" rank( close ) ;")
    assert once == again
    for negative in ("-rank(close)", "reverse(rank(close))", "reverse(reverse(reverse(rank(close))))"):
        found = figures.sample_figures(negative)
        assert (found["sharpe"], found["fitness"]) == (-once["sharpe"], -once["fitness"])
        assert figures.alpha_id(negative) != figures.alpha_id("rank(close)")


@pytest.mark.parametrize("days", range(2, 40))
def test_figures_fit_together_as_brains_do(days: int) -> None:
    found = figures.sample_figures(f"ts_mean(close, {days})")
    fitness = found["sharpe"] * math.sqrt(abs(found["returns"]) / max(found["turnover"], 0.125))
    assert found["fitness"] == pytest.approx(fitness, abs=0.006)
    assert found["margin"] == pytest.approx(found["returns"] / (500 * found["turnover"]), abs=1e-6)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("rank(close)", None),
        ("x = rank(close); x + ts_mean(x, 5)", None),
        ("bucket(rank(cap), range='0,1,0.1')", None),
        ("ts_backfill(close, 5, k=1) > 3 ? 1 : -1", None),
        ("nosuch(close)", 'Attempted to use inaccessible or unknown operator "nosuch"'),
        ("rank(nosuch)", 'Attempted to use unknown variable "nosuch"'),
        ("rank(close", "Unexpected end of input"),
        ("", "Unexpected end of input"),
    ],
)
def test_mistakes(code: str, message: str | None) -> None:
    found = figures.mistake_in(code, OPERATORS, FIELDS)
    assert (found.message if found else None) == message


def row(code: str) -> dict[str, Any]:
    return {"type": "REGULAR", "settings": {}, "regular": code}


def test_slots_are_used_until_a_simulation_ends() -> None:
    clock = StillClock()
    world = World(BrainStandinSettings(seconds=10.0), Board(), clock.monotonic)
    world.take([row("rank(close)")])
    world.take([row("rank(open)"), row("rank(low)")])
    assert world.running() == 2
    clock.now += 10.0
    assert world.running() == 0
    world.settle()
    assert len(world.alphas) == 3


def test_a_quota_comes_back_after_a_day() -> None:
    clock = StillClock()
    world = World(BrainStandinSettings(quota=2), Board(), clock.monotonic)
    world.take([row("rank(close)"), row("rank(open)")])
    assert (world.quota_left(), world.quota_reset()) == (0, 86400.0)
    clock.now += 86401.0
    assert world.quota_left() == 2


def test_sessions_end() -> None:
    clock = StillClock()
    world = World(BrainStandinSettings(session=100.0), Board(), clock.monotonic)
    token = world.open_session()
    clock.now += 40.0
    assert world.session_left(token) == 60.0
    clock.now += 60.0
    assert world.session_left(token) is None
    assert world.session_left("another") is None


def test_a_fault_meets_whom_it_names_as_often_as_it_says() -> None:
    board = Board()
    board.add(BrainFault(BrainFaultKind.ERROR, method="POST", path="/simulations", times=2))
    assert board.take(BrainFaultKind.ERROR, method="GET", path="/simulations/1") is None
    assert board.take(BrainFaultKind.STALL, method="POST", path="/simulations") is None
    assert board.take(BrainFaultKind.ERROR, method="POST", path="/simulations") is not None
    assert board.take(BrainFaultKind.ERROR, method="POST", path="/simulations") is not None
    assert board.take(BrainFaultKind.ERROR, method="POST", path="/simulations") is None


def test_the_lists_are_those_of_an_ordinary_account() -> None:
    assert len(OPERATORS) == 66
    assert {"close", "sector", "cap"} <= FIELDS
