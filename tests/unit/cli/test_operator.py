"""What an operator is told where nothing has to be restarted, and where nobody could restart it."""

import errno
import json
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cli.operator import OperatorCommands
from cli.target import Fleet
from fleet.clients.supervisor import ProgramInfo, ProgramState, Supervisor
from fleet.config.schema import SEED_LADDER, Settings
from fleet.policy.events import EventKind
from fleet.policy.facts import Command, ModelPresent, Restarted, TrialEnded
from fleet.policy.state import FleetState, SwitchKind
from fleet.runtime.errors import SupervisorAwayError, SwitchError
from fleet.runtime.home import Home
from fleet.runtime.logging import configure_command
from fleet.runtime.pause_request import pause
from monitor.switching.executor import Switcher
from state.codec import default_state, encode_state
from state.history import HistoryFile
from state.store import backup_of, read_state


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Return a fleet at the top of its ladder with one error counted; no supervisord runs."""
    home = Home(tmp_path / "home")
    home.create()
    now = time.time()
    state = default_state(SEED_LADDER, now)
    row = {**json.loads(encode_state(state, now)), "vram_error_count": 1}
    row["incidents"] = [{"time": now, "cause": "allocation", "id": "1"}]
    home.state.write_text(json.dumps(row))
    return Fleet(home, Settings(), None)


@pytest.mark.parametrize("command", [Command(SwitchKind.RESET), Command(SwitchKind.USE, 0)])
def test_with_supervisord_away_a_choice_of_the_same_rung_is_saved_too(fleet: Fleet, command: Command) -> None:
    outcome = OperatorCommands(fleet).switch(command, wait=False)
    assert outcome.saved
    assert "supervisord does not run" in outcome.sentence
    state = read_state(fleet.home)
    assert state is not None
    assert (state.current_model_index, state.vram_error_count, state.incidents) == (0, 0, ())


def test_a_damaged_state_is_reported_in_a_sentence(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.home.state.rename(backup_of(fleet.home.state))
    fleet.home.state.write_bytes(b"\0")
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_command()
        OperatorCommands(fleet).switch(Command(SwitchKind.USE, 0), wait=False)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    printed = capsys.readouterr().err
    assert printed.startswith(f"Error: the state file {fleet.home.state} was repaired: ")
    assert "its last good copy is used" in printed
    assert "state.damaged" not in printed


def test_a_supervisord_that_is_stopped_by_a_signal_is_not_said_to_be_away(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frozen(_: Supervisor) -> list[ProgramInfo]:
        raise SupervisorAwayError("supervisord runs and does not answer on /home/s", hint="")

    monkeypatch.setattr(Supervisor, "programs", frozen)
    outcome = OperatorCommands(fleet).switch(Command(SwitchKind.USE, 2), wait=False)
    assert outcome.saved
    assert outcome.sentence == (
        "saved; supervisord runs and does not answer on /home/s; it takes effect when supervisord runs the generator"
    )


@pytest.mark.parametrize("command", [Command(SwitchKind.RESET), Command(SwitchKind.USE, 2)])
def test_with_supervisord_away_a_choice_ends_a_hold_and_its_pause(fleet: Fleet, command: Command) -> None:
    hold(fleet)
    assert OperatorCommands(fleet).switch(command, wait=False).saved
    assert not fleet.home.pause_file.exists()


def test_a_pause_whose_file_cannot_be_written_is_said_to_be_saved(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cli.operator.release_pause", full)
    with pytest.raises(
        SwitchError, match=r"the pause is saved, but .*/run/pause.json cannot be written: No space"
    ):
        OperatorCommands(fleet).pause(None)
    state = read_state(fleet.home)
    assert state is not None
    assert state.pause is not None


def hold(fleet: Fleet) -> None:
    now = time.time()
    state = read_state(fleet.home)
    assert state is not None
    row = json.loads(encode_state(state, now)) | {"hold": {"until": now + 900, "step": 3, "why": "all fail"}}
    fleet.home.state.write_text(json.dumps(row))
    pause(fleet.home, since=now, until=now + 900, why="all fail")


def test_a_choice_of_the_same_rung_ends_its_hold_at_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(fleet)
    monkeypatch.setattr("fleet.clients.supervisor.Supervisor.programs", lambda _: list[ProgramInfo]())
    outcome = OperatorCommands(fleet).switch(Command(SwitchKind.RESET), wait=False)
    assert not outcome.saved
    state = read_state(fleet.home)
    assert state is not None
    assert state.hold is None
    assert not fleet.home.pause_file.exists()


@pytest.mark.parametrize("readable", [True, False])
def test_a_command_knows_that_it_was_superseded_before_the_history_does(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, *, readable: bool
) -> None:
    """The other program writes the state first and the history after it, if that can be written."""
    if readable:
        monkeypatch.setattr(HistoryFile, "append", lambda *_: None)
    else:
        fleet.home.history.mkdir()
    monkeypatch.setattr("fleet.clients.supervisor.Supervisor.programs", lambda _: list[ProgramInfo]())
    operator = OperatorCommands(fleet)

    def superseded(_: Switcher, number: int) -> FleetState:
        assert number == 1
        return operator._decide(Command(SwitchKind.USE, 2))

    monkeypatch.setattr(Switcher, "carry_out", superseded)
    with pytest.raises(SwitchError, match="superseded: a use was asked for meanwhile"):
        operator.switch(Command(SwitchKind.DOWNGRADE), wait=False)


@pytest.mark.parametrize(
    ("age", "message"), [(0, "was changed after the monitor's start"), (9**9, "came first")]
)
def test_a_command_that_a_monitor_of_another_configuration_undid_names_the_restart(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, age: int, message: str
) -> None:
    config = tmp_path / "fleet.toml"
    config.touch()
    os.utime(config, (time.time() - age,) * 2)
    edited = replace(fleet, settings=replace(fleet.settings, source=str(config)))
    running = [ProgramInfo(name, ProgramState.RUNNING, os.getpid()) for name in ("monitor", "generator")]
    monkeypatch.setattr("fleet.clients.supervisor.Supervisor.programs", lambda _: running)
    monkeypatch.setattr(Switcher, "carry_out", lambda *_: default_state(SEED_LADDER, time.time()))
    with pytest.raises(SwitchError, match=message) as refused:
        OperatorCommands(edited).switch(Command(SwitchKind.DOWNGRADE), wait=False)
    assert ("restart monitor generator" in refused.value.hint) == (age == 0)


def test_a_switch_that_failed_is_told_with_its_model_and_where_the_fleet_stands(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.clients.supervisor.Supervisor.programs", lambda _: list[ProgramInfo]())
    operator = OperatorCommands(fleet)

    def failed(_: Switcher, number: int) -> FleetState:
        operator._decide(ModelPresent(number))
        return operator._decide(TrialEnded(number, passed=False, reason="exit status 1:\nno memory"))

    monkeypatch.setattr(Switcher, "carry_out", failed)
    with pytest.raises(SwitchError) as error:
        operator.switch(Command(SwitchKind.USE, 1), wait=False)
    assert error.value.message == (
        "use to phi3:mini failed: exit status 1: no memory; the fleet stands on llama3.2:3b"
    )


def test_a_generator_that_was_down_before_the_commit_is_no_failed_switch(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a long pull the monitor starts one that has ended."""
    monkeypatch.setattr("fleet.clients.supervisor.Supervisor.programs", lambda _: list[ProgramInfo]())
    operator = OperatorCommands(fleet)

    def down(state: FleetState) -> FleetState:
        return state.with_event(time.time(), EventKind.GENERATOR_DOWN, reason="it has ended by itself")

    def pulled(_: Switcher, number: int) -> FleetState:
        operator._store.update(down)
        operator._decide(ModelPresent(number))
        operator._decide(TrialEnded(number, passed=True))
        return operator._decide(Restarted(number))

    monkeypatch.setattr(Switcher, "carry_out", pulled)
    assert operator.switch(Command(SwitchKind.USE, 1), wait=False).sentence == "the generator is up"
    operator._store.update(down)
    with pytest.raises(SwitchError, match="the generator does not run"):
        operator._raise_if_failed(1)
