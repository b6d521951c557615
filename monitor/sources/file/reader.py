"""An open log file, and the position by which the file is found again under another name.

Reading resumes at an offset; a rewritten file is detected. A compressed file is read from an unnamed copy.
"""

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from monitor.sources.base import MOST_LINES, Cursor, Json
from monitor.sources.lines import LineBuffer, Region

HEAD, TAIL = 256, 64
"""Bytes in the fingerprint: the start of the file, and those read last."""

_ROTATED = re.compile(r"[.-](?:old|\d[\dTZ:._-]{0,40})")
"""Suffixes of rotated files: `.1`, `-20260801`, `.2026-08-01_12-00`, `.old`; compressed ones have another after it."""

_PACKED: Mapping[str, Callable[[IO[bytes]], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_LARGEST = 4 << 30  # bytes of a compressed file's content: its copy takes as much room
_WHOLE_SECOND = 1_000_000_000  # nanoseconds that a compressed file's time may lack


@dataclass(frozen=True, slots=True)
class FilePosition:
    """A position in a file.

    `offset` is behind the last whole line handled. The fingerprint `print` covers the file's first `head` bytes and
    the last TAIL bytes before the offset. `mtime_ns` is the file's at the time of reading. Inode 0 means that there was
    no file yet.
    """

    device: int
    inode: int
    offset: int
    mtime_ns: int
    head: int
    print: str

    @property
    def tail(self) -> int:
        """Return the number of bytes before the offset in the fingerprint."""
        return min(self.offset, TAIL)

    def to_cursor(self) -> dict[str, Json]:
        """Return the cursor to store."""
        return {"kind": "file", **asdict(self)}

    @staticmethod
    def from_cursor(cursor: Cursor | None) -> "FilePosition | None":
        """Return the position of a cursor, None if `to_cursor` cannot have made it."""
        if cursor is None or cursor.get("kind") != "file":
            return None
        numbers = [cursor.get(key) for key in ("device", "inode", "offset", "mtime_ns", "head")]
        fingerprint = cursor.get("print")
        whole = [n for n in numbers if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
        if len(whole) != len(numbers) or not isinstance(fingerprint, str):
            return None
        device, inode, offset, mtime_ns, head = whole
        if head != min(offset, HEAD):
            return None
        return FilePosition(device, inode, offset, mtime_ns, head, fingerprint)


def fingerprint(head: bytes, tail: bytes) -> str:
    """Return the fingerprint of a file's first bytes and of those before the offset."""
    return blake2b(head + b"|" + tail, digest_size=8).hexdigest()


def before_creation(now: float) -> FilePosition:
    """Return the position of a log that does not exist at `now`: its lines will be new, rotated files old."""
    return FilePosition(0, 0, 0, int(now * 1e9), 0, fingerprint(b"", b""))


@dataclass(frozen=True, slots=True)
class LogFileCandidate:
    """A file that may hold unread lines; `matches` if the position lies in it."""

    path: Path
    inode: int
    mtime_ns: int
    matches: bool


def is_rotated_name(name: str, sibling: str, suffix: str = "") -> bool:
    """Return True if `sibling` is a rotated file of `name`, with the suffix of its compression."""
    plain = sibling.removesuffix(suffix)
    return (
        sibling.startswith(name)
        and sibling.endswith(suffix)
        and _ROTATED.fullmatch(plain, len(name)) is not None
    )


def unread(
    position: FilePosition, current: LogFileCandidate | None, siblings: Sequence[LogFileCandidate]
) -> list[tuple[Path, int]]:
    """Return the files to read from the position on, as (file, offset): oldest first, the log itself last.

    If the log still holds the position, only the log is read. Otherwise it was rotated, truncated or replaced. The
    rotated file with the position, known by its fingerprint, is read to its end. Rotated files written to since follow,
    then the log from its start. At offset 0 there is no fingerprint, and a file that was copied and truncated keeps its
    inode. Rotated files written to since are therefore read first there too.
    """
    if current is not None and current.matches and position.offset:
        return [(current.path, position.offset)]
    holders = sorted((s for s in siblings if s.matches), key=lambda s: s.inode != position.inode)
    origin = holders[0] if holders else None
    later = [s for s in siblings if s is not origin and s.mtime_ns > position.mtime_ns]
    plan = [(origin.path, position.offset)] if origin else []
    plan += [(s.path, 0) for s in sorted(later, key=lambda s: s.mtime_ns)]
    return plan + ([(current.path, 0)] if current else [])


CHUNK = 256 * 1024
_SEARCH = 64 * 1024  # bytes searched backwards for the start of an unfinished last line


class RewrittenError(Exception):
    """The file was truncated or rewritten: it no longer holds the bytes that were read last."""


class LogFile:
    """A regular file, read line by line from `offset` on. Raises OSError.

    `position` is the offset up to which it was read, the unfinished last line included.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._descriptor = open_rotated(path)
        self._lines = LineBuffer()
        self.position = offset
        self._offset = offset
        self._head = os.pread(self._descriptor, min(offset, HEAD), 0)
        self._tail = self._recent = _before(self._descriptor, offset)

    @classmethod
    def at_end(cls, path: Path) -> "LogFile":
        """Open a file at the end of its last whole line."""
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
        """Return device and inode, which identify the file."""
        facts = os.fstat(self._descriptor)
        return facts.st_dev, facts.st_ino

    @property
    def handled(self) -> FilePosition:
        """Return the position behind the last line that was returned."""
        facts = os.fstat(self._descriptor)
        head = self._head[: self._offset]
        return FilePosition(
            facts.st_dev,
            facts.st_ino,
            self._offset,
            facts.st_mtime_ns,
            len(head),
            fingerprint(head, self._tail),
        )

    def read(self) -> tuple[int, Region | None]:
        """Read on; return the number of bytes (0 at the end of the file) and the lines that they complete.

        Raises RewrittenError if the file no longer holds the bytes read before.
        """
        known = len(self._recent)
        data = os.pread(self._descriptor, known + CHUNK, self.position - known)
        if data[:known] != self._recent:
            raise RewrittenError
        data = _at_most(MOST_LINES, data, known)
        return len(data) - known, self._take(data, known)

    def begins_as(self, other: "LogFile") -> bool:
        """Return True if both files have bytes, and the same ones at the start."""
        mine, theirs = (os.pread(log._descriptor, HEAD, 0) for log in (self, other))  # noqa: SLF001  # its own kind
        size = min(len(mine), len(theirs))
        return size > 0 and mine[:size] == theirs[:size]

    def finish(self) -> Region | None:
        """Return the unfinished last line; to be called when nothing can follow it."""
        region = self._lines.finish()
        if region is not None:
            self._offset, self._tail = self.position, self._recent
        return region

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _take(self, data: bytes, known: int) -> Region | None:
        if self.position < HEAD:
            self._head += data[known : known + HEAD - self.position]
        region = self._lines.feed(data[known:])
        if region is not None:
            end = data.rfind(b"\n") + 1
            self._offset += region.size
            self._tail = data[max(0, end - TAIL) : end]
        self.position += len(data) - known
        self._recent = data[-TAIL:]
        return region


def _at_most(lines: int, data: bytes, start: int) -> bytes:
    """Return the data up to the end of this many lines after `start`; the rest is read again later."""
    if data.count(b"\n", start) <= lines:
        return data
    for _ in range(lines):
        start = data.index(b"\n", start) + 1
    return data[:start]


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor; raise OSError for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.ENOTSUP
    raise OSError(code, os.strerror(code), str(path))


def open_rotated(path: Path) -> int:
    """Open a rotated file as `open_regular` does; a compressed one as an unnamed copy of its content."""
    descriptor = open_regular(path)
    unpack = _PACKED.get(path.suffix)
    if unpack is None:
        return descriptor
    try:
        with os.fdopen(descriptor, "rb") as packed, tempfile.TemporaryFile() as copy:
            written = os.fstat(descriptor).st_mtime_ns
            for piece in iter(partial(unpack(packed).read, CHUNK), b""):
                copy.write(piece)
                if copy.tell() > _LARGEST:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
            copy.flush()
            os.utime(copy.fileno(), ns=(written, written))
            return os.dup(copy.fileno())
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise OSError(errno.EIO, f"cannot be decompressed: {error}", str(path)) from error


def unread_files(position: FilePosition, path: Path) -> list[tuple[Path, int]]:
    """Return the files to read from the position on, by the folder's present content; see `unread`.

    Raises OSError if there is no file at all, or the log cannot be read.
    """
    try:
        current = _candidate(path, position)
    except FileNotFoundError:
        files = unread(position, None, _siblings(path, position))
        if not files:
            raise
        return files
    found = current.matches and position.offset  # without a fingerprint only the inode matches
    return unread(position, current, () if found else _siblings(path, position))


def rotated_inodes(path: Path) -> dict[int, Path]:
    """Return the log's rotated files by inode, those written to last at the end."""
    found = []
    for sibling in _rotated(path):
        with contextlib.suppress(OSError):  # deleted meanwhile
            facts = sibling.stat()
            found.append((facts.st_mtime_ns, facts.st_ino, sibling))
    return {inode: sibling for _, inode, sibling in sorted(found)}


def _rotated(path: Path, suffix: str = "") -> list[Path]:
    return [other for other in path.parent.iterdir() if is_rotated_name(path.name, other.name, suffix)]


def _siblings(path: Path, position: FilePosition) -> list[LogFileCandidate]:
    """Return the rotated files, compressed ones only if the position is in one: their times alone prove nothing."""
    if not position.inode:
        return []
    plain = _candidates(_rotated(path), position)
    if not position.offset or any(candidate.matches for candidate in plain):
        return plain
    packed = _candidates(_packed(path, position), position)
    return plain + (packed if any(candidate.matches for candidate in packed) else [])


def _packed(path: Path, position: FilePosition) -> list[Path]:
    """Return the compressed rotated files that were written to since, without those that are still there plain."""
    found = []
    for file in (file for suffix in _PACKED for file in _rotated(path, suffix)):
        with contextlib.suppress(OSError):
            since = file.stat().st_mtime_ns > position.mtime_ns - _WHOLE_SECOND
            found += [file] if since and not file.with_suffix("").exists() else []
    return found


def _candidates(paths: Sequence[Path], position: FilePosition) -> list[LogFileCandidate]:
    found = []
    for path in paths:
        with contextlib.suppress(OSError):  # deleted meanwhile, no regular file, or not readable
            found.append(_candidate(path, position))
    return found


def _candidate(path: Path, position: FilePosition) -> LogFileCandidate:
    descriptor = open_rotated(path)
    try:
        facts = os.fstat(descriptor)
        return LogFileCandidate(path, facts.st_ino, facts.st_mtime_ns, _holds(descriptor, facts, position))
    finally:
        os.close(descriptor)


def _holds(descriptor: int, facts: os.stat_result, position: FilePosition) -> bool:
    """Return True if the position lies in this file; at offset 0 only the inode can show it."""
    if not position.offset:
        return facts.st_ino == position.inode
    if facts.st_size < position.offset:
        return False
    head = os.pread(descriptor, position.head, 0)
    return fingerprint(head, _before(descriptor, position.offset)) == position.print


def _before(descriptor: int, offset: int) -> bytes:
    size = min(offset, TAIL)
    return os.pread(descriptor, size, offset - size)
