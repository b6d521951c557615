"""What a load's tries come to: healed, failed after all, answered beside, or never resolved."""

import pytest

from monitor.incidents import GroupingRules, next_deadline
from monitor.incidents.messages import FailedCall, IncidentFound, IncidentRetracted, TimePassed
from tests.reference.ollama_log import (
    OOM,
    OTHER,
    OURS,
    T0,
    Follower,
    begins,
    evicts,
    gin,
    gives_up,
    loaded,
    runs_out,
    slog,
)

HEALED = "sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism"
RETRY = "llama-server load failed; evicting all other models and retrying once"
TAGS = {OURS: "llama3.2:3b", OTHER: "nomic-embed-text:latest"}


def count(log: Follower) -> int:
    """Return what counts in the end: found, less what was taken back."""
    counting: set[str] = set()
    for one in log.outcomes:
        if isinstance(one, IncidentFound) and one.incident.counts:
            counting.add(one.incident.id)
        elif isinstance(one, IncidentRetracted):
            counting.discard(one.incident.id)
    return len(counting)


def first_try(log: Follower) -> None:
    log.lines(T0, *begins(T0), *runs_out(), *gives_up(T0 + 0.3))
    log.lines(T0 + 0.3, slog(T0 + 0.3, RETRY, f'model=/m/{OURS} error="{OOM}"', "WARN"))


def test_a_failure_that_healed_and_then_failed_counts_once() -> None:
    log = Follower()
    log.lines(T0, *begins(T0), *runs_out())
    log.see(TimePassed(T0 + 15))
    assert count(log) == 1
    log.lines(T0 + 16, HEALED)
    assert count(log) == 0
    log.lines(T0 + 17, *runs_out(), *gives_up(T0 + 17), gin(T0 + 17.1, 500, 17.2))
    log.see(TimePassed(T0 + 40))
    assert count(log) == 1
    assert len({one.id for one in log.found}) == 1


def test_a_failure_outside_any_load_that_healed_and_then_failed_counts_once() -> None:
    log = Follower()
    log.lines(T0, runs_out()[1], HEALED, runs_out()[1])
    assert count(log) == 1


@pytest.mark.parametrize("seconds", [0.02, 0.9, 4.0])
def test_answers_of_another_model_end_no_load(seconds: float) -> None:
    log = Follower()
    log.lines(T0, *begins(T0))
    log.lines(T0 + 0.1, gin(T0 + 0.1, 200, seconds, "/api/embed"))
    for second in range(1, 9):
        log.lines(T0 + second, runs_out()[1], gin(T0 + second, 200, seconds, "/api/embed"))
    assert log.found == []
    log.lines(T0 + 9, *gives_up(T0 + 9), gin(T0 + 9.1, 500, 9.2))
    assert count(log) == len(log.found) == 1


def test_silence_after_an_announced_try_settles_nothing() -> None:
    log = Follower()
    first_try(log)
    due = next_deadline(log.state, log.rules)
    assert due is not None
    assert due >= T0 + log.rules.load_timeout
    log.see(TimePassed(T0 + 60))
    assert log.found == []
    log.lines(T0 + 61, *begins(T0 + 61), *runs_out(), *gives_up(T0 + 61.3))
    log.lines(T0 + 61.4, gin(T0 + 61.4, 500, 61.5))
    assert count(log) == len(log.found) == 1


def test_a_try_that_is_announced_and_never_made_is_a_retry() -> None:
    log = Follower()
    first_try(log)
    log.see(TimePassed(T0 + 1000))
    assert [(one.cause, one.counts) for one in log.found] == [("retry", False)]


def layout(operation: str) -> str:
    return slog(T0, "load", f'request="{{Operation:{operation} LoraPath:[]}}"').replace('"load"', "load")


def test_a_layout_search_that_found_its_layout_is_a_retry_however_silent_the_load_is() -> None:
    log = Follower()
    log.lines(T0, layout("alloc"), *runs_out()[:2])
    log.lines(T0, slog(T0, "model layout did not fit, applying backoff", "backoff=0.10"))
    log.lines(T0, layout("alloc"), layout("commit"))
    log.see(TimePassed(T0 + 200))
    assert [(one.cause, one.counts) for one in log.found] == [("retry", False)]


def test_a_commit_that_fails_after_all_counts_once() -> None:
    log = Follower()
    log.lines(T0, layout("alloc"), *runs_out()[:2])
    log.lines(T0, slog(T0, "model layout did not fit, applying backoff", "backoff=0.10"), layout("commit"))
    log.see(TimePassed(T0 + 16))
    log.lines(T0 + 17, slog(T0 + 17, "failed to commit memory for model", "memory.x=1", "WARN"))
    log.lines(T0 + 17, gives_up(T0 + 17, error="failed to commit memory for model")[1])
    assert count(log) == 1


# -- answers between two tries


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("nomic-embed-text", OOM),
        ("llama3.2:3b", "ggml_aligned_malloc: insufficient memory (attempted to allocate 4096.00 MB)"),
        ("llama3.2:3b", "an error was encountered while running the model: unexpected EOF"),
    ],
)
def test_an_answer_about_another_model_or_other_memory_between_two_tries_splits_nothing(
    model: str, error: str
) -> None:
    rules = GroupingRules(model="llama3.2:3b", blobs=frozenset({OURS}), tags=TAGS)
    log = Follower(rules)
    first_try(log)
    log.see(FailedCall("1", T0 + 0.5, T0 + 2, model, 500, error))
    log.lines(T0 + 9, *begins(T0 + 9), *runs_out(), *gives_up(T0 + 9.3))
    log.lines(T0 + 9.4, gin(T0 + 9.4, 500, 9.5))
    ours = [one for one in log.found if one.counts]
    assert len(ours) == 1
    log = Follower(rules)
    first_try(log)
    log.see(FailedCall("1", T0 + 0.5, T0 + 2, model, 500, error))
    log.lines(T0 + 9, *begins(T0 + 9), *loaded(T0 + 12))
    assert not [one for one in log.found if one.counts]


# -- lines that name no memory


VAGUE = "llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache"
HOST = "alloc_tensor_range: failed to allocate CPU buffer of size 2390753280"


def test_a_line_that_names_no_memory_waits_for_the_end_of_its_try() -> None:
    log = Follower()
    log.lines(T0, VAGUE)
    assert log.found == []
    log.lines(T0 + 0.2, gin(T0 + 0.2, 500, 3.0))
    assert count(log) == 1


def test_a_count_is_taken_back_when_the_memory_was_the_hosts() -> None:
    log = Follower()
    log.lines(T0, VAGUE)
    log.see(TimePassed(T0 + 5))
    assert count(log) == 1
    log.lines(T0 + 4, HOST)
    assert count(log) == 0


def test_a_load_that_waits_for_an_eviction_counts_nothing_however_long_the_log_is_silent() -> None:
    log = Follower()
    log.lines(T0, *evicts(T0, 1.5)[:5])
    log.see(TimePassed(T0 + 60))
    assert not log.found
    log.lines(T0 + 60, *evicts(T0, 60)[5:], slog(T0 + 64, "llama runner started in 64.00 seconds"))
    assert [(one.cause.value, one.counts) for one in log.found] == [("retry", False)]
