"""One open log file: reads on from a place, and notices when that place is not there any more."""

import errno
import os
import stat
from pathlib import Path

from monitor.sources.base import MOST_LINES
from monitor.sources.file.position import (
    HEAD,
    TAIL,
    LogFileCandidate,
    Mark,
    fingerprint,
    is_rotated_name,
    unread,
)
from monitor.sources.lines import LineBuffer, Region

CHUNK = 256 * 1024
_SEARCH = 64 * 1024  # how far back the start of an unfinished last line is looked for


class RewrittenError(Exception):
    """The bytes that were read last stand there no more: the file was truncated or written anew."""


class LogFile:
    """A regular file, read line by line from `offset` on. Raises OSError as the file system does."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._descriptor = open_regular(path)
        self._lines = LineBuffer()
        self._position = offset
        self._offset = offset
        self._head = os.pread(self._descriptor, min(offset, HEAD), 0)
        self._tail = self._recent = _before(self._descriptor, offset)

    @classmethod
    def at_end(cls, path: Path) -> "LogFile":
        """Open a file behind its last whole line."""
        descriptor = open_regular(path)
        try:
            size = os.fstat(descriptor).st_size
            start = max(0, size - _SEARCH)
            last = os.pread(descriptor, size - start, start).rfind(b"\n") + 1
        finally:
            os.close(descriptor)
        return cls(path, start + last if last or not start else size)

    @property
    def identity(self) -> tuple[int, int]:
        """Return what tells this file from every other that exists: device and inode."""
        facts = os.fstat(self._descriptor)
        return facts.st_dev, facts.st_ino

    @property
    def position(self) -> int:
        """Return how far the file has been read, the unfinished last line included."""
        return self._position

    @property
    def mark(self) -> Mark:
        """Return the place behind the last line that was given out."""
        facts = os.fstat(self._descriptor)
        head = self._head[: self._offset]
        return Mark(
            facts.st_dev,
            facts.st_ino,
            self._offset,
            facts.st_mtime_ns,
            len(head),
            fingerprint(head, self._tail),
        )

    def read(self) -> tuple[int, Region | None]:
        """Read on; return how many bytes came (0: the end of the file) and the lines that they finished.

        Raises RewrittenError when the file no longer holds what was read before.
        """
        known = len(self._recent)
        data = os.pread(self._descriptor, known + CHUNK, self._position - known)
        if data[:known] != self._recent:
            raise RewrittenError
        data = _at_most(MOST_LINES, data, known)
        return len(data) - known, self._take(data, known)

    def finish(self) -> Region | None:
        """Give out the unfinished last line; to be asked for when nothing can follow it."""
        region = self._lines.finish()
        if region is not None:
            self._offset, self._tail = self._position, self._recent
        return region

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _take(self, data: bytes, known: int) -> Region | None:
        if self._position < HEAD:
            self._head += data[known : known + HEAD - self._position]
        region = self._lines.feed(data[known:])
        if region is not None:
            end = data.rfind(b"\n") + 1
            self._offset += region.size
            self._tail = data[max(0, end - TAIL) : end]
        self._position += len(data) - known
        self._recent = data[-TAIL:]
        return region


def _at_most(lines: int, data: bytes, start: int) -> bytes:
    """Return the data up to the end of so many lines, counted from `start`; the rest is read again later."""
    if data.count(b"\n", start) <= lines:
        return data
    for _ in range(lines):
        start = data.index(b"\n", start) + 1
    return data[:start]


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor; anything else is an OSError too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.ENOTSUP
    raise OSError(code, os.strerror(code), str(path))


def plan_from(mark: Mark, path: Path) -> list[tuple[Path, int]]:
    """Return what is to be read from the mark on, as it stands in the folder now; see `unread`.

    Raises OSError if nothing at all is there, or if the log is there and cannot be read.
    """
    try:
        current = _candidate(path, mark)
    except FileNotFoundError:
        plan = unread(mark, None, _siblings(path, mark))
        if not plan:
            raise
        return plan
    if current.matches:
        return unread(mark, current, ())
    return unread(mark, current, _siblings(path, mark))


def _siblings(path: Path, mark: Mark) -> list[LogFileCandidate]:
    if not mark.inode:
        return []
    found = []
    for sibling in path.parent.iterdir():
        if is_rotated_name(path.name, sibling.name):
            try:
                found.append(_candidate(sibling, mark))
            except OSError:
                continue  # gone meanwhile, no file, or not ours to read
    return found


def _candidate(path: Path, mark: Mark) -> LogFileCandidate:
    descriptor = open_regular(path)
    try:
        facts = os.fstat(descriptor)
        return LogFileCandidate(path, facts.st_ino, facts.st_mtime_ns, _holds(descriptor, facts, mark))
    finally:
        os.close(descriptor)


def _holds(descriptor: int, facts: os.stat_result, mark: Mark) -> bool:
    """Tell whether the mark's place is in this file; by its inode alone if nothing of it had been read."""
    if not mark.offset:
        return facts.st_ino == mark.inode
    if facts.st_size < mark.offset:
        return False
    head = os.pread(descriptor, mark.head, 0)
    return fingerprint(head, _before(descriptor, mark.offset)) == mark.print


def _before(descriptor: int, offset: int) -> bytes:
    size = min(offset, TAIL)
    return os.pread(descriptor, size, offset - size)
