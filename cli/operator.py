"""Switches by hand, `unpin`, `pause` and `resume`, with or without a running monitor."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from cli.target import Fleet
from fleet.clients.gpu import cards, no_cards
from fleet.clients.supervisor import RpcFault
from fleet.config.ladder import Ladder, Rung, full_name, same_model
from fleet.policy.caps import follow_clock
from fleet.policy.decide import decide
from fleet.policy.events import Event, EventKind, sentence
from fleet.policy.facts import Command, Fact, ModelPresent, PauseAsked, ResumeAsked, TrialEnded, Unpin
from fleet.policy.state import FleetState, SwitchKind, SwitchPhase
from fleet.runtime.clock import SystemClock
from fleet.runtime.errors import ConfigError, OllamaError, SupervisorAwayError, SwitchError
from fleet.runtime.home import DEFAULT_LANE, read_json
from fleet.runtime.pause_request import is_idle
from fleet.runtime.units import Seconds, show_duration, show_moment
from monitor.models.disk_space import disk_check, is_here, models_folder
from monitor.models.pull import ProgressBar
from monitor.pauses import release_pause
from monitor.switching.executor import Switcher
from monitor.switching.freeing import free_gpu
from monitor.switching.generator_process import GENERATOR, Generator, started_at
from state.history import read_history
from state.store import StateStore

_POLL: Seconds = 0.1


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """The result of a command: the current rung and a sentence. `saved` means exit code 3."""

    model: str
    index: int
    sentence: str
    saved: bool = False


def _later(away: SupervisorAwayError) -> str:
    """Return the end of a sentence for a command that is saved only."""
    return f"{away.message}; it takes effect when supervisord runs the generator"


def find_rung(ladder: Ladder, target: str) -> int:
    """Return the index of the rung that an index, a label or a model's name stands for.

    A name without its tag works if only one rung matches. Raise ConfigError if no rung matches, or several do.
    """
    if target.isascii() and target.isdigit():
        index = int(target)
        if index <= ladder.last:
            return index
        raise ConfigError(f"there is no rung {index}", hint=f"The ladder has rungs 0 to {ladder.last}.")
    found = _rungs_called(ladder, target)
    if not found:
        models = ", ".join(one.model for one in ladder)
        raise ConfigError(f"{target!r} is not on the ladder", hint=f"On it are {models}.")
    if len(found) > 1:
        rungs = ", ".join(f"{rung.index} ({rung.label})" for rung in found)
        raise ConfigError(f"{target!r} may mean several rungs", hint=f"Name one by its index: {rungs}.")
    return found[0].index


def _rungs_called(ladder: Ladder, target: str) -> list[Rung]:
    name = target.lower()
    return (
        [rung for rung in ladder if rung.label.lower() == name]
        or [rung for rung in ladder if same_model(rung.model, target)]
        or [rung for rung in ladder if same_model(rung.model, f"{target}:{_tag(rung.model)}")]
    )


def _tag(model: str) -> str:
    return full_name(model).rpartition(":")[2]


def edited_since(fleet: Fleet, pid: int) -> bool:
    """Return True if the configuration file is newer than the process."""
    began = started_at(pid, time.time()) if pid else None
    try:
        return began is not None and Path(fleet.settings.source).stat().st_mtime > began
    except OSError:
        return False


def apply_hint(fleet: Fleet) -> str:
    """Return the hint with the command that applies a change of the configuration."""
    return f"`{fleet.home.supervisorctl('restart', 'monitor', 'generator')}` applies the change."


class OperatorCommands:
    """Carries out the switches of one command line."""

    def __init__(self, fleet: Fleet, *, bar: ProgressBar | None = None) -> None:
        fleet.home.require_owner()
        self._fleet = fleet
        clock = SystemClock()
        self._store = StateStore(fleet.home, fleet.settings.ladder, clock)
        self._supervisor = fleet.supervisor()
        folder = models_folder(fleet.started.profile if fleet.started else "", fleet.url, os.environ)
        disk = disk_check(folder)
        self._switcher = Switcher(
            home=fleet.home,
            settings=fleet.settings,
            ollama=fleet.ollama(),
            generator=Generator(self._supervisor, clock),
            clock=clock,
            read=self._store.read,
            post=self._decide,
            disk=disk,
            cards=cards if fleet.started and is_here(fleet.started.profile, fleet.url) else no_cards,
            bar=bar,
        )

    def use(self, target: str, *, pin: bool, wait: bool) -> CommandOutcome:
        """Go to a named rung."""
        index = find_rung(self._fleet.settings.ladder, target)
        return self.switch(Command(SwitchKind.USE, index, pin), wait=wait)

    def switch(self, command: Command, *, wait: bool) -> CommandOutcome:
        """Carry out a command until the new generator is up, or until its first answer with `wait`.

        Raise SwitchError if the switch fails. Without supervisord the command is saved and takes effect later.
        """
        self._fleet.home.create()
        before = self._store.read()
        asked = self._decide(command)
        try:
            return self._carried_out(before, asked, wait=wait)
        except KeyboardInterrupt:
            raise self._left("interrupted", before) from None
        except OSError as error:
            raise self._left(error.strerror or str(error), before) from error

    def _left(self, why: str, before: FleetState) -> SwitchError:
        """Return the error of an interrupted command. Each step is atomic; the monitor resumes the switch from the state."""
        state = self._store.read()
        if state.switch is None:
            return SwitchError(f"{why}; the fleet stands on {state.current_model}", hint="See `history`.")
        return SwitchError(
            f"{why}; the switch to {self._fleet.settings.ladder[state.switch.target].label} goes on without "
            "this command, by the monitor",
            hint=f"`use {before.current_model_index}` takes it back.",
        )

    def _carried_out(self, before: FleetState, asked: FleetState, *, wait: bool) -> CommandOutcome:
        try:
            self._require_generator()
            after = asked if asked.switch is None else self._switcher.carry_out(asked.switch.number)
        except SupervisorAwayError as away:
            after = self._commit_without(asked)
            self._release_pause()  # of a hold that the choice ended: no monitor does it
            return replace(self._outcome(after, f"saved; {_later(away)}"), saved=True)
        if asked.switch is None:
            if before.hold is not None and before.hold.active(time.time()):
                self._release_pause()  # at once, not at the next check of the monitor
            return self._outcome(after, "nothing had to be restarted")
        number = asked.switch.number
        self._raise_if_failed(number)
        if after.switches == before.switches:
            edited = any(
                program.name == "monitor" and edited_since(self._fleet, program.pid)
                for program in self._supervisor.programs()
            )
            if edited:  # the monitor fits the state to the ladder that it started with
                raise SwitchError(
                    f"{self._fleet.settings.source} was changed after the monitor's start, and the monitor undid this",
                    hint=apply_hint(self._fleet),
                )
            raise SwitchError("another switch came first", hint="See `history`.")
        if wait:
            after = self._wait(number)
        return self._outcome(after, self._result(number, after))

    def _decide(self, fact: Fact) -> FleetState:
        """Let the policy decide on a fact and write the state, which this process owns beside the monitor's loop.

        The present caps are in force also without a monitor.
        """
        rules, now = self._fleet.rules, time.time()
        return self._store.update(
            lambda state: decide(follow_clock(state, now, rules), fact, now, rules).state
        )

    def _commit_without(self, state: FleetState) -> FleetState:
        """Advance a switch to its commit, which needs no supervisord."""
        while state.switch is not None and state.switch.phase in {SwitchPhase.PULL, SwitchPhase.TRIAL}:
            number = state.switch.number
            pulling = state.switch.phase is SwitchPhase.PULL
            state = self._decide(ModelPresent(number) if pulling else TrialEnded(number, passed=True))
        return state

    def _wait(self, number: int) -> FleetState:
        """Wait for the end of the switch, at most as long as a first token may take."""
        patience = self._fleet.settings.ollama.first_token_timeout + 60.0
        end = time.monotonic() + patience
        while time.monotonic() < end:
            state = self._store.read()
            if state.switch is None or state.switch.number != number:
                self._raise_if_failed(number)
                return state
            time.sleep(_POLL)
        raise SwitchError(
            f"no first answer within {show_duration(patience)}",
            hint="The switch stands; does the monitor run? See `status`.",
        )

    def _events(self, number: int) -> list[Event]:
        """Return the events since a switch was planned, from the history and the state."""
        pending = self._store.read().events
        try:
            past = read_history(self._fleet.home.history, 200)
        except OSError:  # an event that cannot be appended stays in the state
            past = []
        events = {event.number: event for event in (*past, *pending)}
        return [events[each] for each in sorted(events) if each >= number]

    def _raise_if_failed(self, number: int) -> None:
        committed = False
        for event in self._events(number):
            committed = committed or event.kind is EventKind.SWITCH_COMMITTED
            if event.kind is EventKind.SWITCH_SUPERSEDED and event.fields.get("planned") == number:
                raise SwitchError(
                    f"superseded: a {event.fields.get('by')} was asked for meanwhile", hint="See `status`."
                )
            # A generator that ended before, as in a long pull, is started again by the monitor.
            down = committed and event.kind is EventKind.GENERATOR_DOWN
            if down or event.kind is EventKind.SWITCH_FAILED:
                said, model = " ".join(sentence(event).split()), self._store.read().current_model
                raise SwitchError(
                    f"{said}; the fleet stands on {model}",
                    hint="`history` lists the events; `doctor` looks for the cause.",
                )

    def _result(self, number: int, state: FleetState) -> str:
        for event in self._events(number):
            if event.kind is EventKind.SWITCH_DONE:
                return str(event.fields.get("result", ""))
        return "the generator is up" if state.switch is not None else "done"

    def unpin(self) -> CommandOutcome:
        """Lift pin and ceiling."""
        return self._outcome(self._decide(Unpin()), "automatic switches go on")

    def pause(self, duration: Seconds | None) -> CommandOutcome:
        """Free the GPU for a while, or until `resume`; raise SwitchError if Ollama keeps a model.

        The pause is written to the state first: the monitor completes a killed command.
        """
        self._fleet.home.create()
        until = None if duration is None else time.time() + duration
        state = self._decide(PauseAsked(until, "paused by hand"))
        try:
            self._release_pause()
        except OSError as error:
            raise SwitchError(
                f"the pause is saved, but {self._fleet.home.pause_file} cannot be written: {error.strerror}",
                hint="The monitor goes on with the pause as soon as it can; `resume` takes it back.",
            ) from error
        freed = self._free_gpu(state)
        end = "until `resume`" if until is None else f"until {show_moment(until)}"
        return self._saved_if_away(state, f"paused {end}; {freed}")

    def _free_gpu(self, state: FleetState) -> str:
        """Unload the models and return the result in words; raise SwitchError if Ollama keeps one."""
        home, clock = self._fleet.home, SystemClock()
        try:
            kept = free_gpu(
                self._fleet.ollama(),
                self._fleet.settings.ladder,
                state.current_model,
                clock,
                idle=lambda: is_idle(read_json(home.generator_file) or {}, clock.time()),
            )
        except OllamaError as error:
            return f"Ollama does not answer, so its models are not known to be unloaded ({error.message})"
        if not kept:
            return "the model is unloaded"
        raise SwitchError(
            f"the fleet is paused, but Ollama still lists {', '.join(kept)}",
            hint="Another client may use it. `ollama ps` shows it, `ollama stop MODEL` unloads it.",
        )

    def resume(self) -> CommandOutcome:
        """End a pause by hand, and a request to pause without a reason in the state."""
        self._fleet.home.create()
        before = self._store.read().pause is not None or self._fleet.home.pause_file.exists()
        state = self._decide(ResumeAsked())
        self._release_pause()
        other = state.paused(time.time())
        if other is not None:
            return self._saved_if_away(state, f"resumed, but still paused: {other.why}")
        return self._saved_if_away(state, "resumed" if before else "the fleet was not paused")

    def _release_pause(self) -> None:
        release_pause(self._fleet.home, self._store.read, SystemClock())

    def _saved_if_away(self, state: FleetState, sentence: str) -> CommandOutcome:
        try:
            self._require_generator()
        except SupervisorAwayError as away:
            return replace(self._outcome(state, f"{sentence}. Saved; {_later(away)}"), saved=True)
        return self._outcome(state, sentence)

    def _require_generator(self) -> None:
        """Raise SupervisorAwayError if no supervisord runs the generator; the lane `default` has none beside others."""
        programs, lane = self._supervisor.programs(), self._fleet.home.lane
        if (programs or lane) and all(program.name != GENERATOR for program in programs):
            lane = lane or DEFAULT_LANE
            raise SupervisorAwayError(f"supervisord does not run the lane {lane}", fault=RpcFault.BAD_NAME)

    def _outcome(self, state: FleetState, sentence: str) -> CommandOutcome:
        return CommandOutcome(state.current_model, state.current_model_index, sentence)
