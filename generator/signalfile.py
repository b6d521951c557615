"""`signals.jsonl`: what each call came to, a line a call, which the monitor follows like a log."""

import json
import os
import threading
from pathlib import Path

from fleet.units import Bytes
from generator.records import CallRecord

MOST_BYTES: Bytes = 5 * 1024**2
_ERROR_LIMIT = 4096


class SignalFile:
    """Appends rows; each is one write, so that a reader never sees two rows mixed."""

    def __init__(self, path: Path, *, most: Bytes = MOST_BYTES) -> None:
        self._path = path
        self._most = most
        self._lock = threading.Lock()

    def append(self, call: CallRecord) -> None:
        """Append a call's row; raise OSError if it cannot be written.

        At `most` bytes the file becomes `signals.jsonl.1`, in whose place one before it goes.
        """
        row = call.signal()
        if row["error"] is not None:
            row["error"] = row["error"][:_ERROR_LIMIT]
        content = (json.dumps(row, separators=(",", ":")) + "\n").encode()
        with self._lock:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(descriptor, self._mended(descriptor) + content)
                full = os.fstat(descriptor).st_size >= self._most
            finally:
                os.close(descriptor)
            if full:
                self._path.replace(self._path.with_name(self._path.name + ".1"))

    def _mended(self, descriptor: int) -> bytes:
        """Return a line end if the last writer's row broke off (a full disk), so that ours stands alone."""
        size = os.fstat(descriptor).st_size
        if size == 0:
            return b""
        with self._path.open("rb") as stream:
            stream.seek(size - 1)
            return b"" if stream.read(1) == b"\n" else b"\n"
