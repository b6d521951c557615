from dataclasses import replace

import pytest

from fleet.ladder import Ladder
from fleet.model import FleetState
from fleet.rules import Rules
from fleet.settings import SEED_LADDER, PolicySettings
from monitor.absorb import Call, Context, absorb_calls, absorb_lines
from monitor.hanging import HANG_MEND, HangState, after_call, verdict
from monitor.sources.base import LogLine
from monitor.spill import SpillState
from state.codec import default_state
from tests.ollama_log import DETECTOR, T0, slog

LIMIT = 60.0


def call(seconds: float, error: str, status: int = 0) -> Call:
    return Call("1", T0, T0 + seconds, "llama3.2:3b", 0, status, error)


def after(state: HangState, seconds: float, *, status: int = 0, answered: bool = False) -> HangState:
    return after_call(state, started=T0, ended=T0 + seconds, status=status, answered=answered, limit=LIMIT)


def test_a_call_given_up_at_the_limit_while_ollama_answers_is_a_hang_told_once() -> None:
    state, reason = verdict(after(HangState(), LIMIT), LIMIT, answers=True)
    assert reason == f"1 call got no answer within 1m, while it tells its models at once. {HANG_MEND}"
    assert verdict(after(state, LIMIT), LIMIT, answers=True)[1] is None


def test_the_row_is_counted_and_an_answer_ends_it() -> None:
    state = after(after(HangState(), LIMIT), LIMIT + 5)
    assert (state.calls, state.since) == (2, T0)
    told, reason = verdict(state, LIMIT, answers=True)
    assert str(reason).startswith("2 calls ")
    assert after(told, 1, answered=True) == HangState()


@pytest.mark.parametrize(
    ("seconds", "status"), [(LIMIT - 1, 0), (LIMIT + 1, 500), (LIMIT + 1, 200)], ids=["soon", "500", "cut"]
)
def test_a_failure_with_an_answer_or_soon_says_nothing(seconds: float, status: int) -> None:
    assert after(HangState(), seconds, status=status) == HangState()


def test_a_server_that_answers_nothing_at_all_is_away_and_does_not_hang() -> None:
    assert verdict(HangState(1, T0), LIMIT, answers=False)[1] is None


@pytest.mark.parametrize("damaged", [None, 3, {}, {"calls": "x"}, {"calls": None, "told": 1}])
def test_what_is_damaged_in_the_state_takes_its_default(damaged: object) -> None:
    assert HangState.of({"hanging": damaged}) == HangState()


# -- in the fleet's state


def context() -> Context:
    rules = Rules(Ladder(list(SEED_LADDER)), PolicySettings())
    return Context(T0 + 1000, rules, DETECTOR, first_token=LIMIT)


def fresh() -> FleetState:
    return default_state(SEED_LADDER, T0)


def test_a_hang_is_no_incident_and_no_reason_to_move() -> None:
    lost = [replace(call(LIMIT, "Ollama did not answer in time"), id=str(n)) for n in range(5)]
    state = absorb_calls(fresh(), lost, context())
    assert HangState.of(state.watch).calls == 5
    assert (state.vram_error_count, state.switch, state.hold) == (0, None, None)
    answered = absorb_calls(state, [call(2, "", 200)], context())
    assert HangState.of(answered.watch) == HangState()


def test_a_new_server_begins_anew() -> None:
    state = absorb_calls(fresh(), [call(LIMIT, "Ollama did not answer in time")], context())
    line = slog(T0 + 5, "Listening on 127.0.0.1:11434 (version 0.33.0)")
    state = replace(state, watch={**state.watch, "spill": {"on_gpu": True, "low": 1}})
    state = absorb_lines(state, [LogLine(line, None, live=True)], context())
    assert HangState.of(state.watch) == HangState()
    spill = SpillState.from_json(state.watch["spill"])
    assert (spill.had_gpu, spill.on_gpu) == (True, False)
