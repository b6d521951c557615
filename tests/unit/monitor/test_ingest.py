"""Exactly once: log and calls in any order of arrival, and a crash before any commit, give the same count."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.config.schema import SEED_LADDER, PolicySettings
from fleet.policy.events import EventKind
from fleet.policy.facts import Fact, PauseAsked, ResumeAsked, TrialEnded, UnloadBegins
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, PastSwitch, Switch, SwitchKind, SwitchPhase
from monitor.ingest import (
    LOG,
    ApiCall,
    Context,
    absorb_batch,
    absorb_fact,
    absorb_presence,
    absorb_time,
    deadline,
    decide_on,
    parse_call,
    read_calls,
)
from monitor.sources.base import LogLine
from state.codec import decode_state, default_state, encode_state
from tests.reference.histories import running
from tests.reference.ollama_log import (
    DETECTOR,
    OOM,
    OURS,
    T0,
    alone,
    begins,
    failed_load,
    gin,
    gives_up,
    loaded,
    not_recovered,
    runs_out,
    slog,
)

EXAMPLES = int(os.environ.get("FLEET_FUZZ", "60"))
APART = 150.0  # more than an API error waits for lines of its failure
EOF = "an error was encountered while running the model: unexpected EOF"
RUNTIME = "runtime OOM detected; expiring loaded models to clear memory before next request"
RETRY = "llama-server load failed; evicting all other models and retrying once"
RULES = Rules(SEED_LADDER, replace(PolicySettings(), threshold=1000))


@dataclass(frozen=True, slots=True)
class Item:
    """Something to be read: a line of the log, stamped or not, or a call; printed at `at`."""

    at: float
    what: str | ApiCall


def call(at: float, seconds: float, error: str) -> Item:
    return Item(
        at, ApiCall(f"c{at}", at - seconds, at, "llama3.2:3b", 0, 500 if error else 200, error, seconds)
    )


def printed(at: float, *lines: str) -> list[Item]:
    return [Item(at, line) for line in lines]


def load_that_fails(at: float) -> list[Item]:
    lines = failed_load(at)
    return [*printed(at + 0.2, *lines[:10]), *printed(at + 0.4, *lines[10:]), call(at + 0.41, 0.42, OOM)]


def death_in_a_request(at: float) -> list[Item]:
    ended = slog(at, "llama-server terminated", 'error="signal: aborted" exit=-1', "ERROR")
    said = slog(at, RUNTIME, f'model={OURS} error="CUDA error: out of memory"', "WARN")
    return [*printed(at, alone(), ended, said, gin(at, 500, 9.0)), call(at + 0.01, 9.0, EOF)]


def death_reported_by_both(at: float) -> list[Item]:
    error = "an error was encountered while running the model: CUDA error: out of memory"
    return [*printed(at, alone(), gin(at, 500, 9.0)), call(at + 0.01, 9.0, error)]


def two_tries(at: float) -> list[Item]:
    first = [*begins(at), *runs_out(), *gives_up(at + 0.3), slog(at + 0.31, RETRY, 'error="x"', "WARN")]
    again = [*begins(at + 9), *runs_out(), *gives_up(at + 9.3), gin(at + 9.4, 500, 9.5)]
    return [*printed(at + 0.3, *first), *printed(at + 9.4, *again), call(at + 9.41, 9.5, OOM)]


def a_try_that_helps(at: float) -> list[Item]:
    first = [*begins(at), *runs_out(), *gives_up(at + 0.3), slog(at + 0.31, RETRY, 'error="x"', "WARN")]
    again = [*begins(at + 9), *loaded(at + 9.3), gin(at + 9.4, 200, 9.5)]
    return [*printed(at + 0.3, *first), *printed(at + 9.4, *again), call(at + 9.41, 9.5, "")]


def memory_that_stays_away(at: float) -> list[Item]:
    return [Item(at + n / 4, line) for n, line in enumerate(not_recovered(at))]


def a_spill(at: float) -> list[Item]:
    lines = [
        *begins(at),
        "load_tensors: offloaded 9/29 layers to GPU",
        *loaded(at + 1)[1:],
        gin(at + 2, 200, 2.5),
    ]
    return [*printed(at + 2, *lines), call(at + 2.01, 2.5, "")]


def only_the_answer(at: float) -> list[Item]:
    return [call(at, 4.0, OOM)]


def nothing_of_memory(at: float) -> list[Item]:
    return [*printed(at, gin(at, 500, 4.0)), call(at, 4.0, EOF)]


def a_good_answer(at: float) -> list[Item]:
    return [*printed(at, gin(at, 200, 4.0)), call(at, 4.0, "")]


COURSES = (
    (load_that_fails, 1),
    (death_in_a_request, 1),
    (death_reported_by_both, 1),
    (two_tries, 1),
    (a_try_that_helps, 0),
    (memory_that_stays_away, 1),
    (a_spill, 0),
    (only_the_answer, 1),
    (nothing_of_memory, 0),
    (a_good_answer, 0),
)


def called(state: FleetState, call: ApiCall, context: Context) -> FleetState:
    return decide_on(state, read_calls(state, [call], context), context)


def read(state: FleetState, item: Item, now: float, *, live: bool) -> FleetState:
    context = Context(now, RULES, DETECTOR)
    if isinstance(item.what, ApiCall):
        return called(state, item.what, context)
    return absorb_batch(state, LOG, [LogLine(item.what, None, live=live)], context)


def through(state: FleetState, until: float) -> FleetState:
    """Let time pass up to a moment, looking whenever the grouper wants to."""
    for _ in range(100):
        due = deadline(state, Context(until, RULES, DETECTOR))
        if due is None or due > until:
            break
        state = absorb_time(state, Context(max(due, T0), RULES, DETECTOR))
    return state


def absent(state: FleetState, since: float, back: float) -> FleetState:
    """Let a monitor be killed, and begin again later: it waits until the log is followed, then reads it."""
    state = absorb_presence(state, Context(since, RULES, DETECTOR), away=True)
    state = through(state, back)
    return absorb_presence(state, Context(back, RULES, DETECTOR), away=False)


def arrivals(items: list[Item], lag_log: float, lag_calls: float) -> Iterator[tuple[float, Item]]:
    """In the order in which they are read: each stream keeps its own, and comes so much later."""
    late = [(each.at + (lag_calls if isinstance(each.what, ApiCall) else lag_log), each) for each in items]
    return iter(sorted(late, key=lambda pair: pair[0]))


def counted(
    items: list[Item], *, lags: tuple[float, float], batch: int, crashes: frozenset[int], down: float
) -> tuple[int, FleetState]:
    """Read everything in batches of so many items; a crash before a commit loses what was read, to read it again.

    A monitor that crashed is away for `down` seconds; what was printed meanwhile is read late.
    """
    order = list(arrivals(items, *lags))
    state = default_state(SEED_LADDER, T0 - 1)
    back = T0 - 1.0
    for number, start in enumerate(range(0, len(order), batch)):
        part = order[start : start + batch]
        if number in crashes:
            back = max(back, part[-1][0]) + down
            state = absent(state, part[0][0], back)
        for at, item in part:
            state = through(state, max(at, back))
            state = read(state, item, max(at, back), live=at > back)
        state = decode_state(encode_state(state, part[-1][0]))
    state = through(state, max(order[-1][0], back) + 1000 if order else T0)
    counted_events = [
        event for event in state.events if event.kind is EventKind.INCIDENT and event.fields["counted"]
    ]
    return len(counted_events), state


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    kinds=st.lists(st.integers(0, len(COURSES) - 1), max_size=5),
    lags=st.tuples(st.floats(0, 1.2), st.floats(0, 1.2)),
    batch=st.integers(1, 9),
    crashes=st.frozensets(st.integers(0, 40), max_size=4),
    down=st.sampled_from([2.0, 60.0, 900.0]),
)
def test_each_failure_counts_once(
    kinds: list[int], lags: tuple[float, float], batch: int, crashes: frozenset[int], down: float
) -> None:
    items = [item for n, kind in enumerate(kinds) for item in COURSES[kind][0](T0 + n * APART)]
    number, _ = counted(items, lags=lags, batch=batch, crashes=crashes, down=down)
    assert number == sum(COURSES[kind][1] for kind in kinds)


def test_the_reason_of_a_failed_call_is_a_line_of_whole_words() -> None:
    error = "llama runner process has terminated: CUDA error\\n  current device: 0, in function alloc " * 4
    row = {
        "id": "1",
        "started": 1.0,
        "ended": 2.0,
        "model": "m",
        "switches": 0,
        "status": 500,
        "error": error,
    }
    ended = parse_call(json.dumps(row), T0)
    state = called(default_state(SEED_LADDER, T0), ended, Context(T0, RULES, DETECTOR))
    assert state.unanswered is not None
    reason = state.unanswered.reason
    assert "CUDA error   current device" in reason
    assert len(reason) <= 200
    assert error.replace("\\n", " ").startswith(reason.removesuffix("…") + " ")


def test_an_incident_whose_count_was_taken_back_counts_again_when_its_last_try_fails() -> None:
    healed = "sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism"
    state = default_state(SEED_LADDER, T0)

    def follow(state: FleetState, at: float, *lines: str) -> FleetState:
        return absorb_batch(
            state, LOG, [LogLine(line, at, True) for line in lines], Context(at, RULES, DETECTOR)
        )

    state = absorb_time(follow(state, T0, *begins(T0), *runs_out()), Context(T0 + 15.1, RULES, DETECTOR))
    assert state.vram_error_count == 1
    state = follow(state, T0 + 16, healed)
    assert state.vram_error_count == 0
    state = follow(state, T0 + 17, *runs_out(), *gives_up(T0 + 17), gin(T0 + 17.1, 500, 17.2))
    state = absorb_time(state, Context(T0 + 60, RULES, DETECTOR))
    assert follow(state, T0 + 400, "x").vram_error_count == 1


@pytest.mark.parametrize("back", [30.0, 3600.0, 86400.0])
def test_a_failure_in_a_silent_load_counts_soon_after_the_clock_was_set_back(back: float) -> None:
    lines = [LogLine(line, None, live=True) for line in (*begins(T0), *runs_out())]
    state = absorb_batch(default_state(SEED_LADDER, T0), LOG, lines, Context(T0, RULES, DETECTOR))
    now = Context(T0 + 5 - back, RULES, DETECTOR)
    state = absorb_time(state, now)
    assert state.vram_error_count == 0
    due = deadline(state, now)
    assert due is not None
    assert due - now.now == 15.0
    assert absorb_time(state, Context(due, RULES, DETECTOR)).vram_error_count == 1


@pytest.mark.parametrize(
    ("error", "moves"),
    [
        ("llama runner process has terminated: ggml_aligned_malloc: insufficient memory (4096.00 MB)", False),
        ("llama runner process has terminated: cudaMalloc failed: out of memory", True),
    ],
    ids=["the host's", "the GPU's"],
)
def test_a_new_model_that_lacks_the_hosts_memory_moves_nothing(error: str, *, moves: bool) -> None:
    """No smaller model on the GPU helps against that."""
    rules = Rules(SEED_LADDER)
    switch = Switch(1, SwitchKind.DOWNGRADE, SwitchPhase.VERIFY, 0, 1, T0, "why", restarted=T0)
    state = replace(running(rules, 1), switch=switch)
    for number, at in enumerate((T0 + 10, T0 + 25)):
        ended = ApiCall(str(number), at - 2, at, "phi3:mini", state.switches, 500, error, 2.0)
        state = called(state, ended, Context(at, rules, DETECTOR))
    assert (state.switch is not None) is moves
    assert state.current_model_index == 1
    assert any(event.kind is EventKind.VERIFY_FAILED for event in state.events) is moves


@pytest.mark.parametrize("odd", [0, "x", [None], [1], {}])
def test_odd_kept_lines_of_an_earlier_state_cost_no_incident(odd: object) -> None:
    failure = {"number": 1, "first": T0, "last": T0, "lines": odd}
    state = replace(default_state(SEED_LADDER, T0), open={"number": 2, "failures": [failure]})
    line = LogLine("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory", time=T0)
    after = absorb_batch(state, LOG, [line], Context(T0, Rules(), DETECTOR))
    after = absorb_time(after, Context(T0 + 600, Rules(), DETECTOR))
    [incident] = [event for event in after.events if event.kind is EventKind.INCIDENT]
    assert incident.fields["lines"] == [line.text]


def test_an_incident_has_its_first_three_lines_and_no_others() -> None:
    lines = [
        LogLine(line, None, live=True)
        for line in (*begins(T0), *runs_out(), *gives_up(T0), *failed_load(T0 + 60))
    ]
    state = default_state(SEED_LADDER, T0)
    for line in lines:
        state = absorb_batch(state, LOG, [line], Context(T0, RULES, DETECTOR))
    state = absorb_time(state, Context(T0 + 600, RULES, DETECTOR))
    first, second = [event.fields["lines"] for event in state.events if event.kind is EventKind.INCIDENT]
    assert (len(first), len(second)) == (3, 3)
    earlier = len((*begins(T0), *runs_out(), *gives_up(T0)))
    assert set(first) <= {line.text for line in lines[:earlier]}
    assert set(second) <= {line.text for line in lines[earlier:]}


ON_TRIAL = Switch(1, SwitchKind.UPGRADE, SwitchPhase.TRIAL, 1, 0, T0 - 600, "why", by_hand=True)
DONE = PastSwitch(SwitchKind.DOWNGRADE, "llama3.2:3b", "phi3:mini", T0, "why")


@pytest.mark.parametrize(("after", "ours"), [(5.1, True), (60.0, False)])
@pytest.mark.parametrize(
    ("moved", "facts"),
    [
        ({"last_switch": DONE}, []),
        # The trial waited for a running call, and is over before Ollama gives up waiting for the memory.
        ({"switch": ON_TRIAL}, [UnloadBegins(), TrialEnded(1, passed=False, reason="cudaMalloc failed")]),
        ({"switch": ON_TRIAL}, [TrialEnded(1, passed=False, reason="it would spill")]),
        ({}, [PauseAsked(None, "a game"), ResumeAsked()]),
        ({}, [UnloadBegins()]),
    ],
    ids=["committed", "tried", "tried-model", "paused", "reloaded"],
)
def test_memory_that_comes_back_slowly_after_an_unload_of_the_fleets_is_its_own_doing(
    moved: dict[str, Any], facts: list[Fact], after: float, *, ours: bool
) -> None:
    rules = Rules(SEED_LADDER, replace(PolicySettings(), cool_down=0.0))
    state = replace(default_state(SEED_LADDER, T0), **moved)
    for fact in facts:
        state = absorb_fact(state, fact, Context(T0, rules, DETECTOR))
    lines = [LogLine(line, T0 + after) for line in not_recovered(T0 + after)]
    state = absorb_batch(state, LOG, lines, Context(T0 + after, rules, DETECTOR))
    [incident] = [event.fields for event in state.events if event.kind is EventKind.INCIDENT]
    assert (incident["cause"], incident["reason"] == "the unload was ours") == ("not_recovered", ours)
