"""What the monitor knows of Ollama, asked for in a thread of its own and read by the loop without waiting."""

import json
import logging
import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from fleet.clients.gpu import Card
from fleet.clients.ollama import Ollama
from fleet.config.ladder import same_model
from fleet.config.schema import Settings
from fleet.policy.rules import Rules
from fleet.runtime.atomic_write import replace_text
from fleet.runtime.clock import Clock
from fleet.runtime.errors import FleetError
from fleet.runtime.logging import fields
from fleet.runtime.units import Bytes, Seconds
from monitor.models.inventory import Models

_log = logging.getLogger(__name__)
_EVERY: Seconds = 600.0
_LOOK_EVERY: Seconds = 120.0


class Knowledge:
    """Rules with what Ollama says of the ladder's models, and the tags of weights by their digests.

    `gpu_total` is the memory of all its GPUs, by its log; what is needed beyond it cannot fit. While the fleet
    is `climbing`, that is, below where it may be, the cards' own tool is asked too, where `look` can: what others
    leave free, and what our model would give back. What is known of the models is also put into a file, for
    those who only look.
    """

    def __init__(
        self,
        settings: Settings,
        ollama: Ollama,
        clock: Clock,
        *,
        file: Path | None = None,
        look: Callable[[], list[Card] | None] = lambda: None,
    ) -> None:
        self.gpu_total: Bytes | None = None
        self.climbing = False
        self._look = look
        self._free: Bytes | None = None
        self._ollama = ollama
        self._settings = settings
        self._file = file
        self._models = Models(ollama, settings.ladder)
        self._clock = clock
        self._random = random.Random()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="knowledge", daemon=True)

    def __call__(self) -> tuple[Rules, Mapping[str, str]]:
        """Return the rules that decisions go by now, and whose weights are whose."""
        models = self._models
        rules = Rules(
            self._settings.ladder,
            self._settings.policy,
            needs=models.needs,
            sizes=models.sizes,
            free=self.free,
            jitter=self._random.random(),
        )
        return rules, self._models.named_by_blob()

    @property
    def free(self) -> Bytes | None:
        """Return how many bytes there can be for a model at most, None if nothing is known."""
        known = [amount for amount in (self.gpu_total, self._free) if amount is not None]
        return min(known, default=None)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def refresh(self) -> None:
        """Ask again now, after something may have changed."""
        self._wake.set()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._models.refresh()
                self._keep()
                self.look()
            except Exception:  # noqa: BLE001  # atop the loop: what nobody foresaw is logged and tried again
                _log.exception("knowledge.broken")
            known = sum(need is not None for need in self._models.needs)
            patience = _EVERY if known else self._settings.policy.check_interval
            self._clock.wait(self._wake, min(patience, _LOOK_EVERY) if self.climbing else patience)
            self._wake.clear()

    def look(self) -> None:
        """Ask the cards what is free; nothing is known of it where they cannot be asked, or need not be."""
        self._free = None
        if not self.climbing:
            return
        try:
            cards = self._look()
            ours = sum(
                model.size_vram for model in self._ollama.loaded(timeout=2.0) if self._ours(model.name)
            )
        except FleetError:
            return
        if cards:
            self._free = sum(card.total - card.used for card in cards) + ours

    def _ours(self, name: str) -> bool:
        return any(same_model(rung.model, name) for rung in self._settings.ladder)

    def _keep(self) -> None:
        if self._file is None:
            return
        row = {
            "ladder": self._settings.ladder.digest,
            "needs": self._models.needs,
            "sizes": self._models.sizes,
        }
        try:
            replace_text(self._file, json.dumps(row) + "\n")
        except OSError as error:
            _log.warning("models.not_kept", extra=fields(reason=error.strerror))
