"""The card watch: reads the GPU memory left by other programs, if `[policy] reserve` is set."""

import json
import logging
from dataclasses import dataclass

from fleet.clients.gpu import NO_FIGURES, Cards
from fleet.clients.ollama import LoadedModel, Ollama
from fleet.config.ladder import same_model
from fleet.config.schema import Settings
from fleet.policy.facts import CardSeen
from fleet.policy.state import FleetState
from fleet.runtime.atomic_write import replace_text
from fleet.runtime.errors import FleetError
from fleet.runtime.home import Home
from fleet.runtime.logging import fields
from fleet.runtime.units import Bytes, Seconds
from monitor.inbox import PostStep, Read

_log = logging.getLogger(__name__)
NO_CARD = "no nvidia-smi or rocm-smi is installed here, or Ollama runs on another machine"


@dataclass(frozen=True, slots=True)
class CardMemory:
    """The memory of all GPUs: free now, in total, and in use by the ladder's models."""

    free: Bytes
    total: Bytes
    ours: Bytes


def card_seen(
    memory: CardMemory | None, loaded: list[LoadedModel], state: FleetState, settings: Settings
) -> CardSeen:
    """Return the fact of a reading: the memory left by others, without the reserve, and the current model's memory.

    Pure.
    """
    current = sum(one.size_vram for one in loaded if same_model(one.name, state.current_model))
    if memory is None:
        return CardSeen(None)
    return CardSeen(memory.free + memory.ours - settings.policy.reserve.of(memory.total), current or None)


@dataclass(frozen=True, kw_only=True)
class CardWatch:
    """The job that reads the cards every check interval, posts the reading and keeps it in `run/card.json`."""

    home: Home
    settings: Settings
    ollama: Ollama
    read: Read
    post: PostStep
    cards: Cards

    def __call__(self) -> Seconds:
        """Read once; return the seconds until the next time."""
        interval = self.settings.policy.check_interval
        if not self.settings.policy.reserve:
            self.home.card_file.unlink(missing_ok=True)
            if self.read().reserve is not None:
                self.post(CardSeen(None))  # the cap of an earlier configuration ends
            return 20 * interval
        loaded = self._loaded()
        memory, unknown = self._memory(loaded)
        self._write_file(memory, unknown)
        self.post(card_seen(memory, loaded, self.read(), self.settings))
        return interval

    def _loaded(self) -> list[LoadedModel]:
        """Return the ladder's models in memory; none while Ollama is away."""
        try:
            loaded = self.ollama.loaded(timeout=2.0)
        except FleetError:
            return []
        return [
            one for one in loaded if any(same_model(rung.model, one.name) for rung in self.settings.ladder)
        ]

    def _memory(self, loaded: list[LoadedModel]) -> tuple[CardMemory | None, str]:
        """Return the cards' memory, or why it is unknown."""
        try:
            cards = self.cards()
        except FleetError as error:
            return None, error.message
        if not cards:
            return None, NO_CARD if cards is None else NO_FIGURES
        total = sum(card.total for card in cards)
        free = total - sum(card.used for card in cards)
        return CardMemory(free, total, sum(one.size_vram for one in loaded)), ""

    def _write_file(self, memory: CardMemory | None, unknown: str) -> None:
        row = (
            {"unknown": unknown}
            if memory is None
            else {"free": memory.free, "total": memory.total, "unknown": ""}
        )
        try:
            replace_text(self.home.card_file, json.dumps(row) + "\n")
        except OSError as error:
            _log.warning("card.not_kept", extra=fields(reason=error.strerror))
