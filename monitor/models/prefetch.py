"""Pulling in the background: what the fleet stands on, what a switch passed over, and what comes next.

A switch that finds its model missing goes to a smaller one that is here, and the missing one is pulled behind
it. With the top model serving, the next rung and the last are fetched ahead, so that a downgrade finds its
model. One pull at a time, the switch's own goes before, and nothing is ever deleted from Ollama.
"""

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from fleet.config.ladder import Ladder, Rung, same_model
from fleet.config.schema import OllamaSettings
from fleet.policy.decide import decide
from fleet.policy.facts import Fact, Fetched, FetchFailed, Fetching
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Phase
from fleet.runtime.errors import FleetError, OllamaError
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from monitor.models.inventory import rungs_here
from monitor.models.pull import cut_when, pull_model
from monitor.switching.executor import Parts

_log = logging.getLogger(__name__)
_RETRY: tuple[Seconds, ...] = (60.0, 300.0, 1800.0, 7200.0)
"""Waits before a pull that failed is tried again; the last one repeats."""

_FIRST_LOOK = 0.4
"""When the first look comes, as a part of the interval: other threads have more to do at the start."""

_FOUND_FOR: Seconds = 300.0
"""How long a model that was found counts as here; who deletes it by hand is noticed so late at most."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A model that is to be here, and why."""

    rung: Rung
    why: str


def wishes(
    state: FleetState, ladder: Ladder, here: Collection[int], settings: OllamaSettings
) -> tuple[Wish, ...]:
    """Return what is to be pulled in the background, in order (pure); nothing while a switch pulls."""
    pulling = state.switch is not None and state.switch.phase is Phase.PULL
    if not settings.auto_pull or pulling:
        return ()
    current = ladder[state.current_model_index]
    found = [Wish(current, "the fleet stands on it")]
    for model in state.behind:
        rung = ladder.named(model, near=current.index)
        if rung is not None:
            found.append(Wish(rung, "a switch passed it over"))
    if settings.pull_ahead and _top_serves(state):
        ahead = [ladder.below(current.index), ladder[ladder.last]]
        found.extend(Wish(rung, "ahead of its need") for rung in ahead if rung is not None)
    missing = [wish for wish in found if wish.rung.index not in here]
    return tuple(
        wish
        for place, wish in enumerate(missing)
        if not any(same_model(wish.rung.model, other.rung.model) for other in missing[:place])
    )


def _top_serves(state: FleetState) -> bool:
    """Tell whether the highest model that the fleet may use answers; while it fails the network is the switch's."""
    top = state.current_model_index <= (state.ceiling or 0)
    return top and state.switch is None and state.hold is None and state.last_finished is not None


class Fetcher:
    """The thread that pulls what is wished for, again with back-off where that failed."""

    def __init__(self, parts: Parts, rules: Callable[[], Rules], *, after: Callable[[], None]) -> None:
        self._parts = parts
        self._rules = rules
        self._after = after
        self._failures: dict[str, tuple[int, float]] = {}
        self._found: tuple[object, Seconds] | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End; a pull that is under way is cut, and goes on from there another time."""
        self._stopping.set()
        self._wake.set()

    def _run(self) -> None:
        clock, patience = self._parts.clock, _FIRST_LOOK * self._parts.settings.policy.check_interval
        while not self._stopping.is_set():
            clock.wait(self._wake, patience)
            self._wake.clear()
            try:
                while not self._stopping.is_set() and not self.all_found() and self.once():
                    pass
            except FleetError as error:
                _log.warning("fetch.waits", extra=fields(reason=error.message))
            except Exception:  # noqa: BLE001  # atop the loop: what nobody foresaw is logged and tried again
                _log.exception("fetch.broken")
            patience = self._patience()

    def _patience(self) -> Seconds:
        """Return for how long there is nothing to do unless the state changes, of which the loop tells."""
        found = self._found
        if found is None:
            return self._parts.settings.policy.check_interval
        return max(found[1] + _FOUND_FOR - self._parts.clock.monotonic(), 0.0)

    def follow(self, state: FleetState) -> None:
        """Look again where a state, as it stands now, wishes for something else; never waits."""
        found = self._found
        if found is not None and self._question(state) != found[0]:
            self._wake.set()

    def all_found(self) -> bool:
        """Tell whether all that is wished for was here when it was last looked for, not long ago."""
        if self._found is None:
            return False
        found, at = self._found
        fresh = self._parts.clock.monotonic() - at < _FOUND_FOR
        return fresh and self._question(self._parts.store.read()) == found

    def _question(self, state: FleetState) -> object:
        """Return what the answer depends on; a call that failed may have failed for want of its model."""
        return self._wishes(state, ()), state.failed, state.switches

    def once(self) -> bool:
        """Pull the first thing that is wished for and not waiting; tell whether there was one."""
        self._found = None
        state, now = self._parts.store.read(), self._parts.clock.monotonic()
        if not self._wishes(state, ()):
            self._found = (self._question(state), now)
            return False
        try:
            here = rungs_here(self._parts.ladder, self._parts.ollama.tags(timeout=2.0))
        except OllamaError:
            return False
        missing = self._wishes(state, here)
        if not missing:
            self._found = (self._question(state), now)
        ready = [one for one in missing if self._failures.get(one.rung.model, (0, now))[1] <= now]
        if not ready:
            return False
        self._fetch(ready[0], here)
        return True

    def _wishes(self, state: FleetState, here: Collection[int]) -> tuple[Wish, ...]:
        return wishes(state, self._parts.ladder, here, self._parts.settings.ollama)

    def _fetch(self, wish: Wish, here: tuple[int, ...]) -> None:
        model, parts = wish.rung.model, self._parts
        self._apply(Fetching(model, wish.why))
        try:
            with cut_when(parts.clock, lambda: self._unwanted(wish, here)) as cancel:
                came = pull_model(
                    parts.ollama, model, parts.clock, cancel=cancel, room=parts.room, size=wish.rung.size
                )
        except OllamaError as error:
            self._failed(model, error.message, here)
            return
        if not came:
            return
        if self._lacks(wish.rung):
            reason = (
                "Ollama reports success and does not list it; write it on the ladder as `ollama list` does"
            )
            self._failed(model, reason, ())  # it may work all the same: no rung is offered to move to
            return
        self._failures.pop(model, None)
        self._apply(Fetched(model))

    def _lacks(self, rung: Rung) -> bool:
        """Return True if Ollama is known not to have a rung's model."""
        try:
            return rung.index not in rungs_here(self._parts.ladder, self._parts.ollama.tags(timeout=2.0))
        except OllamaError:
            return False

    def _failed(self, model: str, reason: str, here: tuple[int, ...]) -> None:
        failures = self._failures.get(model, (0, 0.0))[0]
        wait = _RETRY[min(failures, len(_RETRY) - 1)]
        self._failures[model] = (failures + 1, self._parts.clock.monotonic() + wait)
        self._apply(FetchFailed(model, reason, here))

    def _unwanted(self, wish: Wish, here: Collection[int]) -> bool:
        if self._stopping.is_set():
            return True
        wanted = self._wishes(self._parts.store.read(), here)
        return not any(same_model(one.rung.model, wish.rung.model) for one in wanted)

    def _apply(self, fact: Fact) -> None:
        now, rules = self._parts.clock.time(), self._rules()
        self._parts.store.update(lambda state: decide(state, fact, now, rules).state)
        self._after()
