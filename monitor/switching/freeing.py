"""Freeing the GPU for a pause: the generator's call is cut, and the ladder's models are unloaded."""

import threading
from collections.abc import Callable

from fleet.clients.ollama import LoadedModel, Ollama
from fleet.config.ladder import Ladder, same_model
from fleet.runtime.clock import Clock
from fleet.runtime.units import Seconds

FREED_WITHIN: Seconds = 5.0
"""Longest wait for the memory: Ollama itself waits five seconds for the memory of an unloaded model."""
_POLL: Seconds = 0.05
_LOOKS = 3
"""Checks in a row without a model of ours and without a call."""


def free_gpu(
    ollama: Ollama,
    ladder: Ladder,
    current: str,
    clock: Clock,
    *,
    idle: Callable[[], bool],
    within: Seconds = FREED_WITHIN,
) -> list[str]:
    """Unload the models of the ladder and return those that Ollama still lists after `within`; raise OllamaError.

    The current model is unloaded also where it is not listed: it may be loading. The unload of a model that is not
    loaded does nothing. Another client that uses such a model loads it again with its next request. `idle` returns True
    if the generator has no call in flight: an earlier call may still load a model.
    """
    end, never, clear = clock.monotonic() + within, threading.Event(), 0
    while True:
        names = [one.name for one in ollama.loaded(timeout=1.0) if is_ours(one, ladder)]
        for name in {*names, current} if clear < _LOOKS - 1 else names:
            ollama.unload(name, timeout=1.0)
        clear = 0 if names or not idle() else clear + 1
        if clear >= _LOOKS or clock.monotonic() >= end:
            return names
        clock.wait(never, _POLL)


def is_ours(loaded: LoadedModel, ladder: Ladder) -> bool:
    """Return True if a loaded model is on the ladder."""
    return any(same_model(rung.model, loaded.name) for rung in ladder)
