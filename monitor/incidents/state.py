"""The grouper's whole state and its JSON: the open load, the failures that can be joined, and learned time zones."""

from dataclasses import dataclass, field
from typing import Any

from monitor.detection.timestamps import StampMemory
from monitor.incidents.failure import Failure
from monitor.incidents.messages import Unloading
from state.dataclass_json import from_json, to_json


@dataclass(frozen=True, slots=True)
class Load:
    """A load that is being tried.

    `failing`: this try ran out of memory. `dead`: its runner is gone. `retrying`: Ollama announced another try.
    `ended`: when the server reported a failure; another try may follow. `failure`: the number of the failure that
    collects its signals. `heard`: arrival of the load's last line, by the monitor's clock.
    """

    began: float
    heard: float
    model: str = ""
    tries: int = 1
    failing: bool = False
    dead: bool = False
    retrying: bool = False
    ended: float | None = None
    failure: int | None = None


@dataclass(frozen=True, slots=True)
class GroupState:
    """Everything that grouping knows between two observations; `number` is the next failure's.

    `past`: the last closed failures. The log and the calls are two files; one may report a failure long after
    the other. `away`: the log is not being read. `layers_asked`: how many layers the client wants on
    the GPU, -1 if Ollama decides. `gpu_failed`: the runner could not initialise its GPU.
    """

    number: int = 1
    load: Load | None = None
    failures: tuple[Failure, ...] = ()
    past: tuple[Failure, ...] = ()
    unloads: tuple[Unloading, ...] = ()
    stamps: StampMemory = field(default_factory=StampMemory)
    away: bool = False
    layers_asked: int = -1
    gpu_failed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        row: dict[str, Any] = to_json(self)
        return row

    @staticmethod
    def from_json(data: object) -> "GroupState":
        """Return the state that `to_json` gave.

        Unknown keys are ignored, and a missing or damaged part takes its default. An unreadable state costs at worst
        the open failures; nothing is raised.
        """
        return from_json(GroupState, data) or GroupState()
