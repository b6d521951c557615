"""Judging a generator by what supervisord, its environment and its heartbeat say of it."""

from dataclasses import replace

import pytest

from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Switch, SwitchKind, SwitchPhase
from monitor.watch.generator import Remedy, Seen, generator_verdict, request_limit
from tests.reference.histories import running

T = 1_800_000_000.0
STATE = running(Rules(), 1, switches=4)
WELL = Seen(ProgramInfo("generator", ProgramState.RUNNING, 77), 4, silent=5.0, waits=5.0)
LONGEST = request_limit(360.0)


def program(state: ProgramState) -> Seen:
    return replace(WELL, program=ProgramInfo("generator", state, 0), switches=None)


def switching(phase: SwitchPhase) -> FleetState:
    switch = Switch(9, SwitchKind.DOWNGRADE, phase, 0, 1, T, "why")
    return replace(STATE, switch=switch)


@pytest.mark.parametrize(
    ("seen", "remedy", "hangs"),
    [
        (WELL, Remedy.NOTHING, False),
        (program(ProgramState.STOPPED), Remedy.NOTHING, False),
        (program(ProgramState.STOPPING), Remedy.NOTHING, False),
        (program(ProgramState.STARTING), Remedy.NOTHING, False),
        (program(ProgramState.BACKOFF), Remedy.NOTHING, False),
        (program(ProgramState.FATAL), Remedy.START, False),
        (program(ProgramState.EXITED), Remedy.START, False),
        (replace(WELL, switches=3), Remedy.RESTART, False),
        (replace(WELL, switches=None), Remedy.NOTHING, False),
        (replace(WELL, silent=31.0), Remedy.RESTART, True),
        (replace(WELL, silent=29.0), Remedy.NOTHING, False),
        (replace(WELL, waits=LONGEST + 1), Remedy.RESTART, True),
        (replace(WELL, waits=LONGEST - 1), Remedy.NOTHING, False),
    ],
    ids=[
        "well",
        "stopped by a person",
        "being stopped",
        "starting",
        "supervisord tries again",
        "given up",
        "ended by itself",
        "on another model",
        "its environment cannot be seen",
        "no heartbeat for too long",
        "a heartbeat that is late",
        "a call that never ends",
        "a call that takes long",
    ],
)
def test_each_way_to_be_wrong_has_its_remedy(seen: Seen, remedy: Remedy, hangs: bool) -> None:
    verdict = generator_verdict(STATE, seen, longest=LONGEST)
    assert (verdict.remedy, verdict.hangs) == (remedy, hangs)
    assert bool(verdict.reason) is (remedy is not Remedy.NOTHING)


@pytest.mark.parametrize(("hangs", "allowed"), [(0, 30), (1, 60), (2, 120), (3, 240), (4, 480), (99, 480)])
def test_each_restart_after_a_hang_allows_the_next_start_more_time(hangs: int, allowed: float) -> None:
    for late, remedy in ((-1, Remedy.NOTHING), (1, Remedy.RESTART)):
        seen = replace(WELL, silent=allowed + late)
        assert generator_verdict(STATE, seen, longest=LONGEST, hangs=hangs).remedy is remedy


def test_while_a_switch_restarts_it_that_switch_alone_acts() -> None:
    wrong = replace(WELL, switches=3, silent=1000.0)
    assert generator_verdict(switching(SwitchPhase.RESTART), wrong, longest=LONGEST).remedy is Remedy.NOTHING
    assert generator_verdict(switching(SwitchPhase.VERIFY), wrong, longest=LONGEST).remedy is Remedy.RESTART


def test_a_generator_whose_restart_was_cut_short_is_started() -> None:
    cut = replace(STATE, restarting=True)
    assert generator_verdict(cut, program(ProgramState.STOPPED), longest=LONGEST).remedy is Remedy.START
    under_way = replace(cut, switch=switching(SwitchPhase.RESTART).switch)
    assert (
        generator_verdict(under_way, program(ProgramState.STOPPED), longest=LONGEST).remedy is Remedy.NOTHING
    )
