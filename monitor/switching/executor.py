"""Carrying out a switch, step by step, for the monitor and the command line alike.

The state says which step is due; each is safe to repeat, so that whoever holds the switch lock resumes what a
crash interrupted. A pull holds no lock: a command supersedes it, and then it is dropped. Verifying is the
monitor's, which sees the generator's first call; here a switch ends when the new generator is up.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama
from fleet.clients.supervisor import Supervisor
from fleet.config.ladder import Ladder, Rung, same_model
from fleet.config.schema import Settings
from fleet.policy.decide import decide
from fleet.policy.facts import Fact, ModelHere, PullFailed, Restarted, RestartFailed, TrialEnded
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Phase, Switch
from fleet.runtime.clock import Clock
from fleet.runtime.errors import OllamaError, SwitchError
from fleet.runtime.home import Home
from fleet.runtime.logging import tell
from fleet.runtime.pause_request import pause, resume
from fleet.runtime.units import Seconds
from monitor.models.disk_space import Room, no_limit
from monitor.models.inventory import rungs_here
from monitor.models.pull import ProgressBar, cut_when, pull_model
from monitor.switching.canary import IDLE_WITHIN, Canary
from monitor.switching.generator_process import Generator, Start
from state.store import StateStore

_log = logging.getLogger(__name__)
_UNLOADED_WITHIN: Seconds = 0.01
_RESTART_WITHIN: Seconds = 60.0
_CUT = "it was cut short"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a switch is carried out with."""

    home: Home
    settings: Settings
    store: StateStore
    ollama: Ollama
    supervisor: Supervisor
    clock: Clock
    room: Room = no_limit

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
        self._stopping = threading.Event()
        self._generator = Generator(parts.supervisor, parts.clock)
        self._canary = Canary(parts.home, parts.settings, parts.ollama, parts.clock)

    def stop(self) -> None:
        """Cut the step that is under way and begin no other; the next actor resumes the switch."""
        self._stopping.set()

    def carry_out(self, number: int | None = None) -> FleetState:
        """Do what is due until the switch waits for an answer, has ended, or did not get the generator up.

        With a `number` only that switch is carried out, and not one that supersedes it. Raise SupervisorAwayError
        if supervisord is needed and away (the state is saved and says what is wanted), StateError, and SwitchError
        if another switch holds the lock for too long.
        """
        while True:
            state = self._parts.store.read()
            switch = state.switch
            if switch is None or switch.phase is Phase.VERIFY or number not in {None, switch.number}:
                return state
            if self._stopping.is_set():
                return state
            if switch.phase is Phase.PULL:
                fact = self._pull(switch)
                if fact is not None:
                    self.apply(fact)
            elif not self._change_over(switch):
                return self._parts.store.read()

    def apply(self, fact: Fact) -> FleetState:
        """Put a fact to the policy and the state, in one write."""
        now = self._parts.clock.time()
        rules = self._rules()
        return self._parts.store.update(lambda state: decide(state, fact, now, rules).state)

    def _change_over(self, switch: Switch) -> bool:
        """Try the target and restart the generator, as far as that is due; return False if it does not come up.

        A step and its fact's write are one hold of the lock: another actor would find the step still due, and
        repeat it. The pause of a passed trial lasts until the restart: in between, the old generator would load
        the old model beside the new one.
        """
        with self.lock():
            try:
                while (fact := self._step(switch)) is not None:
                    self.apply(fact)
                    if isinstance(fact, RestartFailed):
                        return False
            finally:
                resume(self._parts.home)
        return True

    def _step(self, switch: Switch) -> Fact | None:
        """Do the step of a switch that is due under the lock; return None if none is, or it was cut."""
        state = self._parts.store.read()
        due = state.switch
        if due is None or due.number != switch.number or self._stopping.is_set():
            return None
        if due.phase is Phase.TRIAL:
            return self._trial(state, due)
        return self._restart(state, due) if due.phase is Phase.RESTART else None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock that serialises steps; raise SwitchError if another holds it for too long."""
        from filelock import FileLock, Timeout  # noqa: PLC0415  # only those who switch need it

        patience = self._parts.settings.ollama.first_token_timeout + IDLE_WITHIN + 60.0
        lock = FileLock(self._parts.home.switch_lock, timeout=patience, fallback_to_soft=False)
        try:
            lock.acquire(poll_interval=0.01, cancel_check=self._stopping.is_set)
        except Timeout as error:
            raise SwitchError(
                "another switch holds the lock and does not end", hint="See `status`; is the monitor stuck?"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _unwanted(self, switch: Switch) -> bool:
        """Return True if a switch was superseded or has ended, or this actor is to stop."""
        current = self._parts.store.read().switch
        return self._stopping.is_set() or current is None or current.number != switch.number

    # Pull

    def _pull(self, switch: Switch) -> Fact | None:
        rung = self._parts.ladder[switch.target]
        stopped = self._generator.stopped_by_a_person()
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
        with cut_when(parts.clock, lambda: self._unwanted(switch)) as cancel:
            try:
                came = pull_model(
                    parts.ollama,
                    rung.model,
                    parts.clock,
                    cancel=cancel,
                    bar=self._bar,
                    room=parts.room,
                    size=rung.size,
                )
            except OllamaError as error:
                return PullFailed(switch.number, error.message, here)
        return ModelHere(switch.number, stopped) if came else None

    # Trial

    def _trial(self, state: FleetState, switch: Switch) -> Fact | None:
        """Load the target and let it answer once, while the generator waits between two calls.

        The pause goes on if the target passed; else it ends before the fact is written, as nobody would end it
        after a crash in between.
        """
        parts, rung = self._parts, self._parts.ladder[switch.target]
        now = parts.clock.time()
        until = now + parts.settings.ollama.first_token_timeout + IDLE_WITHIN + _RESTART_WITHIN
        pause(parts.home, since=now, until=until, why=f"trying {rung.label}")
        reason = _CUT
        try:
            with cut_when(parts.clock, lambda: self._unwanted(switch)) as cancel:
                reason = self._canary.trial(state, switch, rung, cancel)
            if self._unwanted(switch):
                reason = _CUT
        finally:
            if reason:
                self._canary.unload(rung.model)
                resume(parts.home)
        return None if reason is _CUT else TrialEnded(switch.number, not reason, reason, switch.was_stopped)

    def wait_until_idle(self, cancel: Cancel) -> None:
        """Wait until the generator has no call in flight; one that does not run has none."""
        self._canary.wait_until_idle(cancel)

    # Restart

    def _restart(self, state: FleetState, switch: Switch) -> Fact | None:
        """Stop the generator, free the old model's memory, start it on the new one."""
        freeing, start = self._freeing(state), Start(stopped=True)
        if not switch.was_stopped:
            start = self._generator.restart(
                state.switches,
                between=lambda: self._between(freeing),
                unwanted=lambda: self._unwanted(switch),
            )
        if freeing is not None and freeing.ident is not None:
            freeing.join()
        if start.failure:
            if self._unwanted(switch):
                return None
            reason = f"it does not come up on {state.current_model}: {start.failure}; see log/generator.log"
            return RestartFailed(switch.number, reason)
        if start.pid:
            text = f"generator is up on {state.current_model}"
            _log.info("generator.up", extra=tell(text, pid=start.pid, model=state.current_model))
        resume(self._parts.home)
        return Restarted(switch.number, stopped=start.stopped)

    def _freeing(self, state: FleetState) -> threading.Thread | None:
        """Return the thread that is to free the old model's memory, None if it is the new one's too."""
        last = state.last_switch
        if last is None or same_model(last.source, state.current_model):
            return None
        return threading.Thread(target=self._canary.unload, args=(last.source,), name="unload", daemon=True)

    def _between(self, freeing: threading.Thread | None) -> None:
        """Free the old model's memory, and let the start go ahead: no pause, no brake of earlier deaths.

        An unload is asked for before the start. Its answer is waited for no longer than a healthy server takes:
        it is with the server then, long before the new generator's first request can be.
        """
        if freeing is not None:
            freeing.start()
            freeing.join(_UNLOADED_WITHIN)
        resume(self._parts.home)
        self._parts.home.starts_file.unlink(missing_ok=True)
