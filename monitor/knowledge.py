"""What the monitor knows of Ollama, asked for in a thread of its own and read by the loop without waiting."""

import random
import threading
from collections.abc import Mapping

from fleet.clock import Clock
from fleet.ollama import Ollama
from fleet.rules import Rules
from fleet.settings import Settings
from fleet.units import Seconds
from monitor.models import Models

_EVERY: Seconds = 600.0


class Knowledge:
    """Rules with what Ollama says of the ladder's models, and the tags of weights by their digests."""

    def __init__(self, settings: Settings, ollama: Ollama, clock: Clock) -> None:
        self._settings = settings
        self._models = Models(ollama, settings.ladder)
        self._clock = clock
        self._random = random.Random()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="knowledge", daemon=True)

    def __call__(self) -> tuple[Rules, Mapping[str, str]]:
        """Return the rules that decisions go by now, and whose weights are whose."""
        rules = Rules(
            self._settings.ladder, self._settings.policy, self._models.needs, jitter=self._random.random()
        )
        return rules, self._models.named_by_blob()

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
            self._models.refresh()
            known = sum(need is not None for need in self._models.needs)
            self._clock.wait(self._wake, _EVERY if known else self._settings.policy.check_interval)
            self._wake.clear()
