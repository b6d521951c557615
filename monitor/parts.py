"""The clients, files and settings that the parts of the monitor share."""

from collections.abc import Callable
from dataclasses import dataclass

from fleet.clients.ollama import Ollama
from fleet.clients.supervisor import Supervisor
from fleet.config.ladder import Ladder
from fleet.config.schema import Settings
from fleet.runtime.clock import Clock
from fleet.runtime.home import Home
from fleet.runtime.units import Bytes
from state.store import StateStore

DiskCheck = Callable[[Bytes], str]
"""Returns why so many more bytes do not fit, empty if they fit or nothing is known of the disk."""


def no_limit(_needed: Bytes) -> str:
    """Return no objection: nothing is known of the disk."""
    return ""


@dataclass(frozen=True, slots=True)
class Parts:
    """The clients, files and settings that switches, pulls and watches need."""

    home: Home
    settings: Settings
    store: StateStore
    ollama: Ollama
    supervisor: Supervisor
    clock: Clock
    disk: DiskCheck = no_limit

    @property
    def ladder(self) -> Ladder:
        """Return the ladder."""
        return self.settings.ladder
