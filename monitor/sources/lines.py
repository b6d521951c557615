"""Joins pieces of bytes to whole lines, in bounded memory. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from monitor.sources.base import Keep, LogLine

MAX_LINE = 64 * 1024
"""Bytes kept of a line; the rest of a longer line is only counted."""


@dataclass(frozen=True, slots=True)
class Region:
    """Whole lines: `data` ends with a newline and took `size` bytes of the log; the first line misses `cut` bytes."""

    data: bytes
    size: int
    cut: int = 0

    @property
    def count(self) -> int:
        """Return the number of lines."""
        return self.data.count(b"\n")


class LineBuffer:
    """Joins pieces to whole lines; the lines do not depend on how the bytes were split.

    `size` counts the bytes of the unfinished last line.
    """

    def __init__(self, limit: int = MAX_LINE) -> None:
        self.size = 0
        self._limit = limit
        self._held = b""
        self._cut = 0

    def feed(self, data: bytes) -> Region | None:
        """Take the next bytes; return the lines that they complete, None if none."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return None
        rest = data.index(b"\n") if self._cut else 0
        region = Region(self._held + data[rest:end], self.size + end, self._cut + rest)
        self._clear()
        self._hold(data[end:])
        return region

    def finish(self) -> Region | None:
        """Return the unfinished line, None if there is none; to be called when its newline cannot come."""
        if not self.size:
            return None
        region = Region(self._held + b"\n", self.size, self._cut)
        self._clear()
        return region

    def _clear(self) -> None:
        self.size, self._held, self._cut = 0, b"", 0

    def _hold(self, data: bytes) -> None:
        self.size += len(data)
        if not self._held:
            data = data.lstrip(b"\0")
        room = self._limit - len(self._held)
        self._held += data[:room]
        self._cut += max(0, len(data) - room)


def kept_lines(region: Region, keep: Keep, *, live: bool) -> Iterator[LogLine]:
    """Yield the region's lines that pass the prefilter."""
    for start, end in keep(region.data):
        text, cut = clip(region.data[start:end], region.cut if start == 0 else 0)
        if cut and not passes(text, keep):
            continue  # only the part that is cut off passed the prefilter
        yield LogLine(text=text.decode("utf-8", "replace"), live=live, cut=cut)


def clip(line: bytes, cut: int = 0) -> tuple[bytes, int]:
    """Return a line cut to MAX_LINE, without its line end, and the number of dropped bytes.

    Leading NULs are dropped too: they fill a log that was truncated while its writer kept its offset.
    """
    whole = line.removesuffix(b"\n").lstrip(b"\0")
    return whole[:MAX_LINE].rstrip(b"\r"), cut + max(0, len(whole) - MAX_LINE)


def passes(line: bytes, keep: Keep) -> bool:
    """Return True if the prefilter keeps this line."""
    return any(True for _ in keep(line + b"\n"))
