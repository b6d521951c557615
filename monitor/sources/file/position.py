"""Where in which file reading stopped, such that the file is known again under any name. Pure."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from monitor.sources.base import Cursor, Json

HEAD, TAIL = 256, 64
"""Bytes of the start of a file, and of what was read last, by which it is known again."""

_ROTATED = re.compile(r"[.-](?:old|\d[\dTZ:._-]{0,40})")
"""What rotation puts behind a name: `.1`, `-20260801`, `.2026-08-01_12-00`, `.old`; nothing compressed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file.

    `offset` is behind the last whole line handled; `head` is how many of the file's first bytes the print
    covers beside the last TAIL before the offset; `mtime_ns` is the file's when it was read. An inode of 0 is
    a file that was not there yet.
    """

    device: int
    inode: int
    offset: int
    mtime_ns: int
    head: int
    print: str

    @property
    def tail(self) -> int:
        """Return how many bytes before the offset the print covers."""
        return min(self.offset, TAIL)

    def to_cursor(self) -> dict[str, Json]:
        """Return the mark as what is stored."""
        return {"kind": "file", **asdict(self)}

    @staticmethod
    def from_cursor(cursor: Cursor | None) -> "Mark | None":
        """Return the mark that was stored; None for anything that `to_cursor` cannot have made."""
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
        return Mark(device, inode, offset, mtime_ns, head, fingerprint)


def fingerprint(head: bytes, tail: bytes) -> str:
    """Return the print of a file's first bytes and of those that end at the offset."""
    return blake2b(head + b"|" + tail, digest_size=8).hexdigest()


def nowhere(now: float) -> Mark:
    """Return the mark of a log that is not there at `now`: all that comes is new, what was rotated is not."""
    return Mark(0, 0, 0, int(now * 1e9), 0, fingerprint(b"", b""))


@dataclass(frozen=True, slots=True)
class LogFileCandidate:
    """A file that may hold what has not been read; `matches` tells that the mark's place is in it."""

    path: Path
    inode: int
    mtime_ns: int
    matches: bool


def is_rotated_name(name: str, sibling: str) -> bool:
    """Tell whether `sibling` is what rotation makes of `name`, uncompressed."""
    return sibling.startswith(name) and _ROTATED.fullmatch(sibling, len(name)) is not None


def unread(
    mark: Mark, current: LogFileCandidate | None, siblings: Sequence[LogFileCandidate]
) -> list[tuple[Path, int]]:
    """Return what is to be read from the mark on: (file, offset), oldest first, the log's own name last.

    If the name still leads to the marked place, that is all. Otherwise the file was rotated away, truncated
    or replaced: the rotated file that holds the place is finished (renamed or copied, its print tells), then
    come those that were written to since, and the current one from its start.
    """
    if current is not None and current.matches:
        return [(current.path, mark.offset)]
    holders = sorted((s for s in siblings if s.matches), key=lambda s: s.inode != mark.inode)
    origin = holders[0] if holders else None
    later = [s for s in siblings if s is not origin and s.mtime_ns > mark.mtime_ns]
    plan = [(origin.path, mark.offset)] if origin else []
    plan += [(s.path, 0) for s in sorted(later, key=lambda s: s.mtime_ns)]
    return plan + ([(current.path, 0)] if current else [])
