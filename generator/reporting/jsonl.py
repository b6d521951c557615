"""Rotated files of JSON lines: `signals.jsonl` for the monitor, and `log/calls.log`."""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleet.runtime.units import Bytes
from generator.domain import CallRecord


class JsonLinesFile:
    """Appends rows; thread-safe. Each row is one write, so that a reader never sees two rows mixed.

    At `most` bytes `NAME` is renamed to `NAME.1`, `NAME.1` to `NAME.2`, and so on up to `backups`.
    """

    def __init__(self, path: Path, *, most: Bytes, backups: int = 1) -> None:
        self._path = path
        self._most = most
        self._backups = backups
        self._lock = threading.Lock()

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row; raise OSError if it cannot be written."""
        content = (json.dumps(row, separators=(",", ":")) + "\n").encode()
        with self._lock:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(descriptor, self._missing_newline(descriptor) + content)
                full = os.fstat(descriptor).st_size >= self._most
            finally:
                os.close(descriptor)
            if full:
                self._rotate()

    def _rotate(self) -> None:
        for number in range(self._backups - 1, 0, -1):
            if (older := self._numbered(number)).exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _missing_newline(self, descriptor: int) -> bytes:
        """Return a newline if the last row broke off, such as on a full disk; else nothing."""
        size = os.fstat(descriptor).st_size
        if size == 0:
            return b""
        with self._path.open("rb") as stream:
            stream.seek(size - 1)
            return b"" if stream.read(1) == b"\n" else b"\n"


MOST_BYTES: Bytes = 5 * 1024**2
_ERROR_LIMIT = 4096


class SignalFile:
    """`signals.jsonl`: a row for each finished call, which the monitor reads."""

    def __init__(self, path: Path, *, most: Bytes = MOST_BYTES) -> None:
        self._file = JsonLinesFile(path, most=most)

    def append(self, call: CallRecord) -> None:
        """Append a call's row; raise OSError if it cannot be written."""
        row = call.signal()
        if row["error"] is not None:
            row["error"] = row["error"][:_ERROR_LIMIT]
        self._file.append(row)


_BACKUPS = 3


class CallLog:
    """`log/calls.log`: finished calls with prompt and reply. Four files keep the newest 20 MB."""

    def __init__(self, path: Path, *, most: Bytes = MOST_BYTES) -> None:
        self._file = JsonLinesFile(path, most=most, backups=_BACKUPS)

    def append(self, call: CallRecord) -> None:
        """Append a call; raise OSError if it cannot be written."""
        names = (name for name in CallRecord.__slots__ if name not in {"started", "ended", "took"})
        times = {"started": round(call.started, 3), "seconds": round(call.seconds, 3)}
        self._file.append({"id": call.id, **times, **{name: getattr(call, name) for name in names}})
