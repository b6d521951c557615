"""The user's command against a hang: when it runs, how often, and what is reported of it."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.config.schema import SEED_LADDER
from fleet.policy.events import EventKind, sentence
from fleet.policy.state import FleetState, Unanswered
from fleet.runtime.clock import SystemClock
from fleet.runtime.home import Home
from monitor.watch.hang_command import HangCommand, recent_runs
from state.history import read_history
from state.store import StateStore
from tests.reference.direct_owner import posting_to


class World:
    """A home whose state says that Ollama hangs, and what a command leaves behind."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.home.create()
        self.store = StateStore(self.home, SEED_LADDER)
        self.ran = folder / "ran"
        self.stopping = threading.Event()
        self.hangs(True)

    def hangs(self, hangs: bool) -> None:
        row = Unanswered(time.time() - 400, 2, "timed out", waited=True, hangs=hangs)
        self.store.update(lambda state: replace(state, unanswered=row))

    def run(self, command: str | None = None) -> None:
        ours = f"sh -c 'echo x >> {self.ran}'" if command is None else command
        post = posting_to(self.store)
        HangCommand(ours, clock=SystemClock(), post=post, stopping=self.stopping).run(self.store.read())

    def outcomes(self) -> list[str]:
        events = read_history(self.home.history)
        return [str(event.fields["outcome"]) for event in events if event.kind is EventKind.ON_HANG]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_it_runs_and_its_beginning_and_end_are_in_the_history(world: World) -> None:
    world.run()
    assert world.ran.read_text() == "x\n"
    assert world.outcomes() == ["it runs", "it ended with exit status 0"]
    assert sentence(read_history(world.home.history)[-1]).startswith("your command against a hang: it ended")


def test_it_runs_twice_an_hour_at_most_also_for_another_monitor(world: World) -> None:
    for _ in range(4):
        world.run()
    assert world.ran.read_text() == "x\nx\n"
    assert world.outcomes()[-1] == "not run: it has run 2 times within the hour"


def test_a_run_more_than_an_hour_ago_is_none_of_them(world: World) -> None:
    world.store.update(
        lambda state: replace(state, watch={"on_hang": [time.time() - 3601, time.time() - 10]})
    )
    world.run()
    assert world.ran.exists()


@pytest.mark.parametrize("command", ["", None])
def test_nothing_runs_where_none_is_set_or_a_call_was_answered(world: World, command: str | None) -> None:
    world.hangs(False)
    world.run(command)
    assert not world.ran.exists()
    assert world.outcomes() == []


@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        ("/no/such/program", "it cannot be started: No such file or directory"),
        ("sh -c 'exit 7'", "it ended with exit status 7"),
        ("sh 'x", "it cannot be started: its quotes do not match"),
    ],
)
def test_how_it_ends_is_said(world: World, command: str, outcome: str) -> None:
    world.run(command)
    assert world.outcomes()[-1] == outcome


def test_a_monitor_that_ends_waits_for_no_command(world: World) -> None:
    world.stopping.set()
    world.run(f"sh -c 'sleep 0.3; echo x >> {world.ran}'")
    assert "goes on" in world.outcomes()[-1]


def odd(value: Any) -> FleetState:
    return replace(FleetState(0, 0, "m", 0.0), watch={"on_hang": value})


@pytest.mark.parametrize("value", [None, 7, "x", ["x", None], {}])
def test_damaged_times_are_none(value: Any) -> None:
    assert recent_runs(odd(value), 100.0) == []


def test_times_in_the_future_count_as_now() -> None:
    assert recent_runs(odd([5000.0, -9999.0, 90.0]), 100.0) == [5000.0, 90.0]
