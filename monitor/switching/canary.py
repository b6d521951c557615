"""The trial of a model before a switch is committed: with the generator paused, the model loads and answers once.

The trial uses exactly the rung's options, because the context decides whether a model fits. A current server puts a
part of an oversized model on the CPU without an error. A probe therefore checks the model's placement. Otherwise the
fleet would move up to a model that it has to leave again.
"""

import logging
from dataclasses import dataclass

from fleet.clients.gpu import Cards, no_cards
from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama, keep_alive_text
from fleet.config.ladder import Rung, same_model
from fleet.config.schema import Settings
from fleet.policy.state import FleetState, Switch, SwitchKind
from fleet.runtime.errors import FleetError, OllamaAwayError, OllamaError, OllamaTimeoutError
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds, show_duration, show_size
from monitor.watch.spill import gpu_known

_log = logging.getLogger(__name__)
_PATIENCE: Seconds = 10.0
"""Time-out of the lightest call, on a busy machine."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Runs one short generation on a rung."""

    settings: Settings
    ollama: Ollama
    cards: Cards = no_cards

    def failure(self, state: FleetState, switch: Switch, rung: Rung, cancel: Cancel) -> str:
        """Return why a rung cannot be used, empty if it answered.

        While Ollama is away, an operator's rung counts as usable.
        """
        limit = self.settings.ollama.first_token_timeout
        body = {
            "model": rung.model,
            "prompt": "1",
            "options": {**rung.options, "num_predict": 1},
            "keep_alive": keep_alive_text(self.settings.ollama.keep_alive),
        }
        try:
            self._require_answer(cancel)
            self.ollama.generate(body, first_token=limit, stall=limit, cancel=cancel)
            return (self._spill(state, rung) if switch.kind is SwitchKind.PROBE else "") or self._reserve()
        except OllamaTimeoutError:
            return f"no answer within {show_duration(limit)}"
        except OllamaAwayError as error:
            return "" if switch.by_hand and not cancel.cancelled else error.message
        except OllamaError as error:
            return error.message

    def _require_answer(self, cancel: Cancel) -> None:
        """Raise OllamaAwayError for a server without answers: a trial would wait its whole time-out."""
        try:
            patience = min(_PATIENCE, self.settings.ollama.first_token_timeout)
            self.ollama.version(timeout=patience, cancel=cancel)
        except OllamaTimeoutError as error:
            raise OllamaAwayError(error.message, hint=error.hint) from error

    def _spill(self, state: FleetState, rung: Rung) -> str:
        """Return the fault in the model's placement, empty if there is none or the rung sets `num_gpu` itself."""
        policy = self.settings.policy
        if policy.on_spill != "downgrade" or "num_gpu" in rung.options:
            return ""
        loaded = self.ollama.loaded(timeout=2.0)
        one = next((model for model in loaded if same_model(model.name, rung.model)), None)
        if one is None or not one.size or not (one.size_vram or gpu_known(state)):
            return ""
        share = one.size_vram / one.size
        return f"only {share:.0%} of it fits into GPU memory" if share < policy.spill_share else ""

    def _reserve(self) -> str:
        """Return the fault of a model that does not leave the reserve free, empty where no card can be read."""
        reserve = self.settings.policy.reserve
        try:
            cards = self.cards() if reserve else None
        except FleetError as error:
            _log.info("reserve.unknown", extra=fields(reason=error.message))
            return ""
        if not cards:
            return ""
        total = sum(card.total for card in cards)
        free, wanted = total - sum(card.used for card in cards), reserve.of(total)
        if free >= wanted:
            return ""
        return f"it leaves {show_size(free)} of the GPU free, and the reserve is {show_size(wanted)}"
