"""The history, `history.jsonl`: a line for each event, exactly once by its number."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from fleet.policy.events import Event, parse_event

_ROTATE_AT = 5 * 1024**2
_TAIL = 4 * 1024
_LINE = 256
_CHUNK = 64 * 1024


class HistoryFile:
    """The history file of one home; its writers hold the lock of the state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: tuple[tuple[int, int], int] | None = None

    def last_number(self) -> int:
        """Return the number of the last complete event, 0 without one; raise OSError."""
        try:
            status = self._path.stat()
            version = status.st_ino, status.st_size
        except FileNotFoundError:
            version = (0, 0)
        if version[1] and self._last is not None and self._last[0] == version:
            return self._last[1]  # the file only grows: same size, same content
        for path in (self._path, rotated(self._path)):
            events = _last_events(path, 1)
            if events:
                self._last = version, events[0].number
                return events[0].number
        return 0

    def append(self, events: Sequence[Event]) -> None:
        """Append events; raise OSError. A partial line of a crash is ended first, and readers skip it.

        Only `sync` puts the events on the disk; until then the state keeps them. A long file first becomes the older
        part. The new events go into a new file, which readers watch.
        """
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size > _ROTATE_AT:
                self.sync()
                self._path.replace(rotated(self._path))
        text = "".join(json.dumps(event.row()) + "\n" for event in events)
        with self._path.open("ab+") as stream:
            end = stream.tell()
            if end and os.pread(stream.fileno(), 1, end - 1) != b"\n":
                text = "\n" + text
            stream.write(text.encode())

    def sync(self) -> None:
        """Flush the appended events to the disk; raise OSError."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as stream:
            os.fsync(stream.fileno())


def rotated(path: Path) -> Path:
    """Return the path of the history's older part."""
    return path.with_name(path.name + ".1")


def parse_events(content: bytes, decode: Callable[[bytes], Any] = json.loads) -> list[Event]:
    """Return the events of the complete lines; partial and foreign lines are skipped."""
    lines = [line for line in content.split(b"\n") if line]
    try:
        # A whole history at once takes half the time of line by line.
        rows = decode(b"[" + b",".join(lines) + b"]")
        if len(rows) == len(lines):
            return [parse_event(row) for row in rows]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        pass  # one line at least is none
    return [event for line in lines if (event := _event(line))]


def _event(line: bytes) -> Event | None:
    try:
        return parse_event(json.loads(line))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def each_event(path: Path, decode: Callable[[bytes], Any] = json.loads) -> Iterator[Event]:
    """Yield the events of a history and its older part, oldest first, without a whole long file in memory.

    `decode` decodes JSON; `json` decodes the lines that `decode` refuses.
    """
    with contextlib.ExitStack() as stack:
        streams: list[BinaryIO] = []
        for part in (path, rotated(path)):  # in this order no rotation takes events away in between
            with contextlib.suppress(FileNotFoundError):
                streams.insert(0, stack.enter_context(part.open("rb")))
        if len({os.fstat(one.fileno()).st_ino for one in streams}) < len(streams):
            streams.pop(0)  # rotated in between: both are one file
        for stream in streams:
            while lines := stream.readlines(_CHUNK):
                yield from parse_events(b"".join(lines), decode)


def read_history(path: Path, last: int | None = None) -> list[Event]:
    """Return the events of a history and its older part, oldest first; only the `last` ones if given."""
    if last is None:
        return list(each_event(path))
    events: list[Event] = []
    for part in (path, rotated(path)):
        events = _last_events(part, last - len(events)) + events
    return events


def _last_events(path: Path, count: int) -> list[Event]:
    """Return a file's last `count` events, reading only as much of its end as needed."""
    if count <= 0:
        return []
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            tail, events = 0, list[Event]()
            while tail < size and len(events) < count:
                tail = min(size, max(_TAIL, 4 * tail, _LINE * count))
                stream.seek(size - tail)
                events = parse_events(stream.read())
            return events[-count:]
    except FileNotFoundError:
        return []
