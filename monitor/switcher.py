"""Carrying out a switch, step by step, for the monitor and the command line alike.

The state says which step is due; each is safe to repeat, so that whoever holds the switch lock resumes what a
crash interrupted. A pull holds no lock: a command supersedes it, and then it is dropped. Verifying is the
monitor's, which sees the generator's first call; here a switch ends when the new generator is up.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.clock import Clock
from fleet.errors import OllamaAwayError, OllamaError, OllamaTimeoutError, SwitchError
from fleet.facts import Fact, ModelHere, PullFailed, Restarted, RestartFailed, TrialEnded
from fleet.home import Home, process_environ, read_json
from fleet.ladder import Ladder, Rung, same_model
from fleet.logs import fields, tell
from fleet.model import FleetState, Phase, Switch
from fleet.ollama import Cancel, Ollama
from fleet.policy import decide
from fleet.rules import Rules
from fleet.settings import Settings
from fleet.supervisor import ProgramState, Supervisor
from fleet.units import Seconds
from monitor.models import rungs_here
from monitor.pause import pause, resume
from monitor.pulling import ProgressBar, pull_model
from state.store import Store

_log = logging.getLogger(__name__)
GENERATOR = "generator"
_UP_WITHIN: Seconds = 5.0
_IDLE_WITHIN: Seconds = 30.0
_POLL: Seconds = 0.005


@dataclass(frozen=True, slots=True)
class Parts:
    """What a switch is carried out with."""

    home: Home
    settings: Settings
    store: Store
    ollama: Ollama
    supervisor: Supervisor
    clock: Clock

    @property
    def ladder(self) -> Ladder:
        """Return the ladder."""
        return self.settings.ladder


class Switcher:
    """Does the steps of the switch that is under way."""

    def __init__(self, parts: Parts, rules: Callable[[], Rules], *, bar: ProgressBar | None = None) -> None:
        self._parts = parts
        self._rules = rules
        self._bar = bar
        self._never = threading.Event()

    def carry_out(self) -> FleetState:
        """Do what is due until the switch waits for an answer, has ended, or did not get the generator up.

        Raise SupervisorAwayError if supervisord is needed and away (the state is saved and says what is
        wanted), StateError, and SwitchError if another switch holds the lock for too long.
        """
        while True:
            state = self._parts.store.read()
            switch = state.switch
            if switch is None or switch.phase is Phase.VERIFY:
                return state
            pulls = switch.phase is Phase.PULL
            fact = self._pull(switch) if pulls else self._locked_step(switch)
            if fact is None:
                continue
            state = self.apply(fact)
            if isinstance(fact, RestartFailed):
                return state

    def apply(self, fact: Fact) -> FleetState:
        """Put a fact to the policy and the state, in one write."""
        now = self._parts.clock.time()
        rules = self._rules()
        return self._parts.store.update(lambda state: decide(state, fact, now, rules).state)

    def _locked_step(self, switch: Switch) -> Fact | None:
        with self.lock():
            state = self._parts.store.read()
            if state.switch != switch:
                return None
            return self._trial(switch) if switch.phase is Phase.TRIAL else self._restart(state, switch)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock that serialises steps; raise SwitchError if another holds it for too long."""
        from filelock import FileLock, Timeout  # noqa: PLC0415  # only those who switch need it

        patience = self._parts.settings.ollama.first_token_timeout + _IDLE_WITHIN + 60.0
        lock = FileLock(self._parts.home.switch_lock, timeout=patience, fallback_to_soft=False)
        try:
            lock.acquire(poll_interval=0.01)
        except Timeout as error:
            raise SwitchError(
                "another switch holds the lock and does not end", hint="See `status`; is the monitor stuck?"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _wanted(self, switch: Switch) -> bool:
        current = self._parts.store.read().switch
        return current is not None and current.number == switch.number

    # Pull

    def _pull(self, switch: Switch) -> Fact | None:
        rung = self._parts.ladder[switch.target]
        stopped = self._stopped_by_a_person()
        try:
            here = rungs_here(self._parts.ladder, self._parts.ollama.tags(timeout=2.0))
        except OllamaError as error:
            sentence = (
                f"{rung.model} is neither pulled nor tried, since Ollama cannot be asked: {error.message}"
            )
            _log.warning("pull.skipped", extra=tell(sentence, model=rung.model, reason=error.message))
            return ModelHere(switch.number, stopped)
        if rung.index in here:
            return ModelHere(switch.number, stopped)
        if not self._parts.settings.ollama.auto_pull:
            reason = f"{rung.model} is not in Ollama, and auto_pull is off"
            return PullFailed(switch.number, reason, here)
        if not switch.by_hand and any(index > rung.index for index in here):
            return PullFailed(switch.number, f"{rung.model} is not in Ollama yet", here, behind=True)
        return self._pull_now(switch, rung, here, stopped=stopped)

    def _pull_now(self, switch: Switch, rung: Rung, here: tuple[int, ...], *, stopped: bool) -> Fact | None:
        parts = self._parts
        try:
            came = pull_model(
                parts.ollama, rung.model, parts.clock, wanted=lambda: self._wanted(switch), bar=self._bar
            )
        except OllamaError as error:
            return PullFailed(switch.number, error.message, here)
        return ModelHere(switch.number, stopped) if came else None

    def _stopped_by_a_person(self) -> bool:
        try:
            return self._parts.supervisor.program(GENERATOR).state is ProgramState.STOPPED
        except Exception:  # noqa: BLE001  # not known: the restart finds out, and says so
            return False

    # Trial

    def _trial(self, switch: Switch) -> Fact | None:
        """Load the target and let it answer once, while the generator waits between two calls."""
        parts = self._parts
        rung, old = parts.ladder[switch.target], parts.store.read().current_model
        limit = parts.settings.ollama.first_token_timeout
        now = parts.clock.time()
        pause(parts.home, since=now, until=now + limit + _IDLE_WITHIN, why=f"trying {rung.label}")
        try:
            self.wait_until_idle()
            self._unload(old)
            reason = self._canary(switch, rung, limit)
            if not self._wanted(switch):
                return None
            if reason:
                self._unload(rung.model)
            return TrialEnded(switch.number, not reason, reason, switch.was_stopped)
        finally:
            resume(parts.home)

    def wait_until_idle(self) -> None:
        """Wait until the generator has no call in flight; one that does not run has none."""
        clock = self._parts.clock
        end = clock.monotonic() + _IDLE_WITHIN
        while clock.monotonic() < end:
            row = read_json(self._parts.home.generator_file) or {}
            alive = bool(process_environ(int(row.get("pid") or 0)))
            if not alive or (row.get("paused") and row.get("request_since") is None):
                return
            clock.wait(self._never, 0.05)

    def _canary(self, switch: Switch, rung: Rung, limit: Seconds) -> str:
        """Return why the model cannot be used, empty if it answered (or nobody can be asked)."""
        body = {
            "model": rung.model,
            "prompt": "1",
            "options": {**rung.options, "num_predict": 1},
            "keep_alive": f"{self._parts.settings.ollama.keep_alive:g}s",
        }
        with self._cut_when_superseded(switch) as cancel:
            try:
                self._parts.ollama.generate(body, first_token=limit, stall=limit, cancel=cancel)
            except OllamaTimeoutError:
                return f"no answer within {limit:g}s"
            except OllamaAwayError as error:
                return "" if switch.by_hand and not cancel.cancelled else error.message
            except OllamaError as error:
                return error.message
        return ""

    @contextlib.contextmanager
    def _cut_when_superseded(self, switch: Switch) -> Iterator[Cancel]:
        cancel, ended = Cancel(), threading.Event()

        def watch() -> None:
            while not self._parts.clock.wait(ended, 0.2):
                if not self._wanted(switch):
                    cancel()
                    return

        thread = threading.Thread(target=watch, name="superseded", daemon=True)
        thread.start()
        try:
            yield cancel
        finally:
            ended.set()
            thread.join()

    # Restart

    def _restart(self, state: FleetState, switch: Switch) -> Fact:
        """Stop the generator, free the old model's memory, start it on the new one."""
        supervisor = self._parts.supervisor
        if switch.was_stopped:
            return Restarted(switch.number, stopped=True)
        if self._runs_on(state):
            return Restarted(switch.number)
        supervisor.stop(GENERATOR)
        self._free_old_model(state)
        resume(self._parts.home)
        supervisor.start(GENERATOR)
        return self._up(state, switch)

    def _free_old_model(self, state: FleetState) -> None:
        last = state.last_switch
        if last is not None and not same_model(last.source, state.current_model):
            self._unload(last.source)

    def _unload(self, model: str) -> None:
        try:
            self._parts.ollama.unload(model, timeout=1.0)
        except OllamaError as error:
            _log.info("unload.skipped", extra=fields(model=model, reason=error.message))

    def _runs_on(self, state: FleetState) -> bool:
        info = self._parts.supervisor.program(GENERATOR)
        return info.state.up and switches_of(info.pid) == state.switches

    def _up(self, state: FleetState, switch: Switch) -> Fact:
        clock = self._parts.clock
        end = clock.monotonic() + _UP_WITHIN
        while clock.monotonic() < end:
            info = self._parts.supervisor.program(GENERATOR)
            if info.state.up and switches_of(info.pid) == state.switches:
                _log.info(
                    "generator.up",
                    extra=tell(
                        f"generator is up on {state.current_model}", pid=info.pid, model=state.current_model
                    ),
                )
                return Restarted(switch.number)
            if info.state is ProgramState.FATAL:
                break
            clock.wait(self._never, _POLL)
        return RestartFailed(
            switch.number, f"it does not come up on {state.current_model}; see log/generator.log"
        )


def switches_of(pid: int) -> int | None:
    """Return the number of the switch that a generator was started for, None if it cannot be seen."""
    value = _environ_of(pid).get("FLEET_SWITCHES", "")
    return int(value) if value.isdigit() else None


def started_at(pid: int, now: float) -> float | None:
    """Return when a process began (Unix seconds, to a hundredth), None if it cannot be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError):
        return None
    ticks = int(stat.rpartition(")")[2].split()[19])
    return now - uptime + ticks / os.sysconf("SC_CLK_TCK")


def _environ_of(pid: int) -> Mapping[str, str]:
    return process_environ(pid) if pid > 0 else {}
