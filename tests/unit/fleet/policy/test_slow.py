"""A rung that is slow: found after ten minutes, over at once, and no false finding in a simulated week."""

import json
import random
from dataclasses import replace

import pytest

from fleet.config.schema import SEED_LADDER
from fleet.policy.events import EventKind, sentence
from fleet.policy.slow import after_rate, slow_rungs
from fleet.policy.state import FleetState
from state.codec import decode_state, default_state, encode_state

T = 1_000_000.0
START = default_state(SEED_LADDER, T)
RUNG = "llama3.2:3b"
EVERY = 20.0
"""Seconds between two calls."""


def calls(
    state: FleetState, rates: list[float], *, at: float = T, every: float = EVERY, version: str = "0.12.0"
) -> tuple[FleetState, float]:
    for rate in rates:
        at += every
        state = after_rate(state, RUNG, rate, version, at)
    return state, at


def kinds(state: FleetState) -> list[EventKind]:
    return [event.kind for event in state.events]


def test_half_the_usual_rate_for_ten_minutes_is_found_once_with_both_versions() -> None:
    state, at = calls(START, [40.0] * 100)
    state, at = calls(state, [19.0] * 31, at=at, version="0.12.3")
    assert kinds(state) == []
    state, at = calls(state, [19.0] * 300, at=at, version="0.12.3")
    (event,) = state.events
    assert event.fields == {
        "model": RUNG,
        "rate": 19.0,
        "usual": 40.0,
        "version": "0.12.3",
        "version_before": "0.12.0",
    }
    assert sentence(event).endswith(
        "gives 19 tokens per second for ten minutes; usual are 40 (Ollama 0.12.0 then, 0.12.3 now)"
    )
    assert slow_rungs(state.watch) == [RUNG]
    state, _ = calls(state, [38.0] * 5, at=at)
    assert kinds(state) == [EventKind.SLOW, EventKind.SLOW_OVER]
    assert slow_rungs(state.watch) == []


@pytest.mark.parametrize(
    ("rates", "every"),
    [
        ([21.0] * 200, EVERY),  # more than half
        ([5.0] * 29 + [40.0] * 5 + [5.0] * 29, EVERY),  # twice nine minutes
        (([5.0] * 2 + [40.0] * 3) * 50, EVERY),  # two of five
        ([5.0] * 20, 700.0),  # a call now and then says nothing about the time between
    ],
)
def test_what_is_no_finding(rates: list[float], every: float) -> None:
    state, at = calls(START, [40.0] * 100)
    state, _ = calls(state, rates, at=at, every=every)
    assert kinds(state) == []


def test_nothing_is_usual_before_twenty_calls() -> None:
    state, at = calls(START, [400.0] * 5)
    state, _ = calls(state, [4.0] * 200, at=at)
    assert kinds(state) == []


def test_a_slow_rate_is_the_usual_one_after_a_day() -> None:
    state, at = calls(START, [40.0] * 100)
    state, at = calls(state, [10.0] * 4400, at=at)
    assert kinds(state) == [EventKind.SLOW, EventKind.SLOW_OVER]
    assert "counts as usual" in sentence(state.events[-1])
    state, _ = calls(state, [4.0] * 60, at=at)
    assert kinds(state)[2:] == [EventKind.SLOW]


def test_rungs_are_measured_apart_and_their_number_is_bounded() -> None:
    state, at = calls(START, [40.0] * 100)
    for index in range(100):
        state = after_rate(state, f"other-{index}", 3.0, "", at)
    assert kinds(state) == []
    assert len(state.watch["speed"]) == 32


def test_it_lasts_over_a_restart_and_a_damaged_row_is_a_new_one() -> None:
    state, at = calls(START, [40.0] * 100)
    state, at = calls(state, [10.0] * 20, at=at)
    state = decode_state(encode_state(state, at))
    state, at = calls(state, [10.0] * 20, at=at)
    assert kinds(state) == [EventKind.SLOW]
    for row in (7, None, [], {"usual": "x", "present": [None, "nan", 1e999], "at": {}, "since": "x"}):
        damaged = replace(START, watch={"speed": {RUNG: row}})
        json.dumps(after_rate(damaged, RUNG, 5.0, "", T).watch, allow_nan=False)


@pytest.mark.slow
def test_a_week_of_an_ordinary_card_gives_no_false_finding() -> None:
    """Rates of a card that is shared now and then: noise, minutes of a busy host, nights without calls."""
    rng = random.Random(7)
    state, at, busy = START, T, False
    end = T + 7 * 86400
    while at < end:
        busy = not busy and rng.random() < 0.2  # another program takes the card for up to eight minutes
        until = at + (rng.uniform(60, 480) if busy else rng.uniform(600, 3600))
        while at < until:
            at += rng.expovariate(1 / 15)
            usual = 40.0 * (0.3 if busy else 1.0)
            state = after_rate(state, RUNG, usual * rng.lognormvariate(0, 0.25), "0.12.0", at)
        if rng.random() < 0.02:
            at += rng.uniform(3600, 8 * 3600)
    assert kinds(state) == []
