"""A switch whose actor is killed at any call that leaves its process, and what the next one makes of it.

The command line and the monitor are the actors. Whatever was killed, afterwards one generator runs, on the
model that the state names, and no incident was lost or counted twice. The suite tries some of the calls, and
with FLEET_FUZZ every one.
"""

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cli.operator import OperatorCommands
from fleet.clients.ollama import Ollama
from fleet.config.schema import PolicySettings, Settings
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import CallEnded, Command
from fleet.policy.state import FleetState, SwitchKind, SwitchPhase
from fleet.runtime.clock import SystemClock
from fleet.runtime.errors import FleetError
from monitor.detection.detector import Detector
from monitor.ingest import LOG
from monitor.loop import Monitor
from monitor.sources.base import LogSource
from monitor.sources.open import open_source
from state.history import read_history
from tests.parts.supervisord import wait_until
from tests.processes.fleet import MEMORY_FAILURE
from tests.processes.kill_at_call import ALL_CALLS, Killer, in_child
from tests.processes.small_fleet import SmallFleet, log_of, small_fleet

_FUZZ = "FLEET_FUZZ" in os.environ
BOTTOM = 3
SETTINGS = Settings(
    policy=PolicySettings(cool_down=0.0, incident_gap=0.2, check_interval=0.5, max_switches_per_hour=3600)
)


@pytest.fixture(scope="module")
def fleet() -> Iterator[SmallFleet]:
    with small_fleet(SETTINGS) as made:
        made.start()
        yield made


def settle(fleet: SmallFleet) -> FleetState:
    """Do what a monitor does when it comes: finish what was interrupted, and see the first answer."""
    job, store = fleet.job, fleet.store

    def settled() -> bool:
        with contextlib.suppress(FleetError):
            job()
        state = store.read()
        if state.switch is not None and state.switch.phase is SwitchPhase.VERIFY:
            answered = CallEnded(time.time(), state.switches, answered=True)
            state = store.update(lambda state: decide(state, answered, time.time(), fleet.rules()).state)
        return state.switch is None and fleet.environ.get("FLEET_SWITCHES") == str(state.switches)

    wait_until(settled, lambda: f"{store.read()}\n{fleet.daemon.log()}", seconds=60)
    return store.read()


def is_consistent(fleet: SmallFleet) -> FleetState:
    """Hold a settled fleet to what the state says, and the history to its numbers."""
    state = settle(fleet)
    assert fleet.model == state.current_model == SETTINGS.ladder[state.current_model_index].model
    assert fleet.generators == 1, fleet.daemon.log()
    assert not fleet.home.pause_file.exists()
    numbers = [event.number for event in read_history(fleet.home.history)]
    assert numbers == list(range(1, len(numbers) + 1))
    return state


def points(every: int) -> Iterator[int]:
    """Return the calls to die at, spread over the switch in the suite, all of them with FLEET_FUZZ."""
    return itertools.count(1, 1 if _FUZZ else every)


def next_command(state: FleetState, *, tried: bool) -> Command:
    """Return a command that moves from here: one that is tried before its commit, or one that is not."""
    if tried:
        return Command(SwitchKind.USE, (state.current_model_index + 1) % (BOTTOM + 1))
    return Command(SwitchKind.RESET if state.current_model_index == BOTTOM else SwitchKind.DOWNGRADE)


@pytest.mark.timeout(1800 if _FUZZ else 180)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("tried", [False, True], ids=["down", "tried first"])
def test_a_command_that_is_killed_anywhere_is_finished_or_never_was(
    fleet: SmallFleet, tried: bool, after: bool
) -> None:
    died = 0
    for at in points(37):
        before = is_consistent(fleet)
        command = next_command(before, tried=tried)

        def work(at: int = at, command: Command = command) -> None:
            operator = OperatorCommands(fleet.fleet)
            Killer(at, after=after, calls=ALL_CALLS).arm()
            operator.switch(command, wait=False)

        status = in_child(work)
        begun = len(read_history(fleet.home.history))
        state = is_consistent(fleet)
        moved = state.current_model_index != before.current_model_index
        assert moved or begun == 0 or state.switches == before.switches
        if status == 0:
            assert moved
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        died += 1
    assert died >= (20 if _FUZZ else 2)


def monitor_of(fleet: SmallFleet) -> Monitor:
    def source(origin: str) -> LogSource:
        if origin == LOG:
            return open_source(f"file:{log_of(fleet)}", since="start")
        return open_source(f"file:{fleet.home.signals}", since="start")

    return Monitor(
        home=fleet.home,
        settings=fleet.settings,
        ollama=Ollama(fleet.url),
        open_source=source,
        detector=Detector(),
        clock=SystemClock(),
    )


def monitoring(
    fleet: SmallFleet, done: Callable[[FleetState], bool], killer: Killer | None
) -> Callable[[], None]:
    """Return what runs a monitor until the state is as wanted, or it is killed."""

    def work() -> None:
        store, monitor = fleet.store, monitor_of(fleet)
        looker = OperatorCommands(fleet.fleet)  # what the watcher needs is imported before calls are counted
        assert looker is not None

        def watch() -> None:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                try:
                    if done(store.read()):
                        break
                except FleetError:
                    pass
                time.sleep(0.05)
            monitor.stop()

        threading.Thread(target=watch, daemon=True).start()
        if killer is not None:
            killer.arm()
        monitor.run()

    return work


@pytest.mark.slow
@pytest.mark.timeout(3600 if _FUZZ else 240)
def test_a_monitor_that_is_killed_anywhere_loses_and_doubles_no_incident(fleet: SmallFleet) -> None:
    incidents = died = 0
    for at in itertools.count(20, 7 if _FUZZ else 170):
        before = is_consistent(fleet)
        if before.current_model_index == BOTTOM:
            OperatorCommands(fleet.fleet).switch(Command(SwitchKind.RESET), wait=False)
            before = is_consistent(fleet)
        target = before.current_model_index + 1

        def there(state: FleetState, target: int = target) -> bool:
            switch = state.switch
            return state.current_model_index == target and (
                switch is None or switch.phase is SwitchPhase.VERIFY
            )

        for _ in range(3):
            with log_of(fleet).open("a") as log:
                log.write(f"{stamp()} {MEMORY_FAILURE}\n")
            time.sleep(0.25)
        incidents += 3
        status = in_child(monitoring(fleet, there, Killer(at, after=False, calls=ALL_CALLS)))
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
        assert in_child(monitoring(fleet, there, None)) == 0
        assert is_consistent(fleet).current_model_index == target
        events = read_history(fleet.home.history)
        seen = [event for event in events if event.kind is EventKind.INCIDENT]
        assert len(seen) == incidents
        assert len({event.fields["id"] for event in seen}) == incidents
        assert all(event.fields["counted"] for event in seen)
        died += status != 0
        if status == 0:
            break
    assert died >= 2


def stamp() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}000000Z"


def test_two_commands_at_once_end_in_one_state_and_both_say_what_came(fleet: SmallFleet) -> None:
    is_consistent(fleet)
    OperatorCommands(fleet.fleet).switch(Command(SwitchKind.RESET), wait=False)
    is_consistent(fleet)
    said: list[str] = []

    def run(target: int) -> None:
        try:
            outcome = OperatorCommands(fleet.fleet).switch(Command(SwitchKind.USE, target), wait=False)
            said.append(f"{target}: {outcome.index}")
        except FleetError as error:
            said.append(f"{target}: {error.message}")

    both = [threading.Thread(target=run, args=(target,)) for target in (1, 2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    state = is_consistent(fleet)
    assert state.current_model_index in {1, 2}
    won = state.current_model_index
    assert f"{won}: {won}" in said, said
    other = next(line for line in said if not line.startswith(f"{won}:"))
    assert other == f"{3 - won}: {3 - won}" or "came first" in other or "superseded" in other, said
