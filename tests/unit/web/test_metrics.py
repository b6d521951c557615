"""/metrics: names, units and labels by the contract; what is not known is left out."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleet.clients.gpu import Card
from fleet.clients.ollama import LoadedModel
from fleet.config.ladder import Ladder, Rung
from fleet.config.schema import SEED_LADDER
from fleet.memory_errors.causes import Cause
from fleet.policy.events import EventKind
from fleet.policy.state import Hold, SwitchKind
from fleet.runtime.totals import increased, observed
from generator.domain import Tally
from generator.reporting.stats import RunStats
from state.codec import default_state
from tests.parts.require import require
from web.metrics import MOST_MODELS, Reading, exposition, log_time

NOW = 2_000_000_000.0


def samples(reading: Reading) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = exposition(reading, "")[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def full(ladder: Ladder = SEED_LADDER) -> Reading:
    state = default_state(ladder, NOW)
    state = replace(
        state,
        hold=Hold(NOW + 60, 0, "x"),
        pinned=True,
        cursors={"log": {"kind": "docker", "last": 3 * 10**9}},
    )
    models = [rung.model for rung in ladder] + ["strange:1b"]
    for cause in Cause:
        for model in models:
            state = state.with_event(NOW, EventKind.INCIDENT, cause=cause.value, model=model)
    for kind in SwitchKind:
        for result in (EventKind.SWITCH_DONE, EventKind.SWITCH_FAILED, EventKind.SWITCH_SUPERSEDED):
            state = state.with_event(NOW, result, switch=kind.value)
    counted: dict[str, object] = {}
    for model in models:
        for outcome in ("valid", "invalid", "duplicate"):
            counted = increased(counted, ("expressions", model, outcome))
        counted = increased(increased(counted, ("prompt_tokens", model)), ("generation_tokens", model))
    for source in ("brain", "panel", "synthetic", "stand-in"):
        for kept in ("true", "false"):
            counted = increased(counted, ("alphas", source, kept))
    for name in ("request_seconds", "load_seconds", "first_token_seconds"):
        counted = observed(counted, name, 1.0)
    state = replace(state, totals=observed(state.totals, "switch_seconds", 2.0))
    return Reading(
        NOW, "1.2.3", ladder, True, state, NOW + 5, {"counters": increased(counted, ("trials",))},
        {"monitor": NOW - 1, "generator": NOW - 2}, True,
        [LoadedModel(model, 4, 3, 2048) for model in models],
        [Card("NVIDIA", 5, 9)],
    )  # fmt: skip


NAMES = {
    "fleet_model_loaded", "fleet_model_vram_bytes", "fleet_model_size_bytes", "fleet_model_context_length",
    "fleet_gpu_memory_used_bytes", "fleet_gpu_memory_total_bytes", "fleet_prompt_tokens_total",
    "fleet_generation_tokens_total", "fleet_request_duration_seconds_bucket", "fleet_load_duration_seconds_sum",
    "fleet_time_to_first_token_seconds_count", "fleet_up", "fleet_build_info", "fleet_ollama_up",
    "fleet_incidents_total", "fleet_switches_total", "fleet_switch_duration_seconds_bucket", "fleet_rung",
    "fleet_rungs", "fleet_held", "fleet_pinned", "fleet_next_probe_timestamp_seconds",
    "fleet_log_last_line_timestamp_seconds", "fleet_heartbeat_timestamp_seconds", "fleet_expressions_total",
    "fleet_alphas_total", "fleet_trials_total",
}  # fmt: skip


def test_each_name_of_the_contract_is_there() -> None:
    assert {name for name, _ in samples(full())} >= NAMES


@pytest.mark.parametrize("rungs", [1, 4, 12, 60])
def test_the_series_stay_few_whatever_the_ladder(rungs: int) -> None:
    ladder = Ladder([Rung(index, f"model{index}:1b", None, "") for index in range(rungs)])
    found = samples(full(ladder))
    assert len(found) <= 200
    models = {dict(labels).get("model") for _, labels in found} - {None, ""}
    assert len(models) <= MOST_MODELS + 1
    counted = sum(value for (name, _), value in found.items() if name == "fleet_incidents_total")
    assert counted == len(Cause) * (rungs + 1)


def test_an_unknown_value_is_left_out_and_not_zero() -> None:
    found = samples(Reading(NOW, "1", SEED_LADDER, up=False))
    assert {name for name, _ in found} == {"fleet_up", "fleet_build_info"}
    known = samples(
        Reading(NOW, "1", SEED_LADDER, up=True, state=default_state(SEED_LADDER, NOW), ollama_up=False)
    )
    names = {name for name, _ in known}
    assert ("fleet_ollama_up", ()) in known
    assert not names & {"fleet_model_loaded", "fleet_next_probe_timestamp_seconds", "fleet_trials_total",
                        "fleet_log_last_line_timestamp_seconds", "fleet_incidents_total"}  # fmt: skip


def test_a_model_of_no_context_has_no_context_length() -> None:
    reading = replace(full(), loaded=[LoadedModel("llama3.2:3b", 4, 3, None)])
    found = samples(reading)
    assert not [name for name, _ in found if name == "fleet_model_context_length"]
    assert found[("fleet_model_loaded", (("model", "llama3.2:3b"),))] == 1
    assert found[("fleet_model_loaded", (("model", "phi3:mini"),))] == 0


def test_one_name_of_a_model_is_one_label() -> None:
    reading = replace(full(), loaded=[LoadedModel("registry.ollama.ai/library/phi3:mini", 4, 3)])
    assert samples(reading)[("fleet_model_loaded", (("model", "phi3:mini"),))] == 1


def test_a_label_is_no_text_from_outside() -> None:
    stats = RunStats({"expressions": {'evil"\n} 1': {"valid": 3}}})
    reading = replace(full(), generator=json.loads(json.dumps(stats.row())))
    text = exposition(reading, "")[0].decode()
    assert "evil" not in text
    assert 'fleet_expressions_total{model="other",outcome="valid"} 3.0' in text


@pytest.mark.parametrize(
    ("cursor", "time"),
    [
        ({"kind": "docker", "last": 1_500_000_000}, 1.5),
        ({"kind": "file", "mtime_ns": 2_000_000_000}, 2.0),
        ({"kind": "journal", "time": 3_000_000}, 3.0),
        ({"kind": "docker", "last": 0}, None),
        ({"kind": "other", "last": 5}, None),
        ({"kind": "file", "mtime_ns": "x"}, None),
        (None, None),
        ([], None),
    ],
)
def test_the_time_of_the_last_line_is_that_of_the_cursor(cursor: object, time: float | None) -> None:
    assert log_time(cursor) == (None if time is None else pytest.approx(time))


def test_a_counter_continues_where_the_last_run_left_it() -> None:
    first = RunStats()
    first.reply("m", Tally(valid=3, invalid=1, duplicates=1))
    second = RunStats(json.loads(json.dumps(first.row()))["counters"])
    second.reply("m", Tally(valid=1))
    assert second.row()["counters"]["expressions"]["m"] == {"valid": 3, "invalid": 1, "duplicate": 1}
    assert second.row()["totals"]["valid"] == 1


@pytest.mark.parametrize("reading", [full(), Reading(NOW, "1", SEED_LADDER, up=False)])
def test_promtool_finds_no_fault(reading: Reading) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        require("prometheus", "there is no promtool")
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=exposition(reading, "")[0],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_openmetrics_is_given_where_it_is_asked_for() -> None:
    body, kind = exposition(full(), "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert re.search(rb"^# EOF$", body, flags=re.MULTILINE)


def test_the_series_of_lanes_have_their_names_and_the_machines_have_none() -> None:
    def lane(rung: int) -> Reading:
        reading = full()
        assert reading.state is not None
        card = Card("GPU", 2 * 10**9, 8 * 10**9)
        return replace(reading, state=replace(reading.state, current_model_index=rung), cards=[card])

    text = exposition({"a": lane(0), "b-2": lane(3)}, "")[0].decode()
    found = {
        (sample.name, sample.labels.get("lane")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert (found["fleet_rung", "a"], found["fleet_rung", "b-2"]) == (0.0, 3.0)
    assert {name for name, own in found if own is None} == {
        "fleet_build_info",
        "fleet_gpu_memory_used_bytes",
        "fleet_gpu_memory_total_bytes",
    }
    assert {name for name, own in found if own == "a"} == {name for name, own in found if own == "b-2"}
    assert text.count("# TYPE fleet_rung ") == 1
    series = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))
