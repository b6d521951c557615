"""The faults in force: the next request that each meets, and the number of times that each has happened."""

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from standin.faults import Fault, FaultKind


@dataclass(slots=True)
class _Live:
    fault: Fault
    spared: int = 0
    happened: int = 0


class FaultBoard:
    """The faults in force; safe for use by many requests at once."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._live = [_Live(fault) for fault in faults]
        self._cleared = 0

    @property
    def cleared(self) -> int:
        """Return the number of times that all faults were lifted; a waiting request watches it."""
        return self._cleared

    def add(self, faults: Iterable[Fault]) -> None:
        """Put faults in force."""
        with self._lock:
            self._live.extend(_Live(fault) for fault in faults)

    def clear(self) -> None:
        """Lift all faults."""
        with self._lock:
            self._live.clear()
            self._cleared += 1

    def take(self, *kinds: FaultKind, model: str = "", path: str = "") -> Fault | None:
        """Return the first fault of these kinds that meets the request, counted as having happened."""
        with self._lock:
            for live in self._live:
                if live.fault.kind in kinds and _meets(live.fault, model, path) and _is_due(live):
                    self._live = [each for each in self._live if not _is_over(each)]
                    return live.fault
        return None

    def shown(self) -> list[dict[str, Any]]:
        """Return the faults in force, as JSON objects with how often each has happened."""
        with self._lock:
            return [
                {**asdict(live.fault), "kind": live.fault.kind.value, "happened": live.happened}
                for live in self._live
            ]


def _meets(fault: Fault, model: str, path: str) -> bool:
    return fault.model in {"", model} and fault.path in {"", path}


def _is_due(live: _Live) -> bool:
    if live.spared < live.fault.skip:
        live.spared += 1
        return False
    live.happened += 1
    return True


def _is_over(live: _Live) -> bool:
    return live.fault.times is not None and live.happened >= live.fault.times
