"""The trial of a model before a switch is committed: the generator is paused, the model loads and answers once.

The trial uses exactly the rung's options, because the context decides whether a model fits. A current server reports
no error for a model that does not fit and puts a part of it on the CPU. A probe therefore checks where the model lies;
otherwise the fleet would move up to a model that it has to leave again.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama, keep_alive_text
from fleet.config.ladder import Rung, same_model
from fleet.config.schema import Settings
from fleet.policy.state import FleetState, Switch, SwitchKind
from fleet.runtime.clock import Clock
from fleet.runtime.errors import OllamaAwayError, OllamaError, OllamaTimeoutError
from fleet.runtime.home import Home, process_environ, read_json
from fleet.runtime.logging import fields, with_sentence
from fleet.runtime.units import Seconds, show_duration
from monitor.watch.generator import HUNG_AFTER
from monitor.watch.spill import SpillState

_log = logging.getLogger(__name__)
_NOTICE_AFTER: Seconds = 1.0
IDLE_WITHIN: Seconds = 120.0
"""Longest wait for a running call; on a slow model a call takes a minute."""
_CUT_WITHIN: Seconds = 2.0
"""Longest wait for a call that the pause cuts; a generator that has not cut it by then is not waited for."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Runs one short generation on a rung."""

    home: Home
    settings: Settings
    ollama: Ollama
    clock: Clock

    def trial(self, state: FleetState, switch: Switch, rung: Rung, cancel: Cancel) -> str:
        """Wait for the generator, unload its model and try the rung; return why that failed, empty for success."""
        self.wait_until_idle(cancel, _CUT_WITHIN if switch.by_hand else IDLE_WITHIN)
        self.unload(state.current_model, cancel)
        return self.failure(state, switch, rung, cancel)

    def wait_until_idle(self, cancel: Cancel, within: Seconds = IDLE_WITHIN) -> None:
        """Wait until the generator has no call in flight; do not wait for one that hangs or does not run."""
        never = threading.Event()
        began, noticed = self.clock.monotonic(), False
        while (waited := self.clock.monotonic() - began) < within and not cancel.cancelled:
            if self._idle(read_json(self.home.generator_file) or {}):
                return
            if not noticed and waited >= _NOTICE_AFTER:
                noticed = True
                sentence = f"waiting for the generator's running call, {show_duration(within)} at most"
                _log.info("trial.waits", extra=with_sentence(sentence))
            self.clock.wait(never, 0.05)

    def _idle(self, row: Mapping[str, Any]) -> bool:
        pid, beat = row.get("pid"), row.get("heartbeat")
        if not isinstance(pid, int) or not process_environ(pid):
            return True
        if not isinstance(beat, (int, float)) or self.clock.time() - beat > HUNG_AFTER:
            return True
        return bool(row.get("paused")) and row.get("request_since") is None

    def unload(self, model: str, cancel: Cancel | None = None) -> None:
        """Unload a model; a failure or a wait of more than a second is logged and ignored."""
        try:
            self.ollama.unload(model, timeout=1.0, cancel=cancel)
        except OllamaError as error:
            _log.info("unload.skipped", extra=fields(model=model, reason=error.message))

    def failure(self, state: FleetState, switch: Switch, rung: Rung, cancel: Cancel) -> str:
        """Return why a rung cannot be used, empty if it answered, or if an operator wants it and Ollama is away."""
        limit = self.settings.ollama.first_token_timeout
        body = {
            "model": rung.model,
            "prompt": "1",
            "options": {**rung.options, "num_predict": 1},
            "keep_alive": keep_alive_text(self.settings.ollama.keep_alive),
        }
        try:
            self.ollama.generate(body, first_token=limit, stall=limit, cancel=cancel)
            return self._spill(state, rung) if switch.kind is SwitchKind.PROBE else ""
        except OllamaTimeoutError:
            return f"no answer within {show_duration(limit)}"
        except OllamaAwayError as error:
            return "" if switch.by_hand and not cancel.cancelled else error.message
        except OllamaError as error:
            return error.message

    def _spill(self, state: FleetState, rung: Rung) -> str:
        """Return the fault in the model's placement, empty if there is none or the rung sets `num_gpu` itself."""
        policy = self.settings.policy
        if policy.on_spill != "downgrade" or "num_gpu" in rung.options:
            return ""
        loaded = self.ollama.loaded(timeout=2.0)
        one = next((model for model in loaded if same_model(model.name, rung.model)), None)
        if one is None or not one.size or not (one.size_vram or _has_gpu(state)):
            return ""
        share = one.size_vram / one.size
        return f"only {share:.0%} of it fits into GPU memory" if share < policy.spill_share else ""


def _has_gpu(state: FleetState) -> bool:
    gpu, seen = state.watch.get("gpu"), SpillState.from_json(state.watch.get("spill"))
    return gpu is True or (seen.on_gpu and gpu is not False)
