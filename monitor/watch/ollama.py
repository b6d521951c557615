"""The thread that looks at Ollama itself: where its models lie, whether it is away, whether it hangs."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fleet.clients.http import Cancel
from fleet.clients.ollama import LoadedModel
from fleet.config.ladder import Ladder, Rung, full_name
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import SpillFound
from fleet.policy.state import FleetState
from fleet.policy.unanswered import hang_found, may_hang
from fleet.runtime.errors import FleetError, OllamaAwayError, OllamaError
from fleet.runtime.logging import fields
from fleet.runtime.pause_request import pause, resume
from fleet.runtime.units import Seconds
from monitor.models.inventory import Knowledge
from monitor.models.pull import cut_when
from monitor.switching.executor import Parts, Switcher
from monitor.watch.spill import (
    GpuLost,
    MemoryReading,
    ReloadAndCheck,
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
_FIRST_LOOK = 0.2
"""When the first look comes, as a part of the interval."""

_UNASKED = 10
"""When it looks unasked, in intervals: the loop asks for a look in each, unless something keeps it for as long."""


class VramWatch:
    """Looks where the rung's model lies, every check interval and after each load."""

    def __init__(
        self,
        parts: Parts,
        switcher: Switcher,
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
        self._quiet: tuple[FleetState, list[LoadedModel]] | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vram", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def look(self) -> None:
        """Look now."""
        self._wake.set()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._wake.set()

    def join(self, seconds: Seconds) -> None:
        """Wait until it has ended, so that a reload that is cut leaves no pause behind."""
        self._thread.join(seconds)

    def _run(self) -> None:
        interval = self._parts.settings.policy.check_interval
        patience = _FIRST_LOOK * interval
        while not self._stopping.is_set():
            self._parts.clock.wait(self._wake, patience)
            self._wake.clear()
            if not self._stopping.is_set():
                self._look_once()
            patience = min(interval, _AWAY_RETRY) if self._misses else _UNASKED * interval

    def _look_once(self) -> None:
        try:
            self._once()
        except Exception:  # noqa: BLE001  # atop the loop: what nobody foresaw is logged and tried again
            _log.exception("vram.broken")

    def _once(self) -> None:
        try:
            loaded = self._parts.ollama.loaded(timeout=2.0)
        except OllamaError as error:
            self._missed(error)
            return
        try:
            self._reached()
            state = self._parts.store.read()
            # What called for nothing calls for nothing again: only a low share is counted, and that is in the state.
            if self._quiet is not None and self._quiet[0] is state and self._quiet[1] == loaded:
                return
            for outcome in self._judge(loaded, reloaded=False):
                if isinstance(outcome, ReloadAndCheck):
                    self._reload_and_check()
            self._look_for_hang()
            calm = not may_hang(state) and self._parts.store.read() is state
            self._quiet = (state, loaded) if calm else None
        except FleetError as error:
            _log.warning("vram.not_judged", extra=fields(reason=error.message))

    # Ollama away and back

    def _missed(self, error: OllamaError) -> None:
        self._misses += 1
        if self._misses == _AWAY_AFTER:
            self._tell(EventKind.OLLAMA_AWAY, reason=error.message)

    def _reached(self) -> None:
        if self._misses >= _AWAY_AFTER:
            self._tell(EventKind.OLLAMA_BACK)
            self._knowledge.refresh()
        self._misses = 0

    def _tell(self, kind: EventKind, **values: Any) -> None:
        now = self._parts.clock.time()
        try:
            self._parts.store.update(lambda state: state.tell(now, kind, **values))
        except FleetError as error:
            _log.warning("event.not_told", extra=fields(kind=kind.value, reason=error.message))
        self._after()

    # An Ollama that hangs

    def _look_for_hang(self) -> None:
        """Ask Ollama about itself where a call waited in full: an answer means that it hangs."""
        if not may_hang(self._parts.store.read()):
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
        """Judge one reading, in one write with what follows from it."""
        now = self._parts.clock.time()
        residents = tuple(Resident(one.name, one.size, one.size_vram) for one in loaded)
        reading = MemoryReading(now, residents, reloaded)
        found: list[SpillOutcome] = []

        def change(state: FleetState) -> FleetState:
            spill, outcomes = spill_verdict(
                SpillState.from_json(state.watch.get("spill")), reading, self._spill_rules(state)
            )
            found[:] = outcomes
            seen = {**state.watch.get("vram", {}), **_in_vram(residents, self._parts.ladder)}
            state = replace(state, watch={**state.watch, "spill": spill.to_json(), "vram": seen})
            for outcome in outcomes:
                state = self._follow(state, outcome, now)
            return state

        self._parts.store.settle(change)
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
                return state.tell(now, EventKind.GPU_LOST, reason=outcome.mend, models=list(outcome.models))
            case _:
                return state

    def _reload_and_check(self) -> None:
        """Unload the model and load it again while the generator waits, then look where it lies now.

        A switch cuts that; the next low reading asks for it again.
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
        return self._stopping.is_set() or self._parts.store.read().switch is not None

    def _reloaded(self, cancel: Cancel) -> list[LoadedModel]:
        """Return where models lie after the rung's was loaded anew."""
        parts, state = self._parts, self._parts.store.read()
        rung, limit = self._rung(state), parts.settings.ollama.first_token_timeout
        now = parts.clock.time()
        pause(parts.home, since=now, until=now + limit + 30.0, why=f"looking where {rung.label} fits")
        try:
            self._switcher.wait_until_idle(cancel)
            self._before_unload(rung.model)
            parts.ollama.unload(rung.model, timeout=5.0, cancel=cancel)
            body = {"model": rung.model, "options": dict(state.current_options)}
            parts.ollama.generate(body, first_token=limit, stall=limit, cancel=cancel)
            return parts.ollama.loaded(timeout=2.0)
        finally:
            resume(parts.home)


def _ask_again(state: FleetState) -> FleetState:
    spill = not_reloaded(SpillState.from_json(state.watch.get("spill")))
    return replace(state, watch={**state.watch, "spill": spill.to_json()})


def _in_vram(residents: tuple[Resident, ...], ladder: Ladder) -> dict[str, int]:
    """Return what the ladder's models take of GPU memory, which a report shows also of models of the past."""
    return {
        full_name(one.name): one.size_vram
        for one in residents
        if one.size_vram > 0 and ladder.named(one.name)
    }
