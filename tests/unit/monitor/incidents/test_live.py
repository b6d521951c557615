"""Reports and their times while the log is followed: deadlines, API errors, unloads by the fleet."""

import json
from dataclasses import replace

import pytest

from monitor.incidents import GroupingRules, GroupState, next_deadline
from monitor.incidents.messages import (
    FailedCall,
    GpuFound,
    Heard,
    IncidentRetracted,
    Line,
    LoadFinished,
    LogAway,
    LogBack,
    ServerStarted,
    TimePassed,
)
from monitor.incidents.state import Failure
from state.codec import from_json, to_json
from tests.reference.ollama_log import (
    OOM,
    OURS,
    T0,
    Follower,
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

EOF = "an error was encountered while running the model: unexpected EOF"


def follow(*, model: str = "", **rules: float) -> Follower:
    return Follower(GroupingRules(model=model, **rules))  # type: ignore[arg-type]  # all are seconds


def api(
    started: float, ended: float, error: str = OOM, model: str = "llama3.2:3b", identity: str = "1"
) -> FailedCall:
    return FailedCall(identity, started, ended, model, 500, error)


def test_a_failure_outside_any_load_counts_at_once() -> None:
    log = follow()
    log.lines(T0, alone())
    assert log.counted == 1
    log.lines(T0 + 1, alone())
    assert log.counted == 1
    assert log.found[0].id == "1-1795000000000"


def test_a_failure_inside_a_load_waits_for_its_end() -> None:
    log = follow()
    log.lines(T0, *begins(T0), *runs_out())
    assert log.found == []
    log.lines(T0 + 0.3, *gives_up(T0 + 0.3))
    assert log.found == []
    log.lines(T0 + 0.4, gin(T0 + 0.4))
    assert log.counted == 1


def test_load_failed_without_a_word_of_another_try_counts_shortly_after() -> None:
    log = follow()
    log.lines(T0, *begins(T0), *runs_out(), *gives_up(T0))
    due = next_deadline(log.state, log.rules)
    assert due == T0 + log.rules.retry_grace
    log.see(TimePassed(due - 0.1))
    assert log.counted == 0
    log.see(TimePassed(due))
    assert log.counted == 1


def test_load_failed_for_what_ollama_never_retries_counts_at_once() -> None:
    log = follow()
    log.lines(T0, *begins(T0), *runs_out())
    log.lines(T0, gives_up(T0, error="error loading model: unable to allocate CUDA0 buffer")[1])
    assert log.counted == 1


def test_a_silent_load_is_counted_for_good() -> None:
    log = follow()
    log.lines(T0, *begins(T0), *runs_out())
    assert next_deadline(log.state, log.rules) == T0 + 15
    log.see(TimePassed(T0 + 14.9))
    assert log.counted == 0
    log.see(TimePassed(T0 + 15))
    assert log.counted == 1
    log.lines(T0 + 16, *runs_out(), *gives_up(T0 + 16), gin(T0 + 16, 500, 16.1))
    assert log.counted == 1
    assert len(log.found) == 1


def test_other_lines_and_unheard_ones_keep_a_load_from_being_silent() -> None:
    log = follow()
    log.lines(T0, *begins(T0), *runs_out())
    log.see(Heard(T0 + 10), TimePassed(T0 + 20))
    assert log.found == []
    log.lines(T0 + 21, slog(T0 + 21, "waiting for llama-server to become available"))
    log.see(TimePassed(T0 + 35))
    assert log.found == []
    log.see(TimePassed(T0 + 36))
    assert log.counted == 1


def test_requests_about_other_things_do_not_break_the_silence() -> None:
    log = follow()
    log.lines(T0, *begins(T0), *runs_out())
    log.lines(T0 + 10, gin(T0 + 10, 200, 0.001, "/api/show"))
    log.see(TimePassed(T0 + 15))
    assert log.counted == 1


def test_a_load_that_outlives_ollamas_time_out_is_over() -> None:
    log = follow()
    log.lines(T0, *begins(T0), *runs_out())
    for second in range(10, 300, 10):
        log.lines(T0 + second, slog(T0 + second, "waiting for llama-server to become available"))
    assert log.found == []
    log.lines(T0 + 301, slog(T0 + 301, "waiting for llama-server to become available"))
    assert log.counted == 1


def test_a_retry_that_succeeds_is_reported_as_healed_and_never_counts() -> None:
    log = follow()
    log.lines(T0, *begins(T0), *runs_out(), *gives_up(T0))
    log.lines(
        T0,
        slog(T0, "model load failed; evicting all other models and retrying once", "", "WARN"),
    )
    log.see(TimePassed(T0 + 9))
    log.lines(T0 + 10, *begins(T0 + 10), *loaded(T0 + 12))
    assert [(i.kind, i.cause, i.counts) for i in log.found] == [("soft", "retry", False)]


def test_what_was_counted_and_healed_after_all_is_said_to_be() -> None:
    log = follow()
    log.lines(T0, "ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 1914513024")
    assert log.counted == 1
    log.lines(T0, "sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism")
    healed = [each for each in log.outcomes if isinstance(each, IncidentRetracted)]
    assert [each.incident.id for each in healed] == [log.found[0].id]


def test_lesser_incidents_are_reported_when_the_gap_is_over() -> None:
    log = follow()
    log.lines(T0, "load_tensors: offloaded 11/33 layers to GPU")
    assert log.found == []
    assert next_deadline(log.state, log.rules) == T0 + 5
    log.see(TimePassed(T0 + 5))
    assert [i.cause for i in log.found] == ["spill"]
    assert next_deadline(log.state, log.rules) is None


def test_our_own_clock_closes_nothing_for_the_next_line_may_be_held_up() -> None:
    log = follow()
    log.lines(T0, alone())
    log.see(TimePassed(T0 + 3600))
    assert log.closed == []
    said = "runtime OOM detected; expiring loaded models to clear memory before next request"
    log.see(Line(slog(T0 + 0.1, said, f'model={OURS} error="CUDA error: out of memory"', "WARN")))
    assert log.closed == []
    log.lines(T0 + 3600, slog(T0 + 3600, "starting llama-server"))
    assert [(i.cause, i.last) for i in log.closed] == [("runner_died", T0 + 0.1)]
    assert log.counted == 1


def test_while_the_log_is_away_nothing_is_reported_and_then_each_wait_begins_anew() -> None:
    log = follow()
    log.lines(T0, *begins(T0), *runs_out())
    log.see(LogAway(), TimePassed(T0 + 900))
    assert log.found == []
    assert next_deadline(log.state, log.rules) is None
    log.see(LogBack(T0 + 1000))
    assert next_deadline(log.state, log.rules) == T0 + 1015
    log.see(TimePassed(T0 + 1014))
    assert log.found == []
    log.see(Line(slog(T0 + 0.3, "llama-server load failed; evicting all other models and retrying once")))
    log.see(*(Line(line) for line in [*begins(T0 + 9), *loaded(T0 + 10)]))
    assert [(i.cause, i.counts) for i in log.found] == [("retry", False)]


def test_loads_servers_and_gpus_are_outcomes() -> None:
    log = follow()
    compute = 'id=0 library=CUDA name=CUDA0 description="RTX 3060" total="12.0 GiB"'
    log.lines(T0, slog(T0, "Listening on 127.0.0.1:11434 (version 0.33.0)"))
    log.lines(T0, slog(T0, "inference compute", compute), *begins(T0), *loaded(T0 + 2))
    log.lines(T0, slog(T0, "inference compute", 'id=cpu library=cpu name=cpu total="23.5 GiB"'))
    assert [type(each) for each in log.outcomes] == [
        ServerStarted,
        GpuFound,
        LoadFinished,
        GpuFound,
    ]
    assert log.outcomes[1] == GpuFound(True, 12 * 2**30)
    assert [each.present for each in log.outcomes if isinstance(each, GpuFound)] == [True, False]


# -- API errors


@pytest.mark.parametrize("order", ["log first", "api first", "api in the middle"])
def test_an_api_error_and_the_log_lines_of_one_failure_are_one(order: str) -> None:
    log, lines = follow(), failed_load(T0)
    place = {"log first": len(lines), "api first": 0, "api in the middle": 7}[order]
    log.lines(T0, *lines[:place])
    log.see(api(T0 - 0.1, T0 + 0.4))
    log.lines(T0, *lines[place:])
    assert log.counted == len(log.found) == 1


def test_an_api_error_of_memory_counts_without_the_log() -> None:
    log = follow()
    log.see(api(T0, T0 + 3))
    assert log.counted == 1
    assert log.found[0].first_line == 0


def test_concurrent_requests_that_one_death_takes_along_are_one_without_the_log() -> None:
    log = follow()
    log.see(api(T0, T0 + 3, identity="1"), api(T0 + 1, T0 + 3.1, identity="2"))
    assert log.counted == 1
    log.see(api(T0 + 10, T0 + 11, identity="3"))
    assert log.counted == 2


def test_two_queued_requests_whose_loads_both_fail_are_two() -> None:
    log = follow()
    log.lines(T0, *failed_load(T0))
    log.see(api(T0 - 0.1, T0 + 0.4, identity="1"))
    log.lines(T0 + 1, *failed_load(T0 + 1))
    log.see(api(T0 - 0.1, T0 + 1.4, identity="2"))
    assert log.counted == 2


def test_an_error_without_memory_text_counts_only_if_the_log_says_so() -> None:
    log = follow()
    log.see(api(T0, T0 + 3, EOF))
    assert log.found == []
    log.lines(T0 + 2.9, alone())
    log.see(api(T0, T0 + 3, EOF))
    assert log.counted == len(log.found) == 1


def test_a_death_that_is_logged_only_at_the_next_request_is_the_same() -> None:
    log = follow()
    log.see(api(T0, T0 + 3, "CUDA error: out of memory"))
    late = slog(T0 + 30, "llama-server process no longer running",
                'sys=6 string="signal: aborted" error="CUDA error: out of memory"', "WARN")  # fmt: skip
    log.see(TimePassed(T0 + 20))
    log.lines(T0 + 30, late)
    assert log.counted == len(log.found) == 1


def test_an_api_error_of_the_hosts_memory_does_not_count() -> None:
    log = follow()
    log.see(api(T0, T0 + 3, "error loading model: mmap failed: Cannot allocate memory"), TimePassed(T0 + 10))
    assert [(i.kind, i.counts) for i in log.found] == [("sysmem", False)]


def test_an_api_error_of_another_model_does_not_count() -> None:
    log = follow(model="phi3:mini")
    log.see(api(T0, T0 + 3, model="llama3.2:3b"), api(T0 + 20, T0 + 21, model="phi3:mini"))
    assert [i.counts for i in log.found] == [False, True]


# -- unloads


def test_memory_slow_to_come_back_after_an_unload_of_ours_does_not_count() -> None:
    log = Follower(GroupingRules(unloads=(T0,)))
    log.lines(T0 + 5.1, *not_recovered(T0 + 5.1))
    assert [(i.cause, i.counts, i.reason) for i in log.found] == [
        ("not_recovered", False, "the unload was ours")
    ]
    log.lines(T0 + 60, *not_recovered(T0 + 60))
    assert [i.counts for i in log.found] == [False, True]


# -- state


def test_the_state_goes_to_json_and_back() -> None:
    log = follow()
    log.lines(T0, alone(), *begins(T0), *runs_out(), *gives_up(T0))
    log.see(api(T0 + 30, T0 + 31))
    row = to_json(log.state)
    assert json.loads(json.dumps(row)) == row
    assert from_json(GroupState, row) == log.state


def test_a_state_of_a_newer_or_damaged_kind_is_read_as_far_as_it_goes() -> None:
    log = follow()
    log.lines(T0, alone(), *begins(T0))
    data = to_json(log.state) | {"novelty": 1}
    data["load"] |= {"more": [1]}
    assert from_json(GroupState, data) == log.state
    assert from_json(GroupState, {"number": 7, "load": 3, "failures": [{"number": "x"}, 5]}) == GroupState(
        number=7
    )
    for damaged in (None, [], "x", 3, {"number": None, "stamps": {"last": "soon"}}):
        assert from_json(GroupState, damaged) in (None, GroupState())


def test_a_failure_of_an_impossible_time_in_the_state_holds_up_no_other() -> None:
    log = follow()
    log.state = replace(log.state, number=2, failures=(Failure(1, T0, T0, born=1e308, named=True, heard=T0),))
    log.lines(T0 + 60, alone())
    assert log.counted == 2


def test_times_later_than_now_count_as_now_and_nothing_live_is_dropped() -> None:
    log = follow()
    log.see(Line(f"{slog(T0 + 3600, 'x')[5:29]} {alone()}", None, T0))
    log.see(Line(f"{slog(T0 - 7200, 'x')[5:29]} {alone()}", None, T0 + 60))
    log.see(Line(f"{slog(T0, 'x')[5:29]} {alone()}", None, T0 + 120))
    assert log.counted == 3
    assert log.found[0].first == T0


def test_the_state_stays_small_whatever_comes() -> None:
    log = follow()
    for n in range(200):
        log.see(api(T0 + n * 4, T0 + n * 4 + 1, identity=str(n)))
        log.lines(
            T0, docker_at := f"{slog(T0 + n * 0.01, 'x')[5:29]} {alone()}", gin(T0 + n * 0.01, 500, 0.0)
        )
        assert docker_at
    assert len(log.state.failures) <= 32
    assert len(json.dumps(to_json(log.state))) < 64_000
