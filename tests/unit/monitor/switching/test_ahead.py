"""What is asked ahead of a switch, and the write that plans and commits it at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import pytest

from fleet.clients.ollama import Ollama
from fleet.clients.supervisor import ProgramState
from fleet.config.schema import SEED_LADDER
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import Command, IncidentSeen
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Phase, Recovery, SwitchKind
from monitor.switching.ahead import Ahead, Scout, committed, is_near
from tests.processes.small_fleet import SmallFleet, small_fleet
from tests.reference.histories import running

T = 1_800_000_000.0
RULES = Rules()
HERE = Ahead((0, 1, 2, 3), stopped=False)


def failed(times: int) -> FleetState:
    state = running(RULES, 0)
    for number in range(times):
        fact = IncidentSeen(f"{number}", T + number, "allocation", "hard", counts=True)
        state = decide(state, fact, T + number, RULES).state
    return state


@pytest.mark.parametrize(
    ("state", "near"),
    [
        (failed(1), False),
        (failed(2), True),
        (replace(failed(2), pinned=True), False),
        (failed(3), False),
        (replace(failed(0), recovery=Recovery(probation=T + 60)), True),
    ],
    ids=["one of three", "two of three", "pinned", "a switch is under way", "on probation"],
)
def test_a_switch_is_near_where_one_more_incident_brings_it(state: FleetState, near: bool) -> None:
    assert is_near(state, RULES) is near


def test_a_downgrade_whose_model_is_here_is_planned_and_committed_at_once() -> None:
    state = committed(failed(3), T + 3, RULES, HERE)
    assert state.switch is not None
    assert state.switch.phase is Phase.RESTART
    assert not state.switch.was_stopped
    assert (state.current_model_index, state.vram_error_count, state.switches) == (1, 0, 1)
    kinds = [event.kind for event in state.events]
    assert kinds[-2:] == [EventKind.SWITCH_PLANNED, EventKind.SWITCH_COMMITTED]


def test_a_generator_that_a_person_stopped_is_known_by_the_switch() -> None:
    state = committed(failed(3), T + 3, RULES, replace(HERE, stopped=True))
    assert state.switch is not None
    assert state.switch.was_stopped


@pytest.mark.parametrize("ahead", [None, Ahead((0, 2, 3), stopped=False)], ids=["not known", "missing"])
def test_a_model_not_known_to_be_here_is_left_to_the_pull(ahead: Ahead | None) -> None:
    state = failed(3)
    assert committed(state, T + 3, RULES, ahead) == state


def test_an_operators_switch_is_left_to_its_phases() -> None:
    state = decide(running(RULES, 0), Command(SwitchKind.DOWNGRADE), T, RULES).state
    assert committed(state, T, RULES, HERE) == state


@dataclass
class Hand:
    """A clock that is moved by hand."""

    now: float = 100.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def wait(self, event: Event, seconds: float) -> bool:
        return event.is_set()


@pytest.fixture
def fleet() -> Iterator[SmallFleet]:
    with small_fleet() as made:
        made.start()
        yield made


def test_what_was_asked_holds_for_a_second(fleet: SmallFleet) -> None:
    clock = Hand()
    scout = Scout(SEED_LADDER, fleet.parts.ollama, fleet.daemon.client, clock)
    found = scout()
    assert found is not None
    assert not found.stopped
    assert 0 in found.here
    fleet.stop()
    assert fleet.state is ProgramState.STOPPED
    assert scout() == found
    clock.now += 2.0
    later = scout()
    assert later is not None
    assert later.stopped


def test_nothing_is_known_where_nobody_answers(fleet: SmallFleet, tmp_path: Path) -> None:
    away = Ollama(f"http://127.0.0.1:9/{tmp_path.name}")
    assert Scout(SEED_LADDER, away, fleet.daemon.client, Hand())() is None
