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
WELL = Seen(ProgramInfo("generator", ProgramState.RUNNING, 77), 4, T - 5, T - 500, None)
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
        (replace(WELL, heartbeat=T - 31), Remedy.RESTART, True),
        (replace(WELL, heartbeat=T - 29), Remedy.NOTHING, False),
        (replace(WELL, heartbeat=None, started=T - 31), Remedy.RESTART, True),
        (replace(WELL, heartbeat=None, started=T - 20), Remedy.NOTHING, False),
        (replace(WELL, heartbeat=T - 100, started=T - 20), Remedy.NOTHING, False),
        (replace(WELL, request_since=T - LONGEST - 1), Remedy.RESTART, True),
        (replace(WELL, request_since=T - LONGEST + 1), Remedy.NOTHING, False),
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
        "never a heartbeat",
        "too young for one",
        "the heartbeat is its predecessor's",
        "a call that never ends",
        "a call that takes long",
    ],
)
def test_each_way_to_be_wrong_has_its_remedy(seen: Seen, remedy: Remedy, hangs: bool) -> None:
    verdict = generator_verdict(STATE, seen, T, longest=LONGEST)
    assert (verdict.remedy, verdict.hangs) == (remedy, hangs)
    assert bool(verdict.reason) is (remedy is not Remedy.NOTHING)


@pytest.mark.parametrize(("hangs", "allowed"), [(0, 30), (1, 60), (2, 120), (3, 240), (4, 480), (99, 480)])
@pytest.mark.parametrize("beaten", [False, True])
def test_each_restart_after_a_hang_allows_the_next_start_more_time(
    hangs: int, allowed: float, beaten: bool
) -> None:
    for late, remedy in ((-1, Remedy.NOTHING), (1, Remedy.RESTART)):
        last = T - allowed - late
        seen = replace(WELL, heartbeat=last if beaten else None, started=last - 1 if beaten else last)
        assert generator_verdict(STATE, seen, T, longest=LONGEST, hangs=hangs).remedy is remedy


def test_while_a_switch_restarts_it_that_switch_alone_acts() -> None:
    wrong = replace(WELL, switches=3, heartbeat=T - 1000)
    assert (
        generator_verdict(switching(SwitchPhase.RESTART), wrong, T, longest=LONGEST).remedy is Remedy.NOTHING
    )
    assert (
        generator_verdict(switching(SwitchPhase.VERIFY), wrong, T, longest=LONGEST).remedy is Remedy.RESTART
    )


def test_a_generator_whose_restart_was_cut_short_is_started() -> None:
    cut = replace(STATE, restarting=True)
    assert generator_verdict(cut, program(ProgramState.STOPPED), T, longest=LONGEST).remedy is Remedy.START
    under_way = replace(cut, switch=switching(SwitchPhase.RESTART).switch)
    assert (
        generator_verdict(under_way, program(ProgramState.STOPPED), T, longest=LONGEST).remedy
        is Remedy.NOTHING
    )
