"""The Ollama watch: the job that checks the placement of models, whether Ollama answers, and whether it hangs."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from fleet.clients.http import Cancel, cut_when
from fleet.clients.ollama import LoadedModel, Ollama
from fleet.config.ladder import same_model
from fleet.config.schema import Settings
from fleet.policy.events import EventKind
from fleet.policy.facts import UnloadBegins
from fleet.policy.state import FleetState
from fleet.policy.unanswered import RUNNER_ENDED, hang_due, slowness
from fleet.runtime.clock import Clock
from fleet.runtime.errors import OllamaError
from fleet.runtime.home import Home
from fleet.runtime.logging import fields
from fleet.runtime.pause_request import pause, wait_until_idle
from fleet.runtime.units import Seconds
from monitor.inbox import HangFound, MemoryReading, Post, Read, ReloadFailed, Reported, Resident, SlowFound
from monitor.pauses import release_pause
from monitor.watch.hang_command import HangCommand
from monitor.watch.spill import spill_of

_log = logging.getLogger(__name__)
_AWAY_AFTER = 2
_AWAY_RETRY: Seconds = 5.0


class OllamaWatch:
    """Reads `/api/ps`, and carries out the reload that the state requests.

    `lock` is the switch lock: no step of a switch during a reload.
    """

    def __init__(
        self,
        *,
        home: Home,
        settings: Settings,
        ollama: Ollama,
        clock: Clock,
        read: Read,
        post: Post,
        lock: Callable[[], AbstractContextManager[None]],
        stopping: threading.Event,
    ) -> None:
        self._home = home
        self._settings = settings
        self._ollama = ollama
        self._clock = clock
        self._read = read
        self._post = post
        self._lock = lock
        self._stopping = stopping
        self._misses = 0
        self._hang_command = HangCommand(settings.ollama.on_hang, clock=clock, post=post, stopping=stopping)

    def __call__(self) -> Seconds:
        """Check once; return the seconds until the next check."""
        interval = self._settings.policy.check_interval
        try:
            loaded = self._ollama.loaded(timeout=2.0)
        except OllamaError as error:
            self._missed(error)
            return min(interval, _AWAY_RETRY)
        self._reached()
        state = self._post(self._reading(loaded))
        if spill_of(state).asked is not None:
            self._reload()
        elif state.unanswered is not None and state.unanswered.suspected:
            self._check_for_hang(state, loaded)
            return min(interval, RUNNER_ENDED)
        return interval

    def _reading(self, loaded: list[LoadedModel], *, reloaded: bool = False) -> MemoryReading:
        residents = tuple(Resident(one.name, one.size, one.size_vram) for one in loaded)
        return MemoryReading(self._clock.time(), residents, reloaded)

    # Ollama away and back

    def _missed(self, error: OllamaError) -> None:
        self._misses += 1
        if self._misses == _AWAY_AFTER:
            self._post(Reported(EventKind.OLLAMA_AWAY, {"reason": error.message}))

    def _reached(self) -> None:
        if self._misses >= _AWAY_AFTER:
            self._post(Reported(EventKind.OLLAMA_BACK))
        self._misses = 0

    # An Ollama that hangs

    def _check_for_hang(self, state: FleetState, loaded: list[LoadedModel]) -> None:
        """Ask for `/api/tags`, since a call waited its full time-out; an answer means that Ollama hangs.

        A slow Ollama does not hang, and its restart does not help. An Ollama whose runner ended since does not hang
        either.
        """
        now, limit = self._clock.time(), self._settings.ollama.first_token_timeout
        on_cpu = any(same_model(one.name, state.current_model) and one.size_vram < one.size for one in loaded)
        slow = slowness(state, now, limit, on_cpu=on_cpu)
        if slow is not None:
            self._post(SlowFound(slow))
        if slow is not None or not hang_due(state, now):
            return
        try:
            self._ollama.tags(timeout=2.0)
        except OllamaError:
            return
        self._hang_command.run(self._post(HangFound()))

    # Spill

    def _reload(self) -> None:
        """Unload the model and load it again while the generator is paused, then read its placement.

        A switch cuts the reload; the next low reading requests it again.
        """
        with self._lock(), cut_when(self._clock, self._unwanted) as cancel:
            try:
                loaded = None if self._unwanted() else self._reloaded(cancel)
            except OllamaError as error:
                _log.info("reload.failed", extra=fields(reason=error.message))
                loaded = None
        self._post(ReloadFailed() if loaded is None else self._reading(loaded, reloaded=True))

    def _unwanted(self) -> bool:
        state = self._read()
        busy = state.switch is not None or state.paused(self._clock.time()) is not None
        return self._stopping.is_set() or busy

    def _reloaded(self, cancel: Cancel) -> list[LoadedModel]:
        """Reload the rung's model and return the models in memory."""
        state, limit, now = self._read(), self._settings.ollama.first_token_timeout, self._clock.time()
        why = f"checking how much of {state.current_model} fits into GPU memory"
        pause(self._home, since=now, until=now + limit + 30.0, why=why)
        try:
            wait_until_idle(self._home, self._clock, unwanted=lambda: cancel.cancelled)
            self._post(UnloadBegins())
            self._ollama.unload(state.current_model, timeout=5.0, cancel=cancel)
            body = {"model": state.current_model, "options": dict(state.current_options)}
            self._ollama.generate(body, first_token=limit, stall=limit, cancel=cancel)
            return self._ollama.loaded(timeout=2.0)
        finally:
            release_pause(self._home, self._read, self._clock)
