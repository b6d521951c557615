"""Background pulls: the current model, those that a switch skipped, and those that a downgrade will need.

A switch whose model is missing goes to a smaller model that is present. The missing model is then pulled in the
background. While the top model serves, the next rung and the last are pulled ahead. One pull runs at a time, a switch's
own first. No model is ever deleted from Ollama.
"""

import threading
from collections.abc import Collection
from dataclasses import dataclass, field

from fleet.clients.http import cut_when
from fleet.clients.ollama import Ollama
from fleet.config.ladder import Ladder, Rung, full_name, same_model
from fleet.config.schema import OllamaSettings, Settings
from fleet.policy.facts import PrefetchDone, PrefetchFailed, PrefetchStarted
from fleet.policy.state import FleetState, SwitchPhase
from fleet.runtime.backoff import backoff_step
from fleet.runtime.clock import Clock
from fleet.runtime.errors import OllamaError
from fleet.runtime.home import Home
from fleet.runtime.units import Seconds
from monitor.inbox import PostStep, Read
from monitor.models.inventory import rungs_here
from monitor.models.pull import DiskCheck, no_limit, pull_failure, pull_model

_RETRY: tuple[Seconds, ...] = (60.0, 300.0, 1800.0, 7200.0)
"""Waits before a failed pull is tried again; the last one repeats."""


@dataclass(frozen=True, slots=True)
class WantedModel:
    """A model to pull, and the reason."""

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
    missing: dict[str, WantedModel] = {}
    for one in found:
        if one.rung.index not in here:
            missing.setdefault(full_name(one.rung.model), one)
    return tuple(missing.values())


def _top_serves(state: FleetState) -> bool:
    """Return True if the highest permitted model answers. While it fails, the network is left to the switch."""
    top = state.current_model_index <= (state.ceiling or 0)
    return top and state.switch is None and state.hold is None and state.last_finished is not None


@dataclass(frozen=True, kw_only=True)
class Prefetcher:
    """The job that pulls wanted models, one after another, each again with back-off after a failure."""

    home: Home
    settings: Settings
    ollama: Ollama
    clock: Clock
    read: Read
    post: PostStep
    stopping: threading.Event
    disk: DiskCheck = no_limit
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)

    def __call__(self) -> Seconds:
        """Pull the wanted models; return the seconds until the next check."""
        while not self.stopping.is_set() and self.once():
            pass
        return self.settings.policy.check_interval

    def wanted(self, state: FleetState, here: Collection[int] = ()) -> tuple[WantedModel, ...]:
        """Return the models that a state wants, without those of the rungs `here`."""
        return wanted_models(state, self.settings.ladder, here, self.settings.ollama)

    def once(self) -> bool:
        """Pull the first wanted model that is missing and not in back-off; return True if there was one."""
        state, now = self.read(), self.clock.monotonic()
        if not self.wanted(state):
            return False
        try:
            here = rungs_here(self.settings.ladder, self.ollama.tags(timeout=2.0))
        except OllamaError:
            return False
        ready = [
            one for one in self.wanted(state, here) if self._failures.get(one.rung.model, (0, now))[1] <= now
        ]
        if not ready:
            return False
        self._pull(ready[0], here)
        return True

    def _pull(self, wanted: WantedModel, here: tuple[int, ...]) -> None:
        rung = wanted.rung
        self.post(PrefetchStarted(rung.model, wanted.why))
        try:
            with cut_when(self.clock, lambda: self._unwanted(wanted, here)) as cancel:
                pulled = pull_model(
                    self.ollama,
                    rung.model,
                    self.clock,
                    cancel=cancel,
                    home=self.home,
                    disk=self.disk,
                    size=rung.size,
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
            self._failed(rung.model, reason, ())  # the model may work all the same: offer no rung to move to
            return
        self._failures.pop(rung.model, None)
        self.post(PrefetchDone(rung.model))

    def _lacks(self, rung: Rung) -> bool:
        """Return True if Ollama answers and does not list a rung's model."""
        try:
            return rung.index not in rungs_here(self.settings.ladder, self.ollama.tags(timeout=2.0))
        except OllamaError:
            return False

    def _failed(self, model: str, reason: str, here: tuple[int, ...]) -> None:
        failures = self._failures.get(model, (0, 0.0))[0] + 1
        self._failures[model] = (failures, self.clock.monotonic() + backoff_step(_RETRY, failures))
        self.post(PrefetchFailed(model, reason, here))

    def _unwanted(self, wanted: WantedModel, here: Collection[int]) -> bool:
        if self.stopping.is_set():
            return True
        missing = self.wanted(self.read(), here)
        return not any(same_model(one.rung.model, wanted.rung.model) for one in missing)
