"""The grouper's whole state and its JSON: what is open, what can be joined, what the log taught of time."""

from dataclasses import dataclass, field
from typing import Any

from monitor.detection.timestamps import StampMemory
from monitor.incidents.failure import Failure
from state.dataclass_json import kept, restored


@dataclass(frozen=True, slots=True)
class Load:
    """A load that is being tried.

    `failing`: this try has run out of memory. `dead`: its runner is gone. `retrying`: Ollama said that it
    tries again. `ended`: when the server said that it failed; it may be tried again still. `failure` is the
    number of the failure that collects its signals. `heard` and `ended_heard` are by our own clock.
    """

    began: float
    heard: float
    model: str = ""
    tries: int = 1
    failing: bool = False
    dead: bool = False
    retrying: bool = False
    ended: float | None = None
    ended_heard: float | None = None
    failure: int | None = None


@dataclass(frozen=True, slots=True)
class Unload:
    """An unload that we asked for."""

    model: str
    at: float


@dataclass(frozen=True, slots=True)
class GroupState:
    """Everything that grouping knows between two observations; `number` is the next failure's.

    `past` are the last failures that were closed: what tells of one may be read long after, where a monitor was
    away between two files that both tell of it. `away`: nobody reads the log just now.
    """

    number: int = 1
    load: Load | None = None
    failures: tuple[Failure, ...] = ()
    past: tuple[Failure, ...] = ()
    unloads: tuple[Unload, ...] = ()
    stamps: StampMemory = field(default_factory=StampMemory)
    away: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        row: dict[str, Any] = kept(self)
        return row

    @staticmethod
    def from_json(data: object) -> "GroupState":
        """Return the state that `to_json` gave.

        Unknown keys are passed over, and a missing or damaged part takes its default: a state that cannot
        be read costs at worst what was open, never a crash.
        """
        return restored(GroupState, data) or GroupState()
