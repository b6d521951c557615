"""The history: `history.jsonl`, a line for each event, each exactly once by its number."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from fleet.policy.events import Event, event_of

_ROTATE_AT = 5 * 1024**2
_TAIL = 4 * 1024
_LINE = 256


class History:
    """The history file of one home; writers hold the state's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: tuple[tuple[int, int], int] | None = None

    def last_number(self) -> int:
        """Return the number of the last event that stands there whole, 0 if there is none; raise OSError."""
        try:
            status = self._path.stat()
            mark = status.st_ino, status.st_size
        except FileNotFoundError:
            mark = (0, 0)
        if mark[1] and self._last is not None and self._last[0] == mark:
            return self._last[1]  # lines are only ever added
        for path in (self._path, rotated(self._path)):
            number = _last_number(path)
            if number:
                self._last = mark, number
                return number
        return 0

    def append(self, events: Sequence[Event]) -> None:
        """Append events; raise OSError. A line that a crash cut off is ended first, and read as nothing.

        They are on the disk only after `sync`: until then the state keeps them.
        """
        self._rotate()
        text = "".join(json.dumps(event.row()) + "\n" for event in events)
        with self._path.open("ab+") as stream:
            if stream.tell() and not _ends_line(stream.fileno(), stream.tell()):
                text = "\n" + text
            stream.write(text.encode())

    def sync(self) -> None:
        """Put what was appended on the disk; raise OSError."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as stream:
            os.fsync(stream.fileno())

    def _rotate(self) -> None:
        try:
            if self._path.stat().st_size > _ROTATE_AT:
                self.sync()
                self._path.replace(rotated(self._path))
        except FileNotFoundError:
            return


def rotated(path: Path) -> Path:
    """Return where the older half of the history stands."""
    return path.with_name(path.name + ".1")


def _ends_line(descriptor: int, size: int) -> bool:
    return os.pread(descriptor, 1, size - 1) == b"\n"


def _last_number(path: Path) -> int:
    """Return the last event's number, looking as far back as it takes to find a whole one."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            tail = 0
            while tail < size:
                tail = min(size, max(_TAIL, 4 * tail))
                stream.seek(size - tail)
                last = _last_event(stream.read())
                if last is not None:
                    return last.number
    except FileNotFoundError:
        pass
    return 0


def _last_event(content: bytes) -> Event | None:
    return next((event for line in reversed(content.split(b"\n")) if (event := _event(line))), None)


def parse_lines(content: bytes) -> list[Event]:
    """Return the events of whole lines; what is cut off or foreign is passed over."""
    return [event for line in content.split(b"\n") if (event := _event(line))]


def _event(line: bytes) -> Event | None:
    try:
        return event_of(json.loads(line))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def read_history(path: Path, last: int | None = None) -> list[Event]:
    """Return the events of a history and its older half, oldest first, only the last ones if asked."""
    if last is None:
        return parse_lines(b"".join(_content(part) for part in (rotated(path), path)))
    events: list[Event] = []
    for part in (path, rotated(path)):
        events = _last_events(part, last - len(events)) + events
    return events


def _last_events(path: Path, count: int) -> list[Event]:
    """Return a file's last events, reading no more of its end than it takes."""
    if count <= 0:
        return []
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            tail, events = 0, list[Event]()
            while tail < size and len(events) < count:
                tail = min(size, max(_TAIL, 4 * tail, _LINE * count))
                stream.seek(size - tail)
                events = parse_lines(stream.read())
            return events[-count:]
    except FileNotFoundError:
        return []


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
