"""Bytes in pieces of any size in, whole lines out; bounded memory whatever the log holds. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from monitor.sources.base import Keep, LogLine

MAX_LINE = 64 * 1024
"""Of a longer line the first this many bytes are kept, and the rest is counted."""


@dataclass(frozen=True, slots=True)
class Region:
    """Whole lines: `data` ends with a newline, took `size` bytes of the log; `cut` went off line one."""

    data: bytes
    size: int
    cut: int = 0

    @property
    def count(self) -> int:
        """Return how many lines these are."""
        return self.data.count(b"\n")


class LineBuffer:
    """Joins pieces to whole lines. What a line is does not depend on how the bytes were split.

    `size` is how many bytes of the log the unfinished last line has taken so far.
    """

    def __init__(self, limit: int = MAX_LINE) -> None:
        self.size = 0
        self._limit = limit
        self._held = b""
        self._cut = 0

    def feed(self, data: bytes) -> Region | None:
        """Take the next bytes; return the lines that they finish, None if they finish none."""
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
        """Give up the unfinished line as it stands, None if there is none: its newline will not come."""
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
            continue  # what let it pass stands in the part that was cut off
        yield LogLine(text=decode(text), live=live, cut=cut)


def clip(line: bytes, cut: int = 0) -> tuple[bytes, int]:
    """Return a line at its bounded length, without its end, and how many bytes went off it in all.

    NULs before it go too: a log that was truncated under a writer who does not append begins with as many
    of them as were truncated.
    """
    whole = line.removesuffix(b"\n").lstrip(b"\0")
    return whole[:MAX_LINE].rstrip(b"\r"), cut + max(0, len(whole) - MAX_LINE)


def passes(line: bytes, keep: Keep) -> bool:
    """Tell whether the prefilter keeps this one line."""
    return any(True for _ in keep(line + b"\n"))


def decode(line: bytes) -> str:
    """Return a line's text; what is no UTF-8 becomes U+FFFD."""
    return line.decode("utf-8", "replace")
