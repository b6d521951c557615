"""The Ollama watch: a thread that checks where models lie, whether Ollama answers, and whether it hangs."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

from fleet.clients.http import Cancel
from fleet.clients.ollama import LoadedModel
from fleet.config.ladder import Ladder, Rung, full_name, same_model
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import SpillFound
from fleet.policy.state import FleetState
from fleet.policy.unanswered import hang_found, hang_suspected
from fleet.runtime.errors import FleetError, OllamaAwayError, OllamaError
from fleet.runtime.logging import fields
from fleet.runtime.pause_request import pause
from fleet.runtime.units import Seconds
from monitor.models.inventory import Knowledge
from monitor.models.pull import cut_when
from monitor.parts import Parts
from monitor.pauses import release_pause
from monitor.watch.spill import (
    GpuLost,
    MemoryReading,
    ReloadRequest,
    Resident,
    Spilled,
    SpillOutcome,
    SpillRules,
    SpillState,
    not_reloaded,
    spill_verdict,
)

_log = logging.getLogger(__name__)
_AWAY_AFTER = 2
_AWAY_RETRY: Seconds = 5.0
_FIRST_AFTER = 0.2
"""The first look comes after this part of the check interval."""


class SwitchLock(Protocol):
    """The part of the switcher that a reload needs: no switch during it, and no call of the generator."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold the switch lock."""

    def wait_until_idle(self, cancel: Cancel) -> None:
        """Wait until the generator has no call in flight."""


class OllamaWatch:
    """Reads `/api/ps` every check interval and after each load."""

    def __init__(
        self,
        parts: Parts,
        switcher: SwitchLock,
        knowledge: Knowledge,
        *,
        before_unload: Callable[[str], None],
        after: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._switcher = switcher
        self._knowledge = knowledge
        self._before_unload = before_unload
        self._after = after
        self._misses = 0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vram", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._wake.set()

    def join(self, seconds: Seconds) -> None:
        """Wait for its end: a reload that is cut must still end its pause."""
        self._thread.join(seconds)

    def _run(self) -> None:
        interval = self._parts.settings.policy.check_interval
        patience = _FIRST_AFTER * interval
        while not self._stopping.is_set():
            self._parts.clock.wait(self._wake, patience)
            self._wake.clear()
            if not self._stopping.is_set():
                self._look_once()
            patience = min(interval, _AWAY_RETRY) if self._misses else interval

    def _look_once(self) -> None:
        try:
            self._once()
        except Exception:  # noqa: BLE001  # atop the loop: an unforeseen fault is logged and tried again
            _log.exception("vram.broken")

    def _once(self) -> None:
        try:
            loaded = self._parts.ollama.loaded(timeout=2.0)
        except OllamaError as error:
            self._missed(error)
            return
        try:
            self._reached()
            for outcome in self._judge(loaded, reloaded=False):
                if isinstance(outcome, ReloadRequest):
                    self._reload_and_check()
            self._check_for_hang(loaded)
        except FleetError as error:
            _log.warning("vram.not_judged", extra=fields(reason=error.message))

    # Ollama away and back

    def _missed(self, error: OllamaError) -> None:
        self._misses += 1
        if self._misses == _AWAY_AFTER:
            self._emit(EventKind.OLLAMA_AWAY, reason=error.message)

    def _reached(self) -> None:
        if self._misses >= _AWAY_AFTER:
            self._emit(EventKind.OLLAMA_BACK)
            self._knowledge.refresh()
        self._misses = 0

    def _emit(self, kind: EventKind, **values: Any) -> None:
        now = self._parts.clock.time()
        try:
            self._parts.store.update(lambda state: state.with_event(now, kind, **values))
        except FleetError as error:
            _log.warning("event.not_written", extra=fields(kind=kind.value, reason=error.message))
        self._after()

    # An Ollama that hangs

    def _check_for_hang(self, loaded: list[LoadedModel]) -> None:
        """If a call waited its full time-out, ask for `/api/tags`; an answer to that means that Ollama hangs.

        A model that lies partly on the CPU is slow instead, and a restart of Ollama does not help against that.
        """
        state = self._parts.store.read()
        slow = any(same_model(one.name, state.current_model) and one.size_vram < one.size for one in loaded)
        if slow or not hang_suspected(state):
            return
        try:
            self._parts.ollama.tags(timeout=2.0)
        except OllamaError:
            return
        now, limit = self._parts.clock.time(), self._parts.settings.ollama.first_token_timeout
        self._parts.store.update(lambda state: hang_found(state, now, limit))
        self._after()

    # Spill

    def _judge(self, loaded: list[LoadedModel], *, reloaded: bool) -> tuple[SpillOutcome, ...]:
        """Judge one reading and write the result and its consequences together."""
        now = self._parts.clock.time()
        residents = tuple(Resident(one.name, one.size, one.size_vram) for one in loaded)
        reading = MemoryReading(now, residents, reloaded)
        found: list[SpillOutcome] = []

        def change(state: FleetState) -> FleetState:
            spill, outcomes = spill_verdict(
                SpillState.from_json(state.watch.get("spill")), reading, self._spill_rules(state)
            )
            found[:] = outcomes
            before = state.watch.get("vram")
            vram = {
                **(before if isinstance(before, dict) else {}),
                **_in_vram(residents, self._parts.ladder),
            }
            state = replace(state, watch={**state.watch, "spill": spill.to_json(), "vram": vram})
            for outcome in outcomes:
                state = self._follow(state, outcome, now)
            return state

        self._parts.store.update_if_changed(change)
        if found:
            self._after()
        return tuple(found)

    def _spill_rules(self, state: FleetState) -> SpillRules:
        rung = self._rung(state)
        return SpillRules(
            model=rung.model,
            share=self._parts.settings.policy.spill_share,
            own_choice="num_gpu" in state.current_options,
            last=rung.index == self._parts.ladder.last,
            gpu=state.watch.get("gpu"),
        )

    def _rung(self, state: FleetState) -> Rung:
        return self._parts.ladder[state.current_model_index]

    def _follow(self, state: FleetState, outcome: SpillOutcome, now: float) -> FleetState:
        match outcome:
            case Spilled():
                return decide(state, SpillFound(outcome.share), now, self._knowledge()[0]).state
            case GpuLost():
                return state.with_event(
                    now, EventKind.GPU_LOST, reason=outcome.remedy, models=list(outcome.models)
                )
            case _:
                return state

    def _reload_and_check(self) -> None:
        """Unload the model and load it again while the generator is paused, then judge where it lies.

        A switch cuts the reload; the next low reading requests it again.
        """
        with self._switcher.lock(), cut_when(self._parts.clock, self._unwanted) as cancel:
            try:
                loaded = None if self._unwanted() else self._reloaded(cancel)
            except OllamaAwayError:
                if not cancel.cancelled:
                    return
                loaded = None
        if loaded is None:
            self._parts.store.update(_ask_again)
        else:
            self._judge(loaded, reloaded=True)

    def _unwanted(self) -> bool:
        state = self._parts.store.read()
        busy = state.switch is not None or state.paused(self._parts.clock.time()) is not None
        return self._stopping.is_set() or busy

    def _reloaded(self, cancel: Cancel) -> list[LoadedModel]:
        """Reload the rung's model and return what is loaded then."""
        parts, state = self._parts, self._parts.store.read()
        rung, limit = self._rung(state), parts.settings.ollama.first_token_timeout
        now = parts.clock.time()
        pause(
            parts.home,
            since=now,
            until=now + limit + 30.0,
            why=f"checking how much of {rung.label} fits into GPU memory",
        )
        try:
            self._switcher.wait_until_idle(cancel)
            self._before_unload(rung.model)
            parts.ollama.unload(rung.model, timeout=5.0, cancel=cancel)
            body = {"model": rung.model, "options": dict(state.current_options)}
            parts.ollama.generate(body, first_token=limit, stall=limit, cancel=cancel)
            return parts.ollama.loaded(timeout=2.0)
        finally:
            release_pause(parts.home, parts.store.read, parts.clock)


def _ask_again(state: FleetState) -> FleetState:
    spill = not_reloaded(SpillState.from_json(state.watch.get("spill")))
    return replace(state, watch={**state.watch, "spill": spill.to_json()})


def _in_vram(residents: tuple[Resident, ...], ladder: Ladder) -> dict[str, int]:
    """Return the GPU memory of each of the ladder's models; reports also show those loaded in the past."""
    return {
        full_name(one.name): one.size_vram
        for one in residents
        if one.size_vram > 0 and ladder.named(one.name)
    }
