"""Background pulls: the current model, those that a switch skipped, and those that a downgrade will need.

A switch that finds its model missing goes to a smaller model that is present; the missing one is then pulled in the
background. While the top model serves, the next rung and the last are pulled ahead. There is one pull at a time, a
switch's own pull comes first, and nothing is ever deleted from Ollama.
"""

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from fleet.config.ladder import Ladder, Rung, same_model
from fleet.config.schema import OllamaSettings
from fleet.policy.decide import decide
from fleet.policy.facts import Fact, PrefetchDone, PrefetchFailed, PrefetchStarted
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchPhase
from fleet.runtime.backoff import backoff_step
from fleet.runtime.errors import FleetError, OllamaError
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from monitor.models.inventory import rungs_here
from monitor.models.pull import cut_when, pull_failure, pull_model
from monitor.parts import Parts

_log = logging.getLogger(__name__)
_RETRY: tuple[Seconds, ...] = (60.0, 300.0, 1800.0, 7200.0)
"""Waits before a failed pull is tried again; the last one repeats."""

_FIRST_AFTER = 0.4
"""The first look comes after this part of the check interval: other threads have more to do at the start."""


@dataclass(frozen=True, slots=True)
class WantedModel:
    """A model that is to be in Ollama, and why."""

    rung: Rung
    why: str


def wanted_models(
    state: FleetState, ladder: Ladder, here: Collection[int], settings: OllamaSettings
) -> tuple[WantedModel, ...]:
    """Return the models to pull in the background, in order; none while a switch pulls. Pure."""
    pulling = state.switch is not None and state.switch.phase is SwitchPhase.PULL
    if not settings.auto_pull or pulling:
        return ()
    current = ladder[state.current_model_index]
    found = [WantedModel(current, "the fleet uses it")]
    for model in state.behind:
        rung = ladder.named(model, near=current.index)
        if rung is not None:
            found.append(WantedModel(rung, "a switch skipped it"))
    if settings.pull_ahead and _top_serves(state):
        ahead = [ladder.below(current.index), ladder[ladder.last]]
        found.extend(WantedModel(rung, "ahead of its need") for rung in ahead if rung is not None)
    missing = [one for one in found if one.rung.index not in here]
    return tuple(
        one
        for place, one in enumerate(missing)
        if not any(same_model(one.rung.model, other.rung.model) for other in missing[:place])
    )


def _top_serves(state: FleetState) -> bool:
    """Return True if the highest permitted model answers; while it fails, the network is left to the switch."""
    top = state.current_model_index <= (state.ceiling or 0)
    return top and state.switch is None and state.hold is None and state.last_finished is not None


class Prefetcher:
    """The thread that pulls wanted models, each again with back-off after a failure."""

    def __init__(self, parts: Parts, rules: Callable[[], Rules], *, after: Callable[[], None]) -> None:
        self._parts = parts
        self._rules = rules
        self._after = after
        self._failures: dict[str, tuple[int, float]] = {}
        self._wanted: tuple[WantedModel, ...] = ()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and cut its pull; Ollama resumes the pull the next time."""
        self._stopping.set()
        self._wake.set()

    def _run(self) -> None:
        interval = self._parts.settings.policy.check_interval
        patience = _FIRST_AFTER * interval
        while not self._stopping.is_set():
            self._parts.clock.wait(self._wake, patience)
            self._wake.clear()
            try:
                while not self._stopping.is_set() and self.once():
                    pass
            except FleetError as error:
                _log.warning("fetch.waits", extra=fields(reason=error.message))
            except Exception:  # noqa: BLE001  # atop the loop: an unforeseen fault is logged and tried again
                _log.exception("fetch.broken")
            patience = interval

    def follow(self, state: FleetState) -> None:
        """Wake the thread if the state wants other models than at the last call; never waits."""
        wanted = self._missing(state, ())
        if wanted != self._wanted:
            self._wanted = wanted
            self._wake.set()

    def once(self) -> bool:
        """Pull the first wanted model that is missing and not in back-off; return True if there was one."""
        state, now = self._parts.store.read(), self._parts.clock.monotonic()
        if not self._missing(state, ()):
            return False
        try:
            here = rungs_here(self._parts.ladder, self._parts.ollama.tags(timeout=2.0))
        except OllamaError:
            return False
        missing = self._missing(state, here)
        ready = [one for one in missing if self._failures.get(one.rung.model, (0, now))[1] <= now]
        if not ready:
            return False
        self._pull(ready[0], here)
        return True

    def _missing(self, state: FleetState, here: Collection[int]) -> tuple[WantedModel, ...]:
        return wanted_models(state, self._parts.ladder, here, self._parts.settings.ollama)

    def _pull(self, wanted: WantedModel, here: tuple[int, ...]) -> None:
        rung, parts = wanted.rung, self._parts
        self._apply(PrefetchStarted(rung.model, wanted.why))
        try:
            with cut_when(parts.clock, lambda: self._unwanted(wanted, here)) as cancel:
                pulled = pull_model(
                    parts.ollama, rung.model, parts.clock, cancel=cancel, disk=parts.disk, size=rung.size
                )
        except OllamaError as error:
            self._failed(rung.model, pull_failure(error), here)
            return
        if not pulled:
            return
        if self._lacks(rung):
            reason = (
                "Ollama reports success and does not list it; write it on the ladder as `ollama list` does"
            )
            self._failed(rung.model, reason, ())  # it may work all the same: offer no rung to move to
            return
        self._failures.pop(rung.model, None)
        self._apply(PrefetchDone(rung.model))

    def _lacks(self, rung: Rung) -> bool:
        """Return True if Ollama answers and does not list a rung's model."""
        try:
            return rung.index not in rungs_here(self._parts.ladder, self._parts.ollama.tags(timeout=2.0))
        except OllamaError:
            return False

    def _failed(self, model: str, reason: str, here: tuple[int, ...]) -> None:
        failures = self._failures.get(model, (0, 0.0))[0] + 1
        self._failures[model] = (failures, self._parts.clock.monotonic() + backoff_step(_RETRY, failures))
        self._apply(PrefetchFailed(model, reason, here))

    def _unwanted(self, wanted: WantedModel, here: Collection[int]) -> bool:
        if self._stopping.is_set():
            return True
        missing = self._missing(self._parts.store.read(), here)
        return not any(same_model(one.rung.model, wanted.rung.model) for one in missing)

    def _apply(self, fact: Fact) -> None:
        now, rules = self._parts.clock.time(), self._rules()
        self._parts.store.update(lambda state: decide(state, fact, now, rules).state)
        self._after()
