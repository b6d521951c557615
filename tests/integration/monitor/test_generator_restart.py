"""Restarting the generator under a real supervisord: each state it can be in, and each way to go wrong."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fleet.clients.supervisor import ProgramState, Supervisor
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import Command
from fleet.policy.state import FleetState, SwitchKind, SwitchPhase
from fleet.runtime.clock import SystemClock
from monitor.switching.generator_process import Generator
from state.history import read_history
from tests.parts.supervisord import wait_until
from tests.processes.small_fleet import DEAF, DEAF_AND_LATE, DIES, DIES_SOON, STEADY, SmallFleet, small_fleet

DOWN = Command(SwitchKind.DOWNGRADE)


@pytest.fixture
def fleet() -> Iterator[SmallFleet]:
    with small_fleet() as made:
        made.start()
        yield made


def ask(fleet: SmallFleet, command: Command = DOWN) -> FleetState:
    rules, now = fleet.rules(), time.time()
    return fleet.store.update(lambda state: decide(state, command, now, rules).state)


def look(fleet: SmallFleet) -> None:
    """Do what the monitor's switch thread does, one time, as a new monitor."""
    fleet.job()


def emitted(fleet: SmallFleet, kind: EventKind) -> list[str]:
    return [str(one.fields["reason"]) for one in read_history(fleet.home.history) if one.kind is kind]


def test_a_switch_restarts_the_generator_on_the_new_model(fleet: SmallFleet) -> None:
    before = fleet.pid
    ask(fleet)
    state = fleet.switcher.carry_out()
    assert state.switch is not None
    assert state.switch.phase is SwitchPhase.VERIFY
    assert fleet.pid not in {0, before}
    assert fleet.environ["FLEET_MODEL"] == state.current_model == "phi3:mini"
    assert fleet.environ["FLEET_SWITCHES"] == "1"
    assert fleet.generators == 1


@pytest.mark.slow
def test_a_generator_that_ignores_sigterm_is_killed_after_its_stopwaitsecs(fleet: SmallFleet) -> None:
    fleet.behave(DEAF)
    ask(fleet)
    fleet.switcher.carry_out()
    deaf = fleet.pid
    fleet.behave(STEADY)
    ask(fleet)
    state = fleet.switcher.carry_out()
    assert state.current_model == fleet.model == "tinyllama:1.1b"
    assert fleet.pid != deaf
    assert fleet.generators == 1


def test_the_pause_of_a_passed_trial_lasts_until_the_old_generator_is_stopped(
    fleet: SmallFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In between, it would load the old model beside the new one."""
    paused: list[bool] = []
    stop = Supervisor.stop

    def seen(client: Supervisor, name: str, *, wait: bool = True) -> None:
        paused.append(fleet.home.pause_file.exists())
        stop(client, name, wait=wait)

    monkeypatch.setattr(Supervisor, "stop", seen)
    ask(fleet, Command(SwitchKind.USE, 1))
    fleet.switcher.carry_out()
    assert fleet.model == "phi3:mini"
    assert paused == [True]
    assert not fleet.home.pause_file.exists()


def test_a_generator_that_does_not_come_up_is_waited_for_only_while_it_is_wanted(fleet: SmallFleet) -> None:
    asked: list[bool] = []
    generator = Generator(fleet.daemon.client, SystemClock())
    start = generator.restart(99, between=lambda: None, unwanted=lambda: not asked.append(True))
    assert start.failure
    assert asked == [True]


@pytest.mark.slow
def test_one_that_somebody_is_just_stopping_is_waited_for(fleet: SmallFleet) -> None:
    """A start while it is STOPPING does nothing, and supervisord does not say so."""
    fleet.behave(DEAF_AND_LATE)
    fleet.renew()
    ask(fleet)
    stopping = threading.Thread(target=fleet.stop)
    stopping.start()
    wait_until(lambda: fleet.state is ProgramState.STOPPING, fleet.daemon.log)
    fleet.behave(STEADY)
    state = fleet.switcher.carry_out()
    stopping.join()
    assert state.switch is not None
    assert state.switch.phase is SwitchPhase.VERIFY
    assert fleet.model == "phi3:mini"


@pytest.mark.slow
def test_one_that_will_not_start_is_reported_and_tried_again_until_it_does(fleet: SmallFleet) -> None:
    (fleet.home.path.parent / "generator.sh").chmod(0o600)
    ask(fleet)
    state = fleet.switcher.carry_out()
    assert state.switch is not None
    assert state.switch.phase is SwitchPhase.RESTART
    assert state.switch.attempts == 1
    assert state.current_model == "phi3:mini"
    assert "FATAL" in emitted(fleet, EventKind.GENERATOR_DOWN)[0]
    fleet.switcher.carry_out()
    fleet.switcher.carry_out()
    assert len(emitted(fleet, EventKind.GENERATOR_DOWN)) == 2, (
        "said at the first and the second try, not the third"
    )
    fleet.behave(STEADY)
    state = fleet.switcher.carry_out()
    assert state.switch is not None
    assert state.switch.phase is SwitchPhase.VERIFY
    assert fleet.model == state.current_model


def test_one_that_a_person_stopped_stays_stopped(fleet: SmallFleet) -> None:
    fleet.stop()
    ask(fleet)
    state = fleet.switcher.carry_out()
    assert state.switch is None
    assert state.current_model == "phi3:mini"
    look(fleet)
    assert fleet.state is ProgramState.STOPPED


@pytest.mark.slow
def test_one_that_supervisord_gave_up_is_revived_with_back_off(fleet: SmallFleet) -> None:
    fleet.behave(DIES)
    fleet.kill()
    wait_until(lambda: fleet.state is ProgramState.FATAL, fleet.daemon.log)
    busy = fleet.job
    busy()
    assert len(emitted(fleet, EventKind.GENERATOR_DOWN)) == 1
    wait_until(lambda: fleet.state is ProgramState.FATAL, fleet.daemon.log)
    busy()
    assert len(emitted(fleet, EventKind.GENERATOR_DOWN)) == 1, "the next try has its wait"
    fleet.behave(STEADY)
    look(fleet)
    wait_until(lambda: fleet.state is ProgramState.RUNNING, fleet.daemon.log)


def test_one_that_runs_on_another_model_is_replaced_without_ever_being_stopped(fleet: SmallFleet) -> None:
    """A crash between a stop and a start would leave it looking as if a person had stopped it."""
    before = fleet.pid
    fleet.store.update(lambda state: replace(state, switches=7))
    look(fleet)
    wait_until(lambda: fleet.environ.get("FLEET_SWITCHES") == "7", fleet.daemon.log)
    assert fleet.pid != before
    assert "spawned" in fleet.daemon.log()
    assert "stopped: generator" not in fleet.daemon.log()
    assert emitted(fleet, EventKind.GENERATOR_STALE)


@pytest.mark.slow
@pytest.mark.parametrize("script", [STEADY, DEAF], ids=["frozen", "deaf"])
def test_one_whose_heartbeat_stands_still_is_replaced_and_the_history_says_why(
    fleet: SmallFleet, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.behave(script)
    fleet.renew()
    before = fleet.kill(signal.SIGSTOP) if script is STEADY else fleet.pid
    fleet.behave(STEADY)
    monkeypatch.setattr("monitor.watch.generator.HUNG_AFTER", 0.5)
    busy = fleet.job

    def replaced() -> bool:
        busy()
        return fleet.pid not in {0, before}

    wait_until(replaced, fleet.daemon.log)
    wait_until(lambda: fleet.model != "", fleet.daemon.log)
    assert emitted(fleet, EventKind.GENERATOR_HUNG)[0].startswith("no heartbeat for")


@pytest.mark.slow
def test_one_that_starts_slowly_gets_more_time_after_each_restart(
    fleet: SmallFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine may need minutes for a start; restarted at the same age each time, it would never work."""
    monkeypatch.setattr("monitor.watch.generator.HUNG_AFTER", 1.0)
    busy = fleet.job

    def looks() -> bool:
        busy()
        return len(emitted(fleet, EventKind.GENERATOR_HUNG)) >= 3

    wait_until(looks, fleet.daemon.log, seconds=60)
    waits = [int(reason.split()[-1].removesuffix("s")) for reason in emitted(fleet, EventKind.GENERATOR_HUNG)]
    assert waits[1] >= 2
    assert waits[2] >= 4


@pytest.mark.slow
def test_one_that_dies_soon_after_each_start_does_not_spin_and_is_told_once(fleet: SmallFleet) -> None:
    fleet.behave(DIES_SOON)
    fleet.kill()
    busy = fleet.job

    def looks() -> bool:
        busy()
        return "it ends soon after each start; see log/generator.log" in emitted(
            fleet, EventKind.GENERATOR_DOWN
        )

    wait_until(looks, fleet.daemon.log, seconds=60)
    busy()
    assert len(emitted(fleet, EventKind.GENERATOR_DOWN)) == 1
    assert json.loads(fleet.home.starts_file.read_text())["began"] > time.time() - 5
