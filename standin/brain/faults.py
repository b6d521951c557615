"""The faults of a stand-in BRAIN, as tests put them in force.

| kind | what happens to a request that it meets |
|---|---|
| `REFUSE` | the connection is reset before anything is done |
| `LOSE` | the request is done, and the connection is reset before its answer |
| `STALL` | it is answered after `seconds`, done at once |
| `ERROR` | it is answered with `status` and `text` as JSON's `detail`, and `retry_after` if that is given |
| `HTML` | it is answered with `status` and a page, as by a proxy on the way |
| `EXPIRE` | the session is over: 401 |

Two more meet a simulation. `OUTCOME` is taken at its beginning, and ends it in `status_text` with `text`. `BLANK` is
taken at its end, and leaves its alpha without figures for the next `times` requests.
"""

import threading
from dataclasses import dataclass
from enum import Enum, auto

from fleet.runtime.units import Seconds


class BrainFaultKind(Enum):
    """The kinds of faults; the table above has their effects."""

    REFUSE = auto()
    LOSE = auto()
    STALL = auto()
    ERROR = auto()
    HTML = auto()
    EXPIRE = auto()
    OUTCOME = auto()
    BLANK = auto()


@dataclass(frozen=True, slots=True)
class BrainFault:
    """One fault and the requests it meets: a method and the prefix of a path. `times` None means until cleared."""

    kind: BrainFaultKind
    method: str = ""
    path: str = "/"
    times: int | None = 1
    status: int = 500
    text: str = "Internal Server Error"
    seconds: Seconds = 1.0
    retry_after: str = ""
    status_text: str = "FAIL"


class Board:
    """The faults in force; safe for use by many requests at once."""

    def __init__(self) -> None:
        self._live: list[list[BrainFault | int]] = []
        self._lock = threading.Lock()

    def add(self, *faults: BrainFault) -> None:
        """Put faults in force."""
        with self._lock:
            self._live += [[fault, 0] for fault in faults]

    @property
    def left(self) -> int:
        """Return how many are in force still."""
        with self._lock:
            return len(self._live)

    def clear(self) -> None:
        """Lift all of them."""
        with self._lock:
            self._live.clear()

    def take(self, *kinds: BrainFaultKind, method: str = "", path: str = "/") -> BrainFault | None:
        """Return the first fault of these kinds that meets the request, counted as having happened."""
        with self._lock:
            for entry in self._live:
                fault, happened = entry
                assert isinstance(fault, BrainFault)
                assert isinstance(happened, int)
                meets = fault.method in {"", method} and path.startswith(fault.path)
                if fault.kind in kinds and meets:
                    entry[1] = happened + 1
                    if fault.times is not None and happened + 1 >= fault.times:
                        self._live.remove(entry)
                    return fault
        return None
