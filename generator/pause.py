"""`run/pause.json`: the monitor's request that no new call begins for a while."""

from dataclasses import dataclass
from pathlib import Path

from fleet.home import read_json
from fleet.outside import finite


@dataclass(frozen=True, slots=True)
class Pause:
    """A request to pause until a time (Unix seconds), and why."""

    until: float
    why: str = ""


def read_pause(path: Path, now: float) -> Pause | None:
    """Return the request that holds now; None if there is none, it is over, or it cannot be understood.

    It is over by itself at its time, so that a monitor which died does not stop the generator for ever.
    """
    row = read_json(path)
    if row is None:
        return None
    until = finite(row.get("until"))
    return Pause(until, str(row.get("why", ""))) if until is not None and until > now else None
