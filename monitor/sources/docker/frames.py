"""Parser of the Engine's log stream: HTTP chunks, frames, and pieces of long lines. Pure.

Without a terminal a container's log comes in frames: a header with stream and length, and one message. With a terminal
the messages come without headers. A message is `STAMP text`. The Engine cuts long lines at 16 KiB into messages with
stamps of their own; only the last one ends with a newline. A program's unfinished last line has no newline either, but
is shorter than 16 KiB.
"""

import re
import struct
from typing import Protocol

from monitor.sources.lines import MAX_LINE, LineBuffer, Region

PIECE = 16 * 1024
"""Bytes of a piece of a long line; a shorter message without a newline is the end of its line."""

MAX_FRAME = 16 * 1024 * 1024
_HEADER = struct.Struct(">BxxxL")
_MAX_CHUNK_HEADER = 1024
_CHUNK_LENGTH = re.compile(rb" *([0-9a-fA-F]{1,15}) *(?:;|$)")
_NEWLINE = 10
_STAMP_SIZE = 31
_EMBEDDED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")


class BrokenStreamError(Exception):
    """The data is no Engine's log stream; it cannot be read any further."""


class Dechunker:
    """Decodes HTTP's chunked transfer coding; `ended` is set after the last chunk."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""
        self._missing = 0  # bytes of the current chunk, with the line end behind it

    def feed(self, data: bytes) -> bytes:
        """Return the content in the next bytes of the body; raises BrokenStreamError."""
        at, out = 0, []
        if self._missing:
            out.append(data[: max(0, self._missing - 2)])
            at = min(self._missing, len(data))
            self._missing -= at
        elif self._rest:
            data, self._rest = self._rest + data, b""
        size = len(data)
        while at < size and not self.ended:
            line = data.find(b"\r\n", at, at + _MAX_CHUNK_HEADER)
            if line < 0:
                self._keep(data[at:])
                break
            length = _chunk_size(data[at:line])
            start = line + 2
            end = start + length
            out.append(data[start:end])
            at = end + 2
            self.ended = not length
        if at > size and not self.ended:
            self._missing = at - size
        return b"".join(out)

    def _keep(self, rest: bytes) -> None:
        if len(rest) >= _MAX_CHUNK_HEADER:
            raise BrokenStreamError("a chunk begins with no length")
        self._rest = rest


def _chunk_size(header: bytes) -> int:
    digits = _CHUNK_LENGTH.match(header)
    if digits is None:
        raise BrokenStreamError(f"no chunk length: {header[:40]!r}")
    return int(digits[1], 16)


class Messages(Protocol):
    """Joins the content of a log stream into stamped lines."""

    def feed(self, data: bytes) -> list[Region]:
        """Return the lines that the next bytes complete; raises BrokenStreamError."""

    def finish(self) -> list[Region]:
        """Return the unfinished lines; to be called at the end of the stream."""


class Frames:
    """The log stream of a container without a terminal."""

    def __init__(self) -> None:
        self._rest = b""
        self._open: dict[int, _LongLine] = {}

    def feed(self, data: bytes) -> list[Region]:
        """Return the lines that the next bytes complete."""
        if self._rest:
            data = self._rest + data
        at, size, out, regions = 0, len(data), list[bytes](), list[Region]()
        unpack = _HEADER.unpack_from
        while at + 8 <= size:
            stream, length = unpack(data, at)
            end = at + 8 + length
            if end > size:
                if length > MAX_FRAME:
                    raise BrokenStreamError(f"a frame of {length} bytes")
                break
            if length and data[end - 1] == _NEWLINE and not self._open:
                out.append(data[at + 8 : end])
            elif length:
                self._piece(stream, data[at + 8 : end], out, regions)
            at = end
        self._rest = data[at:]
        return [*regions, *_region(out)]

    def finish(self) -> list[Region]:
        """Return the lines without their last pieces."""
        found = [line.region() for line in self._open.values()]
        self._rest = b""
        self._open.clear()
        return found

    def _piece(self, stream: int, message: bytes, out: list[bytes], regions: list[Region]) -> None:
        """Take a message that may be a piece of a line."""
        line = self._open.pop(stream, None)
        body = message[message.find(b" ") + 1 :]
        ended = message.endswith(b"\n") or len(body) < PIECE
        if line is None and ended:
            out.append(message if message.endswith(b"\n") else message + b"\n")
            return
        if line is None:
            line = _LongLine(message[: len(message) - len(body)])
        line.add(body.removesuffix(b"\n"))
        if not ended:
            self._open[stream] = line
            return
        regions += [*_region(out), line.region()]
        out.clear()


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
        return Region(self._stamp + self._text + b"\n", 0, self._cut)


class Terminal:
    """The log stream of a container with a terminal."""

    def __init__(self) -> None:
        self._lines = LineBuffer(MAX_LINE + _STAMP_SIZE * -(-MAX_LINE // PIECE))

    def feed(self, data: bytes) -> list[Region]:
        """Return the lines that the next bytes complete."""
        region = self._lines.feed(data)
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

    At a stamp inside the line, not older than the line's own, the Engine cut a long line, or a program's unfinished
    last line meets the next program's first.
    """
    stamp = line[:_STAMP_SIZE]
    edges = [m.start() for m in _EMBEDDED.finditer(line, 1) if m[0] >= stamp]
    if not edges or not _EMBEDDED.fullmatch(stamp):
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
