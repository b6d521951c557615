"""The Engine's log stream taken apart: HTTP chunks, frames, pieces of long lines. Pure; bytes in, lines out.

A container without a terminal sends frames, each with a header of stream and length, each a log message; one
with a terminal sends the messages as they are. A message is `STAMP text`. The Engine cuts lines at 16 KiB
into messages, each with a stamp of its own, of which only the last ends with a newline. The last words of a
program that did not end its line have no newline either; they are known by being shorter.
"""

import re
import struct
from typing import Protocol

from monitor.sources.lines import MAX_LINE, LineBuffer, Region

PIECE = 16 * 1024
"""What the Engine cuts long lines into; a message without a newline that is shorter ends its line."""

MAX_FRAME = 16 * 1024 * 1024
_HEADER = struct.Struct(">BxxxL")
_MAX_CHUNK_HEADER = 1024
_CHUNK_LENGTH = re.compile(rb" *([0-9a-fA-F]{1,15}) *(?:;|$)")
_NEWLINE = 10
_STAMP_SIZE = 31
_EMBEDDED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")


class BrokenStreamError(Exception):
    """What came is not what an Engine sends; the stream cannot be read any further."""


class Dechunker:
    """Takes HTTP's chunked transfer coding off; `ended` is set once the last chunk came."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""
        self._missing = 0  # bytes of the chunk under way, with the line end behind it

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
    """Joins the content of a log stream to stamped lines."""

    def feed(self, data: bytes) -> list[Region]:
        """Return the lines that the next bytes finish; raises BrokenStreamError."""

    def finish(self) -> list[Region]:
        """Return what is left unfinished; to be asked for when the stream has ended."""


class Frames:
    """The stream of a container without a terminal."""

    def __init__(self) -> None:
        self._rest = b""
        self._open: dict[int, _LongLine] = {}

    def feed(self, data: bytes) -> list[Region]:
        """Return the lines that the next bytes finish."""
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
        """Return the lines that miss their last pieces."""
        found = [line.region() for line in self._open.values()]
        self._rest = b""
        self._open.clear()
        return found

    def _piece(self, stream: int, message: bytes, out: list[bytes], regions: list[Region]) -> None:
        """Take a message that is, or may be, a part of a line."""
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
    """A line of several pieces, as much of it as is kept."""

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
    """The stream of a container with a terminal."""

    def __init__(self) -> None:
        self._lines = LineBuffer(MAX_LINE + _STAMP_SIZE * -(-MAX_LINE // PIECE))

    def feed(self, data: bytes) -> list[Region]:
        """Return the lines that the next bytes finish."""
        region = self._lines.feed(data)
        return [_uncounted(region)] if region else []

    def finish(self) -> list[Region]:
        """Return the line that was not ended."""
        region = self._lines.finish()
        return [_uncounted(region)] if region else []


def _uncounted(region: Region) -> Region:
    """Leave the stamps between pieces out of the count of what was cut off."""
    stamps = -(-region.cut // (PIECE + _STAMP_SIZE))
    return Region(region.data, region.size, region.cut - stamps * _STAMP_SIZE)


def split_joined(line: bytes) -> list[bytes]:
    """Return the stamped lines in one line of a terminal's stream; there nothing but stamps parts messages.

    A stamp amid the line, not before the line's own, is where the Engine cut a long line, or where a
    program's unended last line meets the next program's first.
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
