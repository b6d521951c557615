"""The executor: carries out a switch step by step, for the monitor and the command line.

The state names the due step. Each step is safe to repeat: after a crash the next holder of the switch lock resumes. A
step ends in a fact. The owner of the state decides on it: the monitor's loop or the command line. A pull holds no lock:
a command that supersedes it cuts it. The executor ends when the new generator is up; the monitor verifies the
generator's first call.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass, field

from fleet.clients.gpu import Cards, no_cards
from fleet.clients.http import Cancel, cut_when
from fleet.clients.ollama import Ollama
from fleet.config.ladder import Rung, same_model
from fleet.config.schema import Settings
from fleet.policy.facts import (
    Fact,
    ModelPresent,
    PullFailed,
    Restarted,
    RestartFailed,
    TrialEnded,
    UnloadBegins,
)
from fleet.policy.state import FleetState, Switch, SwitchPhase
from fleet.runtime.clock import Clock
from fleet.runtime.errors import OllamaError, SwitchError
from fleet.runtime.home import Home
from fleet.runtime.logging import fields, switch_in_log, with_sentence
from fleet.runtime.pause_request import CUT_WITHIN, IDLE_WITHIN, pause, wait_until_idle
from fleet.runtime.units import Seconds
from monitor.inbox import PostStep, Read
from monitor.models.inventory import rungs_here
from monitor.models.pull import DiskCheck, ProgressBar, no_limit, pull_failure, pull_model
from monitor.pauses import release_pause
from monitor.switching.canary import Canary
from monitor.switching.generator_process import Generator, Start

_log = logging.getLogger(__name__)
_UNLOADED_WITHIN: Seconds = 0.01
_RESTART_WITHIN: Seconds = 60.0
_CUT = "it was cut short"


@dataclass(frozen=True, kw_only=True)
class Switcher:
    """Does the steps of the state's switch; `stopping` cuts the current step and prevents the next."""

    home: Home
    settings: Settings
    ollama: Ollama
    generator: Generator
    clock: Clock
    read: Read
    post: PostStep
    stopping: threading.Event = field(default_factory=threading.Event)
    disk: DiskCheck = no_limit
    cards: Cards = no_cards
    bar: ProgressBar | None = None

    def carry_out(self, number: int | None = None) -> FleetState:
        """Do the steps until the switch waits for its verification, has ended, or the generator did not come up.

        With a `number`, carry out only that switch and not a later one. Raise StateError, SupervisorAwayError, and
        SwitchError if another process holds the switch lock for too long. The state then keeps the switch.
        """
        while True:
            state = self.read()
            switch = state.switch
            if switch is None or switch.phase is SwitchPhase.VERIFY or number not in {None, switch.number}:
                return state
            if self.stopping.is_set():
                return state
            with switch_in_log(switch.number):
                if switch.phase is SwitchPhase.PULL:
                    fact = self._pull(switch)
                    if fact is not None:
                        self.post(fact)
                elif not self._change_over(switch):
                    return self.read()

    def _change_over(self, switch: Switch) -> bool:
        """Do the due trial and restart; return False if the generator does not come up.

        The lock is held over a step and the write of its fact. In between another process could repeat the step. The
        pause of a passed trial lasts until the restart. Without the pause the old generator would load the old model
        beside the new one.
        """
        with self.lock():
            try:
                while (fact := self._step(switch)) is not None:
                    self.post(fact)
                    if isinstance(fact, RestartFailed):
                        return False
            finally:
                self._release_pause()
        return True

    def _step(self, switch: Switch) -> Fact | None:
        """Do the due step that needs the lock; return None if no step is due or the step was cut."""
        state = self.read()
        due = state.switch
        if due is None or due.number != switch.number or self.stopping.is_set():
            return None
        if due.phase is SwitchPhase.TRIAL:
            return self._trial(state, due)
        return self._restart(state, due) if due.phase is SwitchPhase.RESTART else None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the switch lock, which serialises steps; raise SwitchError if another process holds it for too long."""
        from filelock import FileLock, Timeout  # noqa: PLC0415  # loaded only for a switch

        patience = self.settings.ollama.first_token_timeout + IDLE_WITHIN + 60.0
        lock = FileLock(self.home.switch_lock, timeout=patience, fallback_to_soft=False)
        try:
            lock.acquire(poll_interval=0.01, cancel_check=self.stopping.is_set)
        except Timeout as error:
            raise SwitchError(
                "another process holds the switch lock and does not release it",
                hint="See `status`; is the monitor stuck?",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _unwanted(self, switch: Switch) -> bool:
        """Return True if the step was superseded or skipped, or this process stops."""
        current = self.read().switch
        due = current is not None and (current.number, current.phase) == (switch.number, switch.phase)
        return self.stopping.is_set() or not due

    def _unload(self, model: str, cancel: Cancel | None = None) -> None:
        """Unload a model; a failure or a wait of more than a second is logged and ignored."""
        try:
            self.ollama.unload(model, timeout=1.0, cancel=cancel)
        except OllamaError as error:
            _log.info("unload.skipped", extra=fields(model=model, reason=error.message))

    def _release_pause(self) -> None:
        release_pause(self.home, self.read, self.clock)

    # Pull

    def _pull(self, switch: Switch) -> Fact | None:
        rung = self.settings.ladder[switch.target]
        try:
            here = rungs_here(self.settings.ladder, self.ollama.tags(timeout=2.0))
        except OllamaError as error:
            sentence = (
                f"{rung.model} is neither pulled nor tried, because Ollama does not answer: {error.message}"
            )
            _log.warning(
                "pull.skipped", extra=with_sentence(sentence, model=rung.model, reason=error.message)
            )
            return ModelPresent(switch.number, self._stopped())
        if rung.index in here:
            return ModelPresent(switch.number, self._stopped())
        if not self.settings.ollama.auto_pull:
            reason = f"{rung.model} is not in Ollama, and auto_pull is off"
            return PullFailed(switch.number, reason, here)
        if not switch.by_hand and any(index > rung.index for index in here):
            return PullFailed(switch.number, f"{rung.model} is not in Ollama yet", here, deferred=True)
        return self._pull_now(switch, rung, here)

    def _stopped(self) -> bool:
        """Return True if a person has stopped the generator; checked last, since a pull or a trial takes long."""
        return self.generator.stopped_by_a_person() and not self.read().restarting

    def _pull_now(self, switch: Switch, rung: Rung, here: tuple[int, ...]) -> Fact | None:
        with cut_when(self.clock, lambda: self._unwanted(switch)) as cancel:
            try:
                pulled = pull_model(
                    self.ollama,
                    rung.model,
                    self.clock,
                    cancel=cancel,
                    bar=self.bar,
                    home=self.home,
                    disk=self.disk,
                    size=rung.size,
                )
            except OllamaError as error:
                return PullFailed(switch.number, pull_failure(error), here)
        return ModelPresent(switch.number, self._stopped()) if pulled else None

    # Trial

    def _trial(self, state: FleetState, switch: Switch) -> Fact | None:
        """Load the target and let it answer once, while the generator is paused; by hand its running call is cut.

        After a pass the pause goes on until the restart. After a failure it ends before the write of the fact: a crash
        in between would leave it behind.
        """
        rung = self.settings.ladder[switch.target]
        now = self.clock.time()
        until = now + self.settings.ollama.first_token_timeout + IDLE_WITHIN + _RESTART_WITHIN
        pause(self.home, since=now, until=until, why=f"trying {rung.label}", cut=switch.by_hand)
        reason = _CUT
        try:
            with cut_when(self.clock, lambda: self._unwanted(switch)) as cancel:
                within = CUT_WITHIN if switch.by_hand else IDLE_WITHIN
                wait_until_idle(self.home, self.clock, within=within, unwanted=lambda: cancel.cancelled)
                self.post(UnloadBegins())
                self._unload(state.current_model, cancel)
                canary = Canary(self.settings, self.ollama, self.cards)
                reason = canary.failure(state, switch, rung, cancel)
            if self._unwanted(switch):
                reason = _CUT
        finally:
            if reason:
                self._unload(rung.model)
                self._release_pause()
        return None if reason is _CUT else TrialEnded(switch.number, not reason, reason, self._stopped())

    # Restart

    def _restart(self, state: FleetState, switch: Switch) -> Fact | None:
        """Stop the generator, free the old model's memory, start it on the new one."""
        start = Start(stopped=True)
        if not switch.was_stopped:
            start = self.generator.restart(
                state.switches,
                between=lambda: self._between(state),
                unwanted=lambda: self._unwanted(switch),
            )
        if start.failure:
            if self._unwanted(switch):
                return None
            reason = f"it does not come up on {state.current_model}: {start.failure}; see log/generator.log"
            return RestartFailed(switch.number, reason)
        if start.pid:
            text = f"generator is up on {state.current_model}"
            _log.info("generator.up", extra=with_sentence(text, pid=start.pid, model=state.current_model))
        self._release_pause()
        return Restarted(switch.number, stopped=start.stopped)

    def _between(self, state: FleetState) -> None:
        """Request the old model's unload, end the pause, and reset the launcher's brake on quick deaths.

        The unload is sent before the start. Its answer is awaited for only as long as a healthy server takes. By then
        the request has reached the server, long before the new generator's first request. A new rung may have the same
        model.
        """
        last = state.last_switch
        if last is not None and not same_model(last.source, state.current_model):
            context = copy_context()  # its log lines bear the switch's number
            unloading = threading.Thread(target=context.run, args=(self._unload, last.source), name="unload")
            unloading.start()
            unloading.join(_UNLOADED_WITHIN)
        self._release_pause()
        self.home.starts_file.unlink(missing_ok=True)
