"""`signals.jsonl`: what each call came to, a line a call, which the monitor follows like a log."""

from pathlib import Path

from fleet.runtime.units import Bytes
from generator.domain import CallRecord
from generator.reporting.jsonl import LineFile

MOST_BYTES: Bytes = 5 * 1024**2
_ERROR_LIMIT = 4096


class SignalFile:
    """Appends the rows that the monitor reads; at `most` bytes the file becomes `signals.jsonl.1`."""

    def __init__(self, path: Path, *, most: Bytes = MOST_BYTES) -> None:
        self._file = LineFile(path, most=most)

    def append(self, call: CallRecord) -> None:
        """Append a call's row; raise OSError if it cannot be written."""
        row = call.signal()
        if row["error"] is not None:
            row["error"] = row["error"][:_ERROR_LIMIT]
        self._file.append(row)
