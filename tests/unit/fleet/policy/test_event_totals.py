"""Each event is counted in the state write that makes it true."""

from dataclasses import replace

import pytest

from fleet.config.schema import SEED_LADDER
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import CallEnded, Command, IncidentSeen, ModelPresent, Restarted
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchKind
from fleet.runtime.totals import counters, histogram
from state.codec import decode_state, default_state, encode_state

RULES = Rules()


def incident(number: int, **values: object) -> IncidentSeen:
    whole = {"cause": "allocation", "kind": "hard", "counts": True, "model": "llama3.2:3b", **values}
    return IncidentSeen(id=str(number), time=1000.0 + number, **whole)  # type: ignore[arg-type]


def after(*facts: object, state: FleetState | None = None, now: float = 1010.0) -> FleetState:
    state = state or default_state(SEED_LADDER, 1000.0)
    for fact in facts:
        state = decide(state, fact, now, RULES).state  # type: ignore[arg-type]
    return state


def test_incidents_are_counted_by_cause_and_model() -> None:
    state = after(
        incident(1), incident(2), incident(3, cause="host", kind="sysmem", counts=False, model=None)
    )
    assert counters(state.totals, "incidents", 2) == {("allocation", "llama3.2:3b"): 2, ("host", ""): 1}


def test_a_finished_switch_is_counted_with_its_duration() -> None:
    state = after(Command(SwitchKind.DOWNGRADE))
    assert state.switch is not None
    number = state.switch.number
    state = after(ModelPresent(number), Restarted(number), state=state, now=1012.0)
    state = after(CallEnded(1013.0, state.switches, answered=True), state=state, now=1014.0)
    assert state.switch is None
    assert counters(state.totals, "switches", 2) == {("downgrade", "done"): 1}
    durations = histogram(state.totals, "switch_seconds")
    assert durations is not None
    assert (durations.counts[-1], durations.sum) == (1, pytest.approx(4.0))


def test_a_superseded_switch_is_counted_as_such() -> None:
    state = after(Command(SwitchKind.DOWNGRADE), Command(SwitchKind.USE, 3))
    assert counters(state.totals, "switches", 2) == {("downgrade", "superseded"): 1}


def test_totals_survive_reset_and_the_file() -> None:
    state = after(incident(1), incident(2), incident(3))
    assert state.switch is not None
    state = after(Command(SwitchKind.RESET), state=replace(state, switch=None))
    again = decode_state(encode_state(state, 1020.0))
    assert again.totals == state.totals
    assert counters(again.totals, "incidents", 2) == {("allocation", "llama3.2:3b"): 3}


def test_an_incident_bears_the_lines_that_were_its_signals() -> None:
    state = after(incident(1, lines=("first", "second")))
    event = next(event for event in state.events if event.kind is EventKind.INCIDENT)
    assert event.fields["lines"] == ["first", "second"]
    assert "lines" not in after(incident(2)).events[-1].fields
