"""Wherever the log is cut and the grouper restarted, the incidents are the same."""

import itertools
import json
import os

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.incidents import GroupingRules, GroupState, advance
from monitor.incidents.messages import (
    FailedCall,
    Flush,
    Incident,
    IncidentClosed,
    IncidentFound,
    IncidentRetracted,
    Line,
    Observation,
    TimePassed,
)
from state.codec import from_json, to_json
from tests.reference.ollama_log import (
    DETECTOR,
    OTHER,
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

RULES = GroupingRules()
EXAMPLES = int(os.environ.get("FLEET_FUZZ", "40"))


def course(kind: int, at: float) -> list[str]:
    """One course of events, by number."""
    retry = slog(
        at + 0.4, "llama-server load failed; evicting all other models and retrying once", "", "WARN"
    )
    failing = [*begins(at), *runs_out(), *gives_up(at + 0.3)]
    courses: tuple[list[str], ...] = (
        failed_load(at),
        [*failing, retry, *begins(at + 3), *loaded(at + 4), gin(at + 5, 200, 5.5)],
        not_recovered(at),
        [f"{slog(at, 'x')[5:29]} {alone()}"],
        [*begins(at, OTHER), "load_tensors: offloaded 9/29 layers to GPU", loaded(at + 1)[1]],
        failing,
        [*begins(at), *loaded(at + 1), gin(at + 2, 200, 2.5)],
        [gin(at, 500, 3.0)],
        ["ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 437944320"],
    )
    return courses[kind % len(courses)]


observations = st.lists(
    st.tuples(st.integers(0, 8), st.floats(0.2, 40), st.sampled_from(["", "tick", "api"])), max_size=10
)


def observed(parts: list[tuple[int, float, str]]) -> list[Observation]:
    at, seen = T0, list[Observation]()
    for kind, pause, extra in parts:
        at += round(pause, 3)
        seen += [Line(line, None, at + 0.01, 0) for line in course(kind, at)]
        if extra == "api":
            seen.append(FailedCall("a", at - 0.5, at + 0.5, "m", 500, "CUDA error: out of memory"))
        elif extra == "tick":
            seen.append(TimePassed(at + pause))
    return [*seen, Flush()]


def run(seen: list[Observation], restarts: frozenset[int]) -> tuple[list[Incident], list[Incident]]:
    state, found, closed = GroupState(), [], []
    for position, observation in enumerate(seen):
        if position in restarts:
            state = from_json(GroupState, json.loads(json.dumps(to_json(state))))
        state, outcomes = advance(state, observation, RULES, DETECTOR)
        found += [each.incident for each in outcomes if isinstance(each, IncidentFound)]
        closed += [each.incident for each in outcomes if isinstance(each, IncidentClosed)]
    return found, closed


@settings(max_examples=EXAMPLES, deadline=None)
@given(observations, st.frozensets(st.integers(0, 200), max_size=12))
def test_a_restart_at_any_point_changes_nothing(
    parts: list[tuple[int, float, str]], at: frozenset[int]
) -> None:
    seen = observed(parts)
    assert run(seen, at) == run(seen, frozenset())


@settings(max_examples=EXAMPLES, deadline=None)
@given(observations)
def test_every_incident_is_reported_once_under_an_id_of_its_own(parts: list[tuple[int, float, str]]) -> None:
    seen = observed(parts)
    found, closed = run(seen, frozenset())
    assert len({incident.id for incident in closed}) == len(closed)
    assert {incident.id for incident in closed} == {incident.id for incident in found}
    state, counting = GroupState(), set[str]()
    for observation in seen:
        state, outcomes = advance(state, observation, RULES, DETECTOR)
        for outcome in outcomes:
            if isinstance(outcome, IncidentFound) and outcome.incident.counts:
                assert outcome.incident.id not in counting
                counting.add(outcome.incident.id)
            elif isinstance(outcome, IncidentRetracted):
                counting.remove(outcome.incident.id)
    assert counting == {incident.id for incident in closed if incident.counts}


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from([0, 2]), max_size=6), st.floats(16, 400))
def test_failures_well_apart_are_as_many_as_there_were(kinds: list[int], apart: float) -> None:
    lines = itertools.chain.from_iterable(course(kind, T0 + n * apart) for n, kind in enumerate(kinds))
    found, _ = run([*(Line(line) for line in lines), Flush()], frozenset())
    assert [incident.counts for incident in found] == [True] * len(kinds)
