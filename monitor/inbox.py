"""The loop's inbox: one ordered queue of the items and facts of the monitor's threads.

A source delivers its items and goes on, within its slots. Every other thread posts a fact and waits until the loop has
decided on it and written the state. While the state cannot be written, the threads wait and the memory does not grow.
"""

import queue
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fleet.policy import facts
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState, SlowCause
from fleet.runtime.errors import StateError
from fleet.runtime.units import Bytes, Seconds
from monitor.sources.base import Away
from monitor.sources.thread import Delivery


@dataclass(frozen=True, slots=True)
class Resident:
    """A model listed by `/api/ps`; sizes in bytes."""

    name: str
    size: int
    size_vram: int
    digest: str = ""

    @property
    def share(self) -> float | None:
        """Return the model's share in GPU memory, None if its size is unknown."""
        return min(1.0, max(0.0, self.size_vram / self.size)) if self.size > 0 else None


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """One answer of `/api/ps`; `reloaded` marks the first one after a requested reload."""

    at: float
    residents: tuple[Resident, ...]
    reloaded: bool = False


@dataclass(frozen=True, slots=True)
class ReloadFailed:
    """A requested reload was not possible; the next low reading requests it again."""


@dataclass(frozen=True, slots=True)
class HangFound:
    """Ollama answered `/api/tags` although a call of the generator had reached its time-out."""


@dataclass(frozen=True, slots=True)
class HangCommandBegins:
    """The user's command against a hang is about to run."""


@dataclass(frozen=True, slots=True)
class SlowFound:
    """A call of the generator had reached its time-out because Ollama is slow."""

    why: SlowCause


@dataclass(frozen=True, slots=True)
class GpuFreed:
    """The ladder's models are unloaded for a pause."""


@dataclass(frozen=True, slots=True)
class Reported:
    """An event without another change of the state: Ollama away or back, a generator that is down or hangs."""

    kind: EventKind
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GeneratorRuns:
    """The generator runs on this switch, after a restart that was cut short before its result was written."""

    switches: int


@dataclass(frozen=True, slots=True)
class LogPresence:
    """The log of this name cannot be followed, or is followed again (None)."""

    name: str
    away: Away | None


@dataclass(frozen=True, slots=True)
class ModelsKnown:
    """Needs and sizes of Ollama's models, a value for each rung; tags by the weights' digests; free GPU memory.

    `weights` are the digests of the rungs' weights. Models that were made of one another have the same.
    """

    needs: tuple[Bytes | None, ...] = ()
    sizes: tuple[Bytes | None, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    free: Bytes | None = None
    weights: tuple[str | None, ...] = ()


Fact: TypeAlias = (
    facts.Fact
    | MemoryReading
    | ReloadFailed
    | HangFound
    | HangCommandBegins
    | SlowFound
    | GpuFreed
    | GeneratorRuns
    | Reported
    | LogPresence
)

Post: TypeAlias = Callable[[Fact], FleetState]
"""Posts a fact and returns the written state; raises StateError if the state is not written."""

PostStep: TypeAlias = Callable[[facts.Fact], FleetState]
"""`Post` for the policy's own facts, which the command line writes by itself."""

Read: TypeAlias = Callable[[], FleetState]
"""Reads the state without a lock. A snapshot may inform a step; only the owner decides."""


@dataclass(slots=True)
class Posted:
    """A posted fact, and the slot in which its sender awaits the state or the error, None without a sender."""

    fact: Fact
    reply: "queue.SimpleQueue[FleetState | Exception] | None" = None

    def answer(self, answer: FleetState | Exception) -> None:
        """Release the sender."""
        if self.reply is not None:
            self.reply.put(answer)


Message: TypeAlias = Delivery | Posted | ModelsKnown | None


class Inbox:
    """One queue of messages; None only wakes the loop. A SimpleQueue, since signal handlers put into it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._closed = False

    def put(self, message: Message) -> None:
        """Queue a message; safe in a signal handler."""
        self._queue.put(message)

    def post(self, fact: Fact) -> FleetState:
        """Return the state after the loop has written the fact; raise StateError if the monitor ends before."""
        reply: queue.SimpleQueue[FleetState | Exception] = queue.SimpleQueue()
        self._queue.put(Posted(fact, reply))
        if self._closed:
            reply.put(_ended())  # after the put: `close` may have missed it
        answer = reply.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get(self, timeout: Seconds) -> Message:
        """Return the next message; raise queue.Empty after `timeout`."""
        return self._queue.get(timeout=max(timeout, 0.0))

    def close(self, received: Iterable[Posted] = ()) -> None:
        """Answer all senders, now and later: the loop has ended and decides no more, nor on the `received` facts."""
        self._closed = True
        left: list[Message] = list(received)
        while not self._queue.empty():
            left.append(self._queue.get())
        for message in left:
            if isinstance(message, Posted):
                message.answer(_ended())


def _ended() -> StateError:
    return StateError("the monitor ends", hint="The next one goes on from the state.")
