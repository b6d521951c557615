from dataclasses import replace
from itertools import pairwise

import pytest

from generator.domain import CallRecord, CallVerdict, Reason, Streak
from generator.llm.throttle import STANDIN_RATE, Pace, RateLimit, TokenBucket, call_verdict, other_wait


def call(status: int, error: str | None) -> CallRecord:
    return CallRecord("c", 1.0, 2.0, "m", 0, 0, "p", status, error=error)


VULKAN = (
    "llama-server process has terminated: exit status 1: alloc_tensor_range: failed to allocate Vulkan0"
    " buffer of size 336674816\nerror loading model: unable to allocate Vulkan0 buffer"
)
HOST = "llama-server process has terminated: exit status 1: mmap failed: Cannot allocate memory"
CONTEXT = (
    '{"error":{"code":400,"message":"request (4204 tokens) exceeds the available context size (4096 tokens)",'
    '"type":"exceed_context_size_error"}}'
)
OLD_FORMAT = "json: cannot unmarshal object into Go struct field GenerateRequest.format of type string"

OLD_THINK = "json: cannot unmarshal string into Go struct field GenerateRequest.think of type bool"
TRY = Reason("empty", "the replies are empty", "Update Ollama.")


@pytest.mark.parametrize(
    ("status", "error", "verdict"),
    [
        (200, None, CallVerdict.ANSWERED),
        (500, "llama runner process has terminated: cudaMalloc failed: out of memory", CallVerdict.MEMORY),
        (500, VULKAN, CallVerdict.MEMORY),
        (200, "CUDA error: out of memory", CallVerdict.MEMORY),
        (500, HOST, CallVerdict.FAILED),
        (200, "an error was encountered while running the model: unexpected EOF", CallVerdict.FAILED),
        (404, "model 'nosuch:1b' not found", CallVerdict.MISSING),
        (404, "404 page not found", CallVerdict.REFUSED),
        (401, "unauthorized", CallVerdict.REFUSED),
        (400, '"m" does not support thinking', CallVerdict.THINK),
        (
            400,
            'invalid think value: "x" (must be "high", "medium", "low", "max", true, or false)',
            CallVerdict.THINK,
        ),
        (400, OLD_THINK, CallVerdict.THINK),
        (404, "model 'qwen3-thinking' not found", CallVerdict.MISSING),
        (0, "no answer from Ollama at http://127.0.0.1:11434: connection refused", CallVerdict.AWAY),
        (0, "Ollama at http://127.0.0.1:11434 did not answer in time: timed out", CallVerdict.AWAY),
        (400, CONTEXT, CallVerdict.CONTEXT),
        (400, "the input length exceeds the context length", CallVerdict.CONTEXT),
        (500, 'invalid format: "x"; expected "json" or a valid JSON Schema object', CallVerdict.FORMAT),
        (400, "Field 'json_schema': JSON schema conversion failed", CallVerdict.FORMAT),
        (400, OLD_FORMAT, CallVerdict.FORMAT),
        (503, "server busy, please try again.  maximum pending requests exceeded", CallVerdict.FAILED),
    ],
)
def test_the_verdict_follows_status_and_text(status: int, error: str | None, verdict: CallVerdict) -> None:
    assert call_verdict(call(status, error)) is verdict


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("", CallVerdict.EMPTY),
        (" \n", CallVerdict.EMPTY),
        ("<think>Okay, the user", CallVerdict.EMPTY),
        ("I am sorry.", CallVerdict.UNUSABLE),
        ("<think>Okay</think>I am sorry.", CallVerdict.UNUSABLE),
    ],
)
def test_an_answer_without_a_valid_expression_is_empty_or_unusable(reply: str, verdict: CallVerdict) -> None:
    one = replace(call(200, None), reply=reply)
    assert call_verdict(one, usable=False) is verdict
    assert call_verdict(one, usable=True) is CallVerdict.ANSWERED


def unusable(calls: int, verdict: CallVerdict = CallVerdict.EMPTY) -> tuple[Pace, list[float]]:
    """Return the pace after this many unusable calls, and the pause after each."""
    pace, now, pauses = Pace(proven=True), 1000.0, []
    for _ in range(calls):
        streak = pace.streak.extended(TRY, started=now)
        pace = pace.after(verdict, started=now, now=now + 1.0, jitter=0.0, streak=streak)
        pauses.append(max(0.0, pace.not_before - (now + 1.0)))
        now = max(now + 1.0, pace.not_before)
    return pace, pauses


@pytest.mark.parametrize("verdict", [CallVerdict.EMPTY, CallVerdict.UNUSABLE])
def test_from_the_fifth_unusable_reply_on_the_pauses_grow_to_a_cap(verdict: CallVerdict) -> None:
    pace, pauses = unusable(14, verdict)
    assert pauses == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 120, 120, 120]
    assert pace.limit(4) == 1


def test_refusals_pause_at_least_as_long() -> None:
    _, pauses = unusable(12, CallVerdict.REFUSED)
    assert pauses[:5] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == 120.0


def test_the_first_usable_reply_ends_the_streak_and_its_pauses() -> None:
    pace, _ = unusable(12)
    now = pace.not_before
    pace = pace.after(CallVerdict.ANSWERED, started=now, now=now + 1.0, jitter=0.0)
    assert (pace.streak, pace.limit(4)) == (Streak(), 4)
    assert pace.not_before <= now + 1.0


def test_a_failure_of_the_server_neither_lengthens_nor_ends_a_streak() -> None:
    pace, _ = unusable(6)
    for verdict in (CallVerdict.AWAY, CallVerdict.MEMORY, CallVerdict.MISSING, CallVerdict.FAILED):
        pace = pace.after(verdict, started=9000.0, now=9001.0, jitter=0.0)
    assert pace.streak.calls == 6


def test_a_streak_is_reported_from_its_fifth_call_with_its_first_calls_start() -> None:
    pace, _ = unusable(4)
    assert pace.streak.row() is None
    pace, _ = unusable(6)
    assert pace.streak.row() == {
        "since": 1000.0,
        "calls": 6,
        "kind": "empty",
        "reason": "the replies are empty",
        "mend": "Update Ollama.",
    }


def test_memory_failures_pause_5_then_10_then_30_seconds_one_call_at_a_time() -> None:
    pace, waits = Pace(proven=True), []
    now = 100.0
    for _ in range(5):
        pace = pace.after(CallVerdict.MEMORY, started=now, now=now + 1.0, jitter=0.0)
        waits.append(pace.not_before - (now + 1.0))
        assert pace.limit(8) == 1
        now = pace.not_before
    assert waits == [5.0, 10.0, 30.0, 30.0, 30.0]


def test_calls_that_were_in_flight_together_are_one_failure() -> None:
    pace = Pace(proven=True).after(CallVerdict.MEMORY, started=1.0, now=2.0, jitter=0.0)
    assert pace.after(CallVerdict.MEMORY, started=1.0, now=2.1, jitter=0.0) == pace


def test_only_an_answer_to_a_later_call_resets_the_failures() -> None:
    pace = Pace(proven=True).after(CallVerdict.MEMORY, started=1.0, now=2.0, jitter=0.0)
    assert pace.after(CallVerdict.ANSWERED, started=1.5, now=3.0, jitter=0.0) == pace
    well = pace.after(CallVerdict.ANSWERED, started=7.0, now=8.0, jitter=0.0)
    assert well.limit(4) == 4
    assert well.not_before <= 8.0


def test_a_fresh_start_begins_with_one_call() -> None:
    assert Pace().limit(4) == 1
    assert Pace().not_before == float("-inf")


def test_other_failures_back_off_with_a_bound_and_jitter() -> None:
    assert [other_wait(failures, 0.0) for failures in (1, 2, 3, 4, 5, 6, 1000)] == [0.5, 1, 2, 4, 8, 10, 10]
    assert other_wait(3, 1.0) == 1.0


def test_a_memory_failure_after_others_begins_with_the_first_pause() -> None:
    pace = Pace()
    for number in range(4):
        pace = pace.after(CallVerdict.AWAY, started=float(number), now=number + 0.5, jitter=0.0)
    pace = pace.after(CallVerdict.MEMORY, started=50.0, now=51.0, jitter=0.0)
    assert pace.not_before == 56.0


def test_a_token_bucket_allows_a_burst_and_then_a_rate() -> None:
    bucket = TokenBucket(RateLimit(burst=3, every=10.0, gap=0.25), left=3, at=0.0)
    now, begun = 1.0, []
    for _ in range(6):
        now += bucket.wait(now)
        begun.append(now)
        bucket = bucket.spent(now)
    gaps = [round(after - before, 6) for before, after in pairwise(begun)]
    assert gaps[:2] == [0.25, 0.25]
    assert gaps[2] == pytest.approx(9.5)
    assert gaps[3:] == [10.0, 10.0]


def test_a_days_run_against_the_stand_in_stays_small() -> None:
    assert STANDIN_RATE.burst + 86400 / STANDIN_RATE.every < 30_000
    assert STANDIN_RATE.gap >= 0.25
