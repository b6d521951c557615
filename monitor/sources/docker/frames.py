"""Joins the items of docker-py's log stream into stamped lines. Pure.

Without a terminal an item is one message, `STAMP text`; with a terminal the items are bytes in any pieces. The Engine
cuts a long line at 16 KiB into messages with one stamp. Only the last message ends with a newline. A program's
unfinished last line has no newline either, but is shorter than 16 KiB.
"""

import re
from collections.abc import Sequence
from typing import Protocol

from monitor.sources.lines import MAX_LINE, LineBuffer, Region

PIECE = 16 * 1024
"""Bytes of a piece of a long line; a shorter message without a newline is the end of its line."""

_OPEN = 2
"""Long lines that may be unfinished at once: one of each output."""

_STAMP_SIZE = 31
_DATE = re.compile(rb"\d{4}-\d\d-\d\dT")
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")


class BrokenStreamError(Exception):
    """The items are no stamped messages; the stream cannot be read any further."""


class Messages(Protocol):
    """Joins the items of a log stream into stamped lines."""

    def feed(self, items: Sequence[bytes]) -> list[Region]:
        """Return the lines that the next items complete; raises BrokenStreamError."""

    def finish(self) -> list[Region]:
        """Return the unfinished lines; to be called at the end of the stream."""


class Frames:
    """The log stream of a container without a terminal.

    Pieces of two long lines may alternate, one of stdout and one of stderr. docker-py does not name an item's output;
    the pieces of a line have the same stamp.
    """

    def __init__(self) -> None:
        self._open: dict[bytes, _LongLine] = {}
        self._last: list[bytes] = []  # an item without a line end: a cut stream may have shortened it

    def feed(self, items: Sequence[bytes]) -> list[Region]:
        """Return the lines that the next items complete."""
        items = [*self._last, *items]
        self._last = items[-1:] if items and not items[-1].endswith(b"\n") else []
        return self._joined(items[: len(items) - len(self._last)])

    def finish(self) -> list[Region]:
        """Return the lines without a line end or without their last pieces."""
        found = [*self._joined(self._last), *(line.region() for line in self._open.values())]
        self._last, self._open = [], {}
        return found

    def _joined(self, items: Sequence[bytes]) -> list[Region]:
        whole, regions = list[bytes](), list[Region]()
        for item in items:
            if item.endswith(b"\n") and not self._open:
                whole.append(item)
            else:
                self._piece(item, whole, regions)
        return [*regions, *_region(whole)]

    def _piece(self, message: bytes, whole: list[bytes], regions: list[Region]) -> None:
        """Take a message that may be a piece of a line."""
        stamp, _, body = message.partition(b" ")
        if not _DATE.match(stamp):
            raise BrokenStreamError(f"a message without a stamp: {message[:60]!r}")
        line = self._open.pop(stamp, None)
        ended = message.endswith(b"\n") or len(body) < PIECE
        if line is None and ended:
            whole.append(message if message.endswith(b"\n") else message + b"\n")
            return
        line = line or _LongLine(stamp)
        line.add(body.removesuffix(b"\n"))
        done = [line] if ended else []
        if not ended:
            self._open[stamp] = line
            if len(self._open) > _OPEN:
                done = [self._open.pop(next(iter(self._open)))]
        if done:
            regions += [*_region(whole), *(one.region() for one in done)]
            whole.clear()


class _LongLine:
    """A line of several pieces, up to MAX_LINE."""

    def __init__(self, stamp: bytes) -> None:
        self._stamp = stamp
        self._text = b""
        self._cut = 0

    def add(self, body: bytes) -> None:
        room = MAX_LINE - len(self._text)
        self._text += body[:room]
        self._cut += max(0, len(body) - room)

    def region(self) -> Region:
        return Region(self._stamp + b" " + self._text + b"\n", 0, self._cut)


class Terminal:
    """The log stream of a container with a terminal."""

    def __init__(self) -> None:
        self._lines = LineBuffer(MAX_LINE + _STAMP_SIZE * -(-MAX_LINE // PIECE))

    def feed(self, items: Sequence[bytes]) -> list[Region]:
        """Return the lines that the next items complete."""
        region = self._lines.feed(b"".join(items))
        return [_without_stamps_in_cut(region)] if region else []

    def finish(self) -> list[Region]:
        """Return the unfinished line."""
        region = self._lines.finish()
        return [_without_stamps_in_cut(region)] if region else []


def _without_stamps_in_cut(region: Region) -> Region:
    """Return the region with a `cut` that does not count the stamps between pieces."""
    stamps = -(-region.cut // (PIECE + _STAMP_SIZE))
    return Region(region.data, region.size, region.cut - stamps * _STAMP_SIZE)


def split_joined(line: bytes) -> list[bytes]:
    """Return the stamped lines in one line of a terminal's stream, where only stamps separate messages.

    A stamp inside the line, not older than the line's own, is such a separator. There the Engine cut a long line, or a
    program's unfinished last line meets the next program's first line.
    """
    stamp = line[:_STAMP_SIZE]
    edges = [m.start() for m in _STAMP.finditer(line, 1) if m[0] >= stamp]
    if not edges or not _STAMP.fullmatch(stamp):
        return [line]
    found: list[bytes] = []
    full = False
    for start, end in zip([0, *edges], [*edges, len(line)], strict=True):
        if full:
            found[-1] += line[start + _STAMP_SIZE : end]
        else:
            found.append(line[start:end])
        full = end - start - _STAMP_SIZE >= PIECE
    return found


def _region(lines: list[bytes]) -> list[Region]:
    return [Region(b"".join(lines), 0)] if lines else []
