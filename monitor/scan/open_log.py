"""Opening a log for `scan`: plain or compressed, a file or standard input, in UTF-8, UTF-16 or UTF-32 (PowerShell).

The result is a stream of UTF-8 bytes. A file without plain lines is refused, with the command that unpacks it.
"""

import bz2
import codecs
import gzip
import io
import lzma
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fleet.runtime.errors import SourceError

_COMPRESSED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
"""First bytes of compressed files, and the functions that decompress them."""
_FOREIGN = {
    b"\x28\xb5\x2f\xfd": ("is compressed by zstd", "zstd -dc {} | python3 fleet_cli.py scan -"),
    b"PK\x03\x04": ("is a zip archive", "unzip -p {} | python3 fleet_cli.py scan -"),
    b"LPKSHHRH": ("is one of journald's own files", "journalctl --file {} | python3 fleet_cli.py scan -"),
}
"""First bytes of files without plain lines, their kind, and the command that reads them."""
_HEAD = 512  # bytes of a file by which its kind and encoding are known


@contextmanager
def open_log(name: str) -> Iterator[tuple[IO[bytes], IO[bytes] | None, int | None]]:
    """Yield the stream to read, the file under it (its position is the progress), and that file's size.

    Raise OSError if it cannot be opened, SourceError if it holds no plain lines.
    """
    if name == "-":
        if sys.stdin is None:
            raise SourceError("standard input is closed", hint="Name a log file, or pipe a log in.")
        with _plain(sys.stdin.buffer) as stream:
            yield stream, None, None
        return
    path = Path(name)
    with path.open("rb") as raw, _plain(raw, name) as stream:
        yield stream, raw, path.stat().st_size


@contextmanager
def _plain(raw: IO[bytes], name: str = "standard input") -> Iterator[IO[bytes]]:
    """Yield the stream decompressed and in UTF-8."""
    buffered, start = _with_start(raw)
    for magic, (what, how) in _FOREIGN.items():
        if start.startswith(magic):
            raise SourceError(f"{name} {what}", hint=how.format(shlex.quote(name)))
    opener = next((opener for magic, opener in _COMPRESSED.items() if start.startswith(magic)), None)
    if opener is None:
        yield _in_utf8(buffered, start)
        return
    with opener(buffered) as unpacked:
        yield _in_utf8(*_with_start(unpacked))


def _with_start(raw: IO[bytes]) -> tuple[IO[bytes], bytes]:
    """Return the stream, buffered, and its first bytes."""
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
    return buffered, buffered.peek(_HEAD)[:_HEAD]


def _in_utf8(stream: IO[bytes], start: bytes) -> IO[bytes]:
    """Return the stream in UTF-8; UTF-16 is known by its byte-order mark, else by NULs in most second bytes."""
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # the first begins with UTF-16's mark
        encoding = "utf-32"
    elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif max(even, odd) > len(start) // 4 and max(even, odd) > 4 * min(even, odd):
        encoding = "utf-16-be" if even > odd else "utf-16-le"
    else:
        return stream
    return codecs.EncodedFile(stream, "utf-8", encoding, errors="replace")
