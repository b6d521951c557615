"""Whole courses of failures in a log that is read to its end."""

from dataclasses import replace

import pytest

from monitor.incidents import GroupingRules
from tests.reference.ollama_log import (
    ALLOC,
    OTHER,
    OURS,
    T0,
    alone,
    begins,
    causes,
    evicts,
    failed_load,
    gin,
    gives_up,
    loaded,
    not_recovered,
    path,
    runs_out,
    scan,
    slog,
)

COUNTS = ("hard", "allocation", True)
RETRY = ("soft", "retry", False)
RETRY_ALL = "llama-server load failed; evicting all other models and retrying once"
RUNTIME = "runtime OOM detected; expiring loaded models to clear memory before next request"
RETRY_CONTEXT = "llama-server load failed; reducing automatic context and retrying once"


def raw_at(at: float, text: str) -> str:
    return slog(at, "x", 'error="x"')[:29].replace("time=", "") + " " + text


def docker(at: float, text: str) -> str:
    return slog(at, "x")[5:29] + " " + text


def two_tries(second: list[str], pause: float) -> list[str]:
    return [
        *begins(T0),
        *runs_out(),
        *gives_up(T0 + 0.3),
        slog(T0 + 0.31, RETRY_ALL, 'error="cudaMalloc failed: out of memory"', "WARN"),
        slog(T0 + 0.32, "evicting all other loaded models for OOM retry", "count=1"),
        *begins(T0 + pause),
        *second,
    ]


def test_one_failed_load_with_all_its_lines_is_one_incident() -> None:
    report = scan(failed_load(T0))
    assert len(report.signals) == 4
    (incident,) = report.incidents
    assert (incident.kind, incident.cause, incident.counts) == COUNTS
    assert (incident.first_line, incident.last_line, incident.model) == (6, 12, OURS[:19])


@pytest.mark.parametrize("apart", [1.0, 3.0, 60.0])
def test_two_failed_loads_are_two_incidents_also_close_together(apart: float) -> None:
    assert causes([*failed_load(T0), *failed_load(T0 + apart)]) == [COUNTS, COUNTS]


def test_three_requests_in_a_row_are_three() -> None:
    assert causes([line for n in range(3) for line in failed_load(T0 + n * 0.8)]) == [COUNTS] * 3


def test_two_loads_are_two_where_only_runners_print() -> None:
    raw = [begins(T0)[3], *runs_out()]
    assert causes([*raw, *raw]) == [COUNTS, COUNTS]


@pytest.mark.parametrize("pause", [0.6, 9.0, 14.0])
def test_ollamas_second_try_is_the_same_failure(pause: float) -> None:
    end = T0 + pause
    assert causes(
        two_tries([*runs_out(), *gives_up(end + 0.3), gin(end + 0.4, 500, pause + 0.4)], pause)
    ) == [COUNTS]


@pytest.mark.parametrize("pause", [0.6, 9.0, 14.0])
def test_a_second_try_that_succeeds_makes_one_retry(pause: float) -> None:
    end = T0 + pause + 20
    assert causes(two_tries([*loaded(end), gin(end + 1, 200, pause + 21)], pause)) == [RETRY]


def test_a_retry_with_less_context_that_succeeds_is_one_retry() -> None:
    lines = [*begins(T0), *runs_out(), *gives_up(T0 + 0.3)]
    lines += [slog(T0 + 0.4, RETRY_CONTEXT, "old_num_ctx=32768 new_num_ctx=8192 evict_all=false", "WARN")]
    assert causes([*lines, *begins(T0 + 0.5), *loaded(T0 + 3), gin(T0 + 5, 200, 5.1)]) == [RETRY]


def test_a_request_answered_ends_a_retry_whose_start_was_not_logged() -> None:
    assert causes(two_tries([gin(T0 + 30, 200, 30.5)], 9.0)) == [RETRY]


def test_retrying_without_pipeline_parallelism_heals_what_failed_before() -> None:
    healed = "sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism"
    failing = [*runs_out()[:1], "graph_reserve: failed to allocate compute buffers", healed]
    assert causes([*begins(T0), *failing, *loaded(T0 + 2)]) == [RETRY]
    assert causes(failing) == [RETRY]
    assert causes([*begins(T0), *failing, *runs_out(), *gives_up(T0 + 1), gin(T0 + 1, 500, 1.5)]) == [COUNTS]


def old_engine(at: float, tries: int, *, fails: bool) -> list[str]:
    lines = [
        slog(
            at, "starting runner", f'cmd="/usr/bin/ollama runner --ollama-engine --model /m/{OURS} --port 2"'
        ),
        slog(at, "loading model", '"model layers"=41 requested=-1'),
    ]
    for n in range(tries):
        lines += [
            slog(at + n, "load", 'request="{Operation:alloc LoraPath:[]}"').replace('msg="load"', "msg=load"),
            *runs_out()[:1],
            "ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 9668469760",
            slog(at + n + 0.5, "model layout did not fit, applying backoff", f"backoff=0.{n}0"),
        ]
    if fails:
        error = "failed to commit memory for model"
        lines += [
            slog(at + tries, "failed to commit memory for model", "memory.x=1", "WARN", "server.go:839")
        ]
        return [
            *lines,
            slog(at + tries, "Load failed", f'model=/m/{OURS} error="{error}"'),
            gin(at + tries, 500, tries),
        ]
    return [
        *lines,
        slog(at + tries, "llama runner started in 9.00 seconds"),
        gin(at + tries + 1, 200, tries + 1),
    ]


def test_the_old_engine_tries_many_layouts_in_one_load() -> None:
    assert causes(old_engine(T0, 9, fails=True)) == [COUNTS]
    assert causes(old_engine(T0, 9, fails=False)) == [RETRY]
    assert causes([*old_engine(T0, 9, fails=True), *old_engine(T0 + 9.5, 5, fails=True)]) == [COUNTS, COUNTS]


@pytest.mark.parametrize("wait", [1.5, 60.0])
def test_a_layout_that_fails_before_an_eviction_is_a_try_of_the_same_load(wait: float) -> None:
    end = T0 + wait + 3
    fits = slog(end, "load", 'request="{Operation:commit}"').replace('"load"', "load")
    healed = [fits, slog(end + 1, "llama runner started in 9.00 seconds"), gin(end + 2, 200, wait + 5)]
    fails = [*runs_out()[:2], slog(end, "memory layout cannot be allocated", level="WARN")]
    fails += [slog(end, "Load failed", f'model={path()} error="memory layout cannot be allocated"'), gin(end)]
    assert causes([*evicts(T0, wait), *healed]) == [RETRY]
    assert causes([*evicts(T0, wait), *fails]) == [COUNTS]


def test_a_runner_that_dies_while_another_load_waits_for_its_eviction_counts() -> None:
    dies = [
        alone(),
        slog(T0 + 30, "llama runner terminated", 'error="exit status 2"', "ERROR", "server.go:303"),
        gin(T0 + 30, 500, 85.0),
    ]
    loads = [slog(T0 + 40, "llama runner started in 40.00 seconds"), gin(T0 + 41, 200, 41.0)]
    lines = evicts(T0, 31.0)
    assert causes([*lines[:5], *dies, *lines[5:], *loads]) == [RETRY, ("hard", "runner_died", True)]


def test_the_older_engines_error_line_ends_a_load() -> None:
    start = slog(T0, "starting llama server", f'cmd="/usr/bin/ollama runner --model {OURS} --port 3"')
    failed = slog(T0 + 1, "error loading llama server", 'error="llama runner process has terminated: '
                  'cudaMalloc failed: out of memory"', "ERROR")  # fmt: skip
    lines = [start, *runs_out(), failed, gin(T0 + 1, 500, 1.0)]
    assert causes([*lines, *not_recovered(T0 + 6.1, 5.0)]) == [COUNTS]


def test_three_lines_of_one_unload_are_one_incident_that_counts() -> None:
    assert causes(not_recovered(T0)) == [("soft", "not_recovered", True)]


def test_memory_that_does_not_come_back_belongs_to_the_failure_whose_unload_it_was() -> None:
    assert causes([*failed_load(T0), *not_recovered(T0 + 5.6, 5.1)]) == [COUNTS]
    late = causes([*failed_load(T0), *not_recovered(T0 + 40.0, 5.1)])
    assert late == [COUNTS, ("soft", "not_recovered", True)]


def test_two_unloads_are_two_incidents() -> None:
    assert causes([*not_recovered(T0), *not_recovered(T0 + 8.0)]) == [("soft", "not_recovered", True)] * 2


def test_a_spill_right_after_memory_that_did_not_come_back_is_its_consequence() -> None:
    spilled = [*begins(T0 + 1), "load_tensors: offloaded 11/33 layers to GPU", loaded(T0 + 3)[1]]
    assert causes([*not_recovered(T0), *spilled]) == [("soft", "not_recovered", True)]


def test_failure_lines_that_nothing_bounds_go_by_the_gap_from_the_first() -> None:
    def at(*seconds: float) -> list[str]:
        return [docker(T0 + second, alone()) for second in seconds]

    hard = ("hard", "runner_died", True)
    assert causes(at(0, 2, 4)) == [hard]
    assert causes(at(0, 10, 20)) == [hard] * 3
    assert causes(at(0, 4, 8)) == [hard] * 2, "the gap is never extended"


def test_a_runners_death_is_one_incident_however_many_requests_it_takes_along() -> None:
    oom = slog(T0 + 0.3, RUNTIME, 'model=m error="CUDA error: out of memory"', "WARN")
    lines = [docker(T0, alone()), docker(T0 + 0.1, "ggml-cuda.cu:98: CUDA error")]
    lines += [slog(T0 + 0.2, "llama-server terminated", 'error="signal: aborted (core dumped)"', "ERROR")]
    lines += [oom, gin(T0 + 0.4, 500, 9.0), oom, gin(T0 + 0.5, 500, 8.0), *not_recovered(T0 + 5.4, 5.1)]
    assert causes(lines) == [("hard", "runner_died", True)]


def test_a_failure_after_a_request_has_ended_is_another() -> None:
    one = [docker(T0, alone()), docker(T0, gin(T0, 500, 1.0))]
    two = [docker(T0 + 2, alone()), docker(T0 + 2, gin(T0 + 2, 500, 1.0))]
    assert causes([*one, *two]) == [("hard", "runner_died", True)] * 2


def test_another_models_long_answer_does_not_heal_a_failing_load() -> None:
    lines = [*begins(T0), *runs_out(), gin(T0 + 0.2, 200, 60.0), *gives_up(T0 + 0.3), gin(T0 + 0.4)]
    assert causes(lines) == [COUNTS]


def test_a_server_that_restarts_ends_what_was_open() -> None:
    restart = slog(T0 + 2, "Listening on 127.0.0.1:11434 (version 0.33.0)", source="routes.go:2008")
    assert causes([*begins(T0), *runs_out(), restart, *begins(T0 + 3), *loaded(T0 + 5)]) == [COUNTS]


def test_the_hosts_memory_never_counts() -> None:
    error = "llama-server process has terminated: error loading model: mmap failed: Cannot allocate memory"
    lines = ["llama_model_load: error loading model: mmap failed: Cannot allocate memory"]
    assert causes([*begins(T0), *lines, *gives_up(T0 + 1, error=error), gin(T0 + 1)]) == [
        ("sysmem", "host", False)
    ]


def test_a_startup_that_ollama_reports_as_out_of_memory_is_the_hosts_where_its_buffer_is() -> None:
    lines = [
        "/build/ggml/src/ggml-backend.cpp:179: GGML_ASSERT(buffer) failed",
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 2397044736",
    ]
    error = "\\n".join(
        ["llama-server reported out-of-memory during startup: GGML_ASSERT(buffer) failed", *lines[1:]]
    )
    ends = [*gives_up(T0 + 1, error=error), gin(T0 + 1)]
    assert causes([*begins(T0), *lines, *ends]) == [("sysmem", "host", False)]
    assert causes([*begins(T0), lines[0], *runs_out(), *ends[:1], *gives_up(T0 + 1), gin(T0 + 1)]) == [COUNTS]


def test_a_runtime_oom_of_the_host_is_the_hosts() -> None:
    error = "failed to allocate memory for prompt cache state: std::bad_alloc"
    oom = slog(T0, RUNTIME, f'model=m error="{error}"', "WARN")
    assert causes([oom]) == [("sysmem", "host", False)]


def test_vague_lines_follow_the_host_buffer_beside_them() -> None:
    lines = ["ggml_gallocr_reserve_n: failed to allocate Vulkan_Host buffer of size 2546057216"]
    assert causes([*lines, "graph_reserve: failed to allocate compute buffers"]) == [
        ("sysmem", "host", False)
    ]


@pytest.mark.parametrize("layers", ["11/33", "0/29"])
def test_layers_left_on_the_cpu_are_one_spill_that_does_not_count(layers: str) -> None:
    lines = [
        *begins(T0),
        f"load_tensors: offloaded {layers} layers to GPU",
        loaded(T0 + 3)[1],
        gin(T0 + 4, 200, 4.5),
    ]
    assert causes(lines) == [("soft", "spill", False)]


def test_a_plan_for_few_layers_is_void_when_all_find_room() -> None:
    plan = slog(T0, "insufficient VRAM to load any model layers", level="DEBUG", source="memory.go:330")
    assert causes([*begins(T0), plan, *loaded(T0 + 3)]) == []
    assert causes([*begins(T0), plan, loaded(T0 + 3)[1]]) == [("soft", "spill", False)]


def test_a_routine_swap_is_no_incident() -> None:
    swap = slog(T0, "llama-server model predicted to exceed available memory, evicting", 'predicted="3 GiB"')
    report = scan([swap, *begins(T0 + 1), *loaded(T0 + 3), gin(T0 + 4, 200, 4.0)])
    assert [signal.signal.cause for signal in report.signals] == ["swap"]
    assert report.incidents == ()


def test_a_pinned_memory_complaint_is_reported_and_does_not_count() -> None:
    pinned = "ggml_cuda_host_malloc: failed to allocate 16607.35 MiB of pinned memory: out of memory"
    assert causes([*begins(T0), pinned, *loaded(T0 + 3)]) == [("sysmem", "host", False)]


def test_another_clients_model_is_reported_and_does_not_count() -> None:
    rules = GroupingRules(model="llama3.2:3b", blobs=frozenset({OURS}), tags={OTHER: "mixtral:latest"})
    report = scan([*failed_load(T0, OTHER), *failed_load(T0 + 1, OURS)], rules)
    assert [incident.counts for incident in report.incidents] == [False, True]
    assert report.incidents[0].model == "mixtral:latest"
    assert report.incidents[0].reason == "another client's model"


def test_a_failure_that_names_no_model_counts_unless_anothers_load_is_open() -> None:
    rules = GroupingRules(model="llama3.2:3b", blobs=frozenset({OURS}))
    assert causes([docker(T0, alone())], rules) == [("hard", "runner_died", True)]
    assert causes([*begins(T0, OTHER), alone()], rules) == [("hard", "allocation", False)]


def load_failed(at: float, blob: str) -> str:
    return gives_up(at, blob)[-1]


@pytest.mark.parametrize(
    "others",
    [
        [load_failed(T0, OTHER)],
        not_recovered(T0, blob=OTHER),
        [slog(T0, "offload to cuda", f"layers.model=33 layers.offload=10 model={path(OTHER)}")],
    ],
    ids=["a failed load", "memory that does not come back", "a spill"],
)
@pytest.mark.parametrize(
    "ours", [load_failed(T0 + 1, OURS), docker(T0 + 1, alone())], ids=["named", "unnamed"]
)
def test_a_failure_right_after_another_models_is_not_taken_for_its_part(others: list[str], ours: str) -> None:
    rules = GroupingRules(model="llama3.2:3b", blobs=frozenset({OURS}))
    found = [(i.counts, i.reason) for i in scan([*others, ours], rules).incidents]
    assert sorted(found) == [(False, "another client's model"), (True, "")]


def test_what_counts_is_configured() -> None:
    rules = GroupingRules(causes=frozenset())
    assert causes(failed_load(T0), rules) == [("hard", "allocation", False)]


def test_a_load_given_up_for_another_reason_is_no_incident() -> None:
    error = "llama-server process has terminated: GGML_ASSERT(hparams.n_swa > 0) failed"
    assert causes([*begins(T0), *gives_up(T0 + 1, error=error), gin(T0 + 1)]) == []


def test_a_cancelled_load_that_had_run_out_counts() -> None:
    assert causes([*begins(T0), *runs_out(), gin(T0 + 5, 499, 5.2)]) == [COUNTS]


@pytest.mark.parametrize("status", [200, 499, 500])
def test_another_models_last_answer_while_ollama_waits_to_try_again_changes_nothing(status: int) -> None:
    end = T0 + 9
    second = [*runs_out(), *gives_up(end + 0.3), gin(end + 0.4, 500, 9.5)]
    lines = two_tries(second, 9.0)
    waiting = next(n for n, line in enumerate(lines) if "evicting all other loaded" in line) + 1
    assert causes([*lines[:waiting], gin(T0 + 2, status, 30.0), *lines[waiting:]]) == [COUNTS]


def test_three_deaths_of_a_runner_that_is_loaded_again_each_time_are_three() -> None:
    lines: list[str] = []
    for n in range(3):
        at = T0 + n * 4
        lines += [
            *begins(at),
            *loaded(at + 1),
            alone(),
            slog(at + 2, RUNTIME, 'error="CUDA error: out of memory"', "WARN"),
        ]
        lines += [gin(at + 2.2, 500, 2.3)]
    assert causes(lines) == [("hard", "runner_died", True)] * 3


def test_lines_that_the_access_log_overtook_are_of_the_failure_it_ended() -> None:
    failing = [docker(T0 + 1.0 + step / 100, line) for step, line in enumerate(runs_out())]
    ended = docker(T0 + 1.5, gin(T0 + 1.5, 500, 1.5))
    begun = [docker(T0 + step / 100, line) for step, line in enumerate(begins(T0))]
    for place in range(1, len(failing)):
        assert causes([*begun, *failing[:place], ended, *failing[place:]]) == [COUNTS]


@pytest.mark.parametrize(
    ("rules", "model", "reason"),
    [
        (GroupingRules(trial="llama3.2:3b"), "llama3.2:3b", "the fleet's own trial of this model"),
        (
            GroupingRules(ladder=frozenset({"library/llama3.2:3b"})),
            "llama3.2:3b",
            "not the current rung's model",
        ),
        (GroupingRules(), "llama3.2:3b", "another client's model"),
        (GroupingRules(tags={}), OTHER[:19], "another client's model"),
    ],
)
def test_a_failure_of_another_model_names_it_and_says_whose_it_is(
    rules: GroupingRules, model: str, reason: str
) -> None:
    tags = rules.tags if model.startswith("sha256") else {OTHER: "llama3.2:3b"}
    rules = replace(rules, model="phi3:mini", blobs=frozenset({OURS}), tags=tags)
    (incident,) = scan(failed_load(T0, OTHER), rules).incidents
    assert (incident.model, incident.reason, incident.counts) == (model, reason, False)


@pytest.mark.parametrize(("asked", "incidents"), [(10, []), (20, [("soft", "spill", False)])])
def test_layers_on_the_cpu_that_the_client_asked_for_are_no_spill(
    asked: int, incidents: list[tuple[str, str, bool]]
) -> None:
    plan = f"layers.requested={asked} layers.model=33 layers.offload=10"
    lines = [
        slog(T0, "offload to cuda", plan),
        *begins(T0),
        "llm_load_tensors: offloaded 10/33 layers to GPU",
    ]
    assert causes([*lines, loaded(T0 + 3)[1]]) == incidents


def test_layers_on_the_cpu_after_the_gpu_could_not_be_initialised_are_a_lost_gpu() -> None:
    failed = "ggml_cuda_init: failed to initialize CUDA: unknown error"
    spilled = "load_tensors: offloaded 0/33 layers to GPU"
    assert causes([*begins(T0), failed, spilled, loaded(T0 + 3)[1]]) == [("other", "gpu_lost", False)]
    none = "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected"
    assert causes([*begins(T0), none, spilled, loaded(T0 + 3)[1]]) == [("soft", "spill", False)]


@pytest.mark.parametrize(
    "reason",
    [
        "CUDA-capable device(s) is/are busy or unavailable",
        "all CUDA-capable devices are busy or unavailable",
        "no CUDA-capable device is detected",
        "uncorrectable ECC error encountered",
        "unknown error",
        "CUDA driver version is insufficient for CUDA runtime version",
    ],
)
@pytest.mark.parametrize("begin", [begins(T0), [slog(T0, "x")]], ids=["in a load", "outside"])
def test_an_allocation_that_fails_for_no_lack_of_memory_is_a_lost_gpu(begin: list[str], reason: str) -> None:
    failed = f"{ALLOC}: allocating 1825.82 MiB on device 0: cudaMalloc failed: {reason}"
    end = gives_up(T0 + 1, error=f"exit status 1: cudaMalloc failed: {reason}\\n{runs_out()[1]}")
    assert causes([*begin, failed, *runs_out()[1:], *end, gin(T0 + 1)]) == [("other", "gpu_lost", False)]


PINNED = ("  current device: 0, in function f at ggml-cuda.cu:1", "  cudaMallocHost((void **) &ptr, size)")
KILLED = "llama-server process has terminated: signal: killed"


@pytest.mark.parametrize(
    "ending", [[gin(T0 + 1, 500, 2.0)], []], ids=["its request failed", "nothing follows"]
)
def test_an_error_whose_call_asked_for_pinned_memory_is_the_hosts(ending: list[str]) -> None:
    start = slog(T0, "x")
    assert causes([start, alone(), *PINNED, *ending]) == [("sysmem", "host", False)]
    gpu = "  cuMemCreate(&handle, reserve_size, &prop, 0)"
    assert causes([start, alone(), PINNED[0], gpu, *ending]) == [("hard", "runner_died", True)]


def test_a_load_that_failed_for_pinned_memory_is_the_hosts_though_its_end_repeats_the_error() -> None:
    ends = [
        *gives_up(T0 + 1, error="llama-server process has terminated: CUDA error: out of memory"),
        gin(T0 + 1),
    ]
    assert causes([*begins(T0), alone(), *PINNED, *ends]) == [("sysmem", "host", False)]
    assert causes([*begins(T0), alone(), *ends]) == [COUNTS]


def test_a_call_for_pinned_memory_without_an_error_is_nothing() -> None:
    assert causes([slog(T0, "x"), *PINNED, *begins(T0 + 1), PINNED[1], *loaded(T0 + 3)]) == []


CPU = slog(T0, "inference compute", 'id=cpu library=cpu name=cpu total="15.2 GiB"', source="types.go:60")
CARD = slog(T0, "inference compute", 'id=0 library=CUDA name=CUDA0 total="12.0 GiB"', source="types.go:32")


@pytest.mark.parametrize(
    ("server", "incidents"),
    [
        ([CPU], []),
        ([CARD], [("soft", "spill", False)]),
        ([CPU, slog(T0, "Listening on [::]:11434 (version 0.33.0)")], [("soft", "spill", False)]),
        ([CPU, "ggml_cuda_init: failed to initialize CUDA: unknown error"], [("other", "gpu_lost", False)]),
    ],
    ids=["no GPU", "a GPU", "a new server", "a GPU that cannot be used"],
)
def test_layers_on_the_cpu_of_a_server_without_a_gpu_are_no_spill(
    server: list[str], incidents: list[tuple[str, str, bool]]
) -> None:
    spilled = [slog(T0 + 2, "offloaded 0/13 layers to GPU", source="ggml.go:502"), loaded(T0 + 3)[1]]
    assert causes([*server[:1], *begins(T0), *server[1:], *spilled]) == incidents


@pytest.mark.parametrize(
    ("ending", "incident"),
    [(loaded(T0 + 4), RETRY), ([*gives_up(T0 + 4, error=KILLED), gin(T0 + 4, 500, 4.5)], COUNTS)],
    ids=["the next kind of memory served", "the runner was killed"],
)
def test_a_buffer_that_the_vulkan_driver_refuses_counts_if_its_load_fails(
    ending: list[str], incident: tuple[str, str, bool]
) -> None:
    refused = ["radv/amdgpu: Failed to allocate a buffer:", "radv/amdgpu:    size      : 990904320 bytes"]
    assert causes([*begins(T0), *refused, *refused, *ending]) == [incident]


def test_a_failure_of_the_cpus_graph_in_the_new_engine_is_the_hosts() -> None:
    lines = [
        "ggml_gallocr_reserve_n: failed to allocate CPU buffer of size 103110017024",
        "panic: insufficient memory - required allocations: {InputWeights:7A CPU:{Name:CPU Graph:103110017024F} GPUs:[]}",
    ]
    error = "llama runner process has terminated: exit status 2"
    ends = [slog(T0 + 1, "error loading llama server", f'error="{error}"', "ERROR"), gin(T0 + 1, 500, 1.5)]
    assert causes([*begins(T0), *lines, *ends]) == [("sysmem", "host", False)]
