"""`log/calls.log`: prompt and reply of each call, a JSON line a call, for a person to look into.

The database has the same for longer; this needs no tool but a pager, and goes on where the database is away.
"""

from pathlib import Path

from fleet.runtime.units import Bytes
from generator.domain import CallRecord
from generator.reporting.jsonl import LineFile

MOST_BYTES: Bytes = 5 * 1024**2
_BACKUPS = 3


class CallLog:
    """Appends finished calls; the newest 20 MB of them are kept, in four files."""

    def __init__(self, path: Path, *, most: Bytes = MOST_BYTES) -> None:
        self._file = LineFile(path, most=most, backups=_BACKUPS)

    def append(self, call: CallRecord) -> None:
        """Append a call; raise OSError if it cannot be written."""
        names = (name for name in CallRecord.__slots__ if name not in {"started", "ended"})
        times = {"started": round(call.started, 3), "seconds": round(call.ended - call.started, 3)}
        self._file.append({"id": call.id, **times, **{name: getattr(call, name) for name in names}})
