"""Calls that fail in a row: reported once, as soon as they are a fault, and once more when one is answered."""

from dataclasses import replace

import pytest

from fleet.config.ladder import Ladder
from fleet.config.schema import SEED_LADDER, PolicySettings
from fleet.policy.decide import decide
from fleet.policy.events import EventKind, sentence
from fleet.policy.facts import Tick
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SlowCause, Unanswered
from fleet.policy.unanswered import (
    hang_due,
    hang_found,
    hang_remedy,
    remedy,
    slow_found,
    slowness,
)
from monitor.api_calls import ApiCall
from monitor.ingest import LOG, Context, absorb_batch, decide_on, read_calls
from monitor.sources.base import LogLine
from monitor.watch.spill import SpillState
from state.codec import decode_state, default_state, encode_state, from_json
from tests.reference.ollama_log import DETECTOR, T0, slog

LIMIT = 60.0
DIED = "an error was encountered while running the model: unexpected EOF"
NO_MEMORY = "llama runner process has terminated: cudaMalloc failed: out of memory"
TIMED_OUT = "Ollama at http://127.0.0.1:11434 did not answer in time: no response"


def context(now: float = T0 + 10_000) -> Context:
    rules = Rules(Ladder(list(SEED_LADDER)), PolicySettings(threshold=1000))
    return Context(now, rules, DETECTOR, first_token=LIMIT)


def fresh() -> FleetState:
    return default_state(SEED_LADDER, T0)


def call(number: int, error: str, *, began: float, seconds: float = 1.0, status: int = 200) -> ApiCall:
    ended = T0 + began + seconds
    return ApiCall(str(number), T0 + began, ended, "llama3.2:3b", 0, status, error, seconds)


def after(calls: list[ApiCall], state: FleetState | None = None) -> FleetState:
    before = fresh() if state is None else state
    return decide_on(before, read_calls(before, calls, context()), context())


def reports(state: FleetState) -> list[EventKind]:
    kinds = {EventKind.UNANSWERED, EventKind.ANSWERED, EventKind.OLLAMA_HANGS}
    return [event.kind for event in state.events if event.kind in kinds]


def deaths(number: int, error: str = DIED, every: float = 2.0) -> list[ApiCall]:
    return [call(place, error, began=place * every) for place in range(number)]


def test_a_runner_that_dies_at_every_call_is_reported_at_the_third_and_no_more() -> None:
    assert reports(after(deaths(2))) == []
    state = after(deaths(14))
    assert reports(state) == [EventKind.UNANSWERED]
    assert state.unanswered == Unanswered(since=T0, calls=14, reason=DIED, reported=True, last=T0 + 27)
    (event,) = (one for one in state.events if one.kind is EventKind.UNANSWERED)
    assert event.fields["calls"] == 3
    assert "3 failed in a row, the last one with an error was encountered" in sentence(event)


def test_an_answered_call_ends_the_row_and_says_so_once() -> None:
    state = after([*deaths(5), call(5, "", began=20), call(6, "", began=22)])
    assert state.unanswered is None
    assert reports(state) == [EventKind.UNANSWERED, EventKind.ANSWERED]
    assert reports(after([*deaths(2), call(2, "", began=20)])) == [], (
        "a row that was no fault ends in silence"
    )


def test_failures_for_lack_of_memory_are_the_policy_s_until_they_last() -> None:
    assert reports(after(deaths(10, NO_MEMORY))) == []
    lasting = after(deaths(10, NO_MEMORY, every=10.0))
    assert reports(lasting) == [EventKind.UNANSWERED]


@pytest.mark.parametrize(
    ("apart", "expected"), [(LIMIT - 2, []), (LIMIT - 1, [EventKind.UNANSWERED])], ids=["shorter", "as long"]
)
def test_two_calls_are_a_fault_once_they_last_as_long_as_one_may_wait(
    apart: float, expected: list[EventKind]
) -> None:
    assert reports(after(deaths(2, every=apart))) == expected


# -- an Ollama that hangs


def hung(state: FleetState) -> FleetState:
    return hang_found(state, context().now, LIMIT)


def waits(number: int, seconds: float = LIMIT, status: int = 0) -> ApiCall:
    return call(number, TIMED_OUT, began=number * (seconds + 1), seconds=seconds, status=status)


def test_a_call_that_a_suspended_machine_cut_has_not_reached_its_time_out() -> None:
    """Its connection is gone at the wake-up, hours later by the wall clock."""
    cut = replace(waits(0, seconds=2 * 3600), seconds=20.0)
    state = after([cut, call(1, "no route to host", began=cut.ended - T0 + 1, seconds=5, status=0)])
    assert state.unanswered is not None
    assert not state.unanswered.suspected
    assert state.unanswered.since == cut.ended - 20
    assert reports(state) == []


def test_a_call_given_up_at_the_limit_while_ollama_answers_is_a_hang_reported_once() -> None:
    state = after([waits(0)])
    assert state.unanswered is not None
    assert state.unanswered.suspected
    assert reports(state) == [], "whether Ollama answers is asked first"
    state = hung(state)
    assert reports(state) == [EventKind.OLLAMA_HANGS]
    reason = next(one.fields["reason"] for one in state.events if one.kind is EventKind.OLLAMA_HANGS)
    assert reason.startswith("1 call got no answer, one within 1m, while it lists its models at once. ")
    assert reason.endswith(hang_remedy(""))
    assert state.unanswered is not None
    assert not state.unanswered.suspected
    state = hung(after([waits(1), waits(2), waits(3)], state))
    assert reports(state) == [EventKind.OLLAMA_HANGS]
    assert state.unanswered is not None
    assert (state.unanswered.calls, state.unanswered.hangs, state.unanswered.reported) == (4, True, True)
    state = after([call(9, "", began=999)], state)
    assert reports(state) == [EventKind.OLLAMA_HANGS, EventKind.ANSWERED]


@pytest.mark.parametrize(
    ("seconds", "status"), [(LIMIT - 1, 0), (LIMIT + 1, 500), (LIMIT + 1, 200)], ids=["soon", "500", "cut"]
)
def test_a_failure_with_an_answer_or_soon_asks_for_no_hang(seconds: float, status: int) -> None:
    state = after([waits(0, seconds, status)])
    assert state.unanswered is not None
    assert not state.unanswered.suspected
    assert hung(state) is state


PROGRESS = (
    "slot print_timing: id  0 | task 0 | prompt processing, n_tokens =     70, progress = 0.32, t =  38.22 s"
)
OLDER = "slot update_slots: id  0 | task 0 | prompt processing progress, n_past = 70, n_tokens = 70, progress = 0.320000"

MLX = 'level=INFO source=pipeline.go:204 msg="Prompt processing progress" processed=2048 total=6000'


@pytest.mark.parametrize("line", [PROGRESS, OLDER, MLX])
def test_a_prompt_that_is_still_read_is_slow_and_no_hang(line: str) -> None:
    state = absorb_batch(after([waits(0)]), LOG, [LogLine(line, T0 + 30, live=True)], context())
    ended = T0 + LIMIT
    assert slowness(state, ended, LIMIT, on_cpu=False) is SlowCause.PROMPT
    assert slowness(state, ended, LIMIT, on_cpu=True) is SlowCause.PROMPT, "a smaller prompt helps first"
    assert slowness(state, ended + LIMIT, LIMIT, on_cpu=False) is None, (
        "the line is too old to explain a wait"
    )
    assert slowness(after([waits(0)]), ended, LIMIT, on_cpu=True) is SlowCause.CPU
    assert slowness(after([waits(0)]), ended, LIMIT, on_cpu=False) is None


@pytest.mark.parametrize("seen", ["prompt_read", "loaded"])
def test_after_the_clock_was_set_back_a_hang_is_found_as_soon_as_before(seen: str) -> None:
    state, back = after([waits(0)]), T0 - 86400
    state = replace(state, watch={**state.watch, seen: T0 + LIMIT - 1})
    state = decide(state, Tick(), back, context().rules).state
    assert not hang_due(state, back + 10)
    later = back + LIMIT + 1
    assert slowness(state, later, LIMIT, on_cpu=False) is None
    assert hang_due(state, later)
    assert decide(state, Tick(), later, context().rules).state.watch == state.watch


@pytest.mark.parametrize("why", SlowCause)
def test_the_mend_of_slowness_is_no_restart(why: SlowCause) -> None:
    state = slow_found(after([waits(0), waits(1)]), why)
    assert state.unanswered is not None
    mend = remedy(state.unanswered, "docker:ollama")
    assert "does not hang" in mend
    assert "estart" not in mend
    assert "first_token_timeout" in mend
    assert decode_state(encode_state(state, T0)).unanswered == state.unanswered
    found = hung(state)
    assert found.unanswered is not None
    assert (found.unanswered.hangs, found.unanswered.slow) == (True, None), "later it hangs after all"
    assert slow_found(fresh(), why) == fresh()


def test_ollama_has_the_time_to_end_a_stuck_runner_and_to_load_another() -> None:
    state, ended = after([waits(0)]), T0 + LIMIT
    assert not hang_due(state, ended + 30)
    assert hang_due(state, ended + 45)
    reloaded = replace(state, watch={"loaded": ended + 27})
    assert not hang_due(reloaded, ended + 45)
    assert hang_due(replace(state, watch={"loaded": ended - 200}), ended + 45)
    again = after([waits(1)], reloaded)
    assert hang_due(again, T0 + 2 * LIMIT + 61), "the new runner hangs too"
    assert not hang_due(fresh(), ended + 60)


def test_a_hang_is_no_incident_and_no_reason_to_move() -> None:
    state = hung(after([waits(number) for number in range(5)]))
    assert (state.vram_error_count, state.switch, state.hold) == (0, None, None)


def test_a_new_server_does_not_hang_and_has_the_spill_show_again() -> None:
    state = hung(after([waits(0)]))
    line = slog(T0 + 5, "Listening on 127.0.0.1:11434 (version 0.33.0)")
    state = replace(state, watch={**state.watch, "spill": {"on_gpu": True, "low": 1}})
    state = absorb_batch(state, LOG, [LogLine(line, None, live=True)], context())
    assert state.unanswered == Unanswered(since=T0, calls=1, reason=TIMED_OUT, reported=True, last=T0 + LIMIT)
    spill = from_json(SpillState, state.watch["spill"])
    assert (spill.had_gpu, spill.on_gpu) == (True, False)


# -- the mend


@pytest.mark.parametrize(
    ("reason", "hangs", "source", "expected"),
    [
        (TIMED_OUT, True, "docker:ollama", "`docker restart ollama`"),
        (TIMED_OUT, True, "journal:ollama", "`systemctl restart ollama`"),
        (TIMED_OUT, True, "", "`docker restart NAME` or `systemctl restart ollama`"),
        (TIMED_OUT, False, "docker:ollama", "whether Ollama runs"),
        ("Ollama at http://x is away: connection refused", False, "", "whether Ollama runs"),
        ("no answer from Ollama at http://x: Connection refused", False, "", "whether Ollama runs"),
        (DIED, False, "docker:ollama", "The runner died: see the lines before its end in Ollama's log"),
        (
            "llama runner process has terminated: exit status 2",
            False,
            "journal:o",
            "`journalctl -u o -n 100`",
        ),
        (NO_MEMORY, False, "", "moves to a smaller model by itself"),
        ("model 'llama3.2:3b' not found", False, "", "`ollama pull`"),
        ('"tiny:2" does not support generate', False, "", "cannot read the model's file"),
        ('tensor "blk.1" offset+size (1586816) exceeds file size (1500000)', False, "", "`ollama pull`"),
        ("unknown model architecture: 'qwen3'", False, "", "update Ollama"),
        ("error loading model: missing tensor 'blk.40.ffn_down_exps.weight'", False, "", "`ollama pull`"),
        ("unable to load model: /root/.ollama/models/blobs/sha256-ff", False, "", "`ollama pull`"),
        (
            "model requires more system memory (9.4 GiB) than is available (5.3 GiB)",
            False,
            "",
            "host's memory",
        ),
        (f"{DIED}: failed to allocate CPU buffer of size 9", False, "", "host's memory"),
        (
            "cudaMalloc failed: CUDA-capable device(s) is/are busy or unavailable\nfailed to allocate CUDA0 buffer",
            False,
            "docker:o",
            "a smaller model does not help. Check `nvidia-smi`",
        ),
        ("CUDA error: device kernel image is invalid", False, "", "update the driver or Ollama"),
        ('POST predict: Post "http://127.0.0.1:336/completion": EOF', False, "", "The runner died"),
        ("model runner has unexpectedly stopped, this may be due to …", False, "", "The runner died"),
        ("HTTP 503", False, "file:/var/log/o.log", "`tail -n 100 /var/log/o.log`"),
    ],
)
def test_the_mend_goes_by_the_cause(reason: str, hangs: bool, source: str, expected: str) -> None:
    assert expected in remedy(Unanswered(T0, 3, reason, hangs=hangs), source)


# -- in the state's file


def test_the_row_survives_the_file_and_is_left_out_where_there_is_none() -> None:
    state = hung(after([*deaths(3), waits(3)]))
    assert decode_state(encode_state(state, T0)).unanswered == state.unanswered
    assert "unanswered" not in encode_state(fresh(), T0)
    assert decode_state(encode_state(fresh(), T0)).unanswered is None


def test_calls_that_time_out_sooner_than_a_runner_is_ended_show_a_hang_all_the_same() -> None:
    often = [call(number, TIMED_OUT, began=number * 5.0, seconds=LIMIT, status=0) for number in range(5)]
    assert hang_due(after(often), T0 + LIMIT + 65)
