"""A position in a file, with a fingerprint by which the file is found again under another name. Pure."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from monitor.sources.base import Cursor, Json

HEAD, TAIL = 256, 64
"""Bytes in the fingerprint: the start of the file, and those read last."""

_ROTATED = re.compile(r"[.-](?:old|\d[\dTZ:._-]{0,40})")
"""Suffixes of rotated files: `.1`, `-20260801`, `.2026-08-01_12-00`, `.old`; no compressed ones."""


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
    """Return the position of a log that does not exist at `now`: all of it will be new, rotated files are old."""
    return FilePosition(0, 0, 0, int(now * 1e9), 0, fingerprint(b"", b""))


@dataclass(frozen=True, slots=True)
class LogFileCandidate:
    """A file that may hold unread lines; `matches` if the position lies in it."""

    path: Path
    inode: int
    mtime_ns: int
    matches: bool


def is_rotated_name(name: str, sibling: str) -> bool:
    """Return True if `sibling` is an uncompressed rotated file of `name`."""
    return sibling.startswith(name) and _ROTATED.fullmatch(sibling, len(name)) is not None


def unread(
    position: FilePosition, current: LogFileCandidate | None, siblings: Sequence[LogFileCandidate]
) -> list[tuple[Path, int]]:
    """Return the files to read from the position on, as (file, offset): oldest first, the log itself last.

    If the log still holds the position, only the log is read. Otherwise it was rotated, truncated or replaced. The
    rotated file with the position, known by its fingerprint, is read to its end, then those written to since, then
    the log from its start. At offset 0 there is no fingerprint: a file that was copied and truncated keeps its inode,
    so that rotated files written to since are read first there too.
    """
    if current is not None and current.matches and position.offset:
        return [(current.path, position.offset)]
    holders = sorted((s for s in siblings if s.matches), key=lambda s: s.inode != position.inode)
    origin = holders[0] if holders else None
    later = [s for s in siblings if s is not origin and s.mtime_ns > position.mtime_ns]
    plan = [(origin.path, position.offset)] if origin else []
    plan += [(s.path, 0) for s in sorted(later, key=lambda s: s.mtime_ns)]
    return plan + ([(current.path, 0)] if current else [])
