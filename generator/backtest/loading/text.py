"""Text files: first lines, opening, and refusal of other formats and encodings, with the remedy."""

import codecs
import gzip
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from generator.backtest.errors import PanelError
from generator.backtest.loading.columns import OTHER_SCRIPTS

_SAVE = "Save it as CSV UTF-8, or as Parquet."
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", _SAVE),
    (b"\x89HDF", "an HDF5 file", _SAVE),
    (b"ARROW1", "a Feather file", _SAVE),
    (b"\x93NUMPY", "a numpy array", _SAVE),
    (b"\x80\x04\x95", "a pickle", _SAVE),
    (b"\x80\x05\x95", "a pickle", _SAVE),
    (b"SQLite format", "an SQLite database", _SAVE),
    (b"BZh", "compressed by bzip2", "Unpack it."),
    (b"\xfd7zXZ", "compressed by xz", "Unpack it."),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "Unpack it."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it."),
    (b"{", "JSON", _SAVE),
    (b"[", "JSON", _SAVE),
    (b"<!doctype", "a web page", "Download the file itself."),
    (b"<html", "a web page", "Download the file itself."),
    (b"<?xml", "XML", _SAVE),
)
_ENCODINGS = (("gb18030", "GBK"), ("big5", "BIG5"), ("shift_jis", "SHIFT_JIS"), ("euc_kr", "EUC-KR"))
_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 8 << 20
_HEAD_LINES = 50


def first_lines(path: Path) -> list[str]:
    """Return the first lines of a text file; raise PanelError for another format."""
    begin = next(_blocks(path, _HEAD_BYTES), b"")
    _refuse_other_formats(path, begin)
    text = begin.decode("utf-8-sig", "replace")
    return [line.removesuffix("\r") for line in text.split("\n", _HEAD_LINES)[:_HEAD_LINES]]


def require_text(path: Path) -> None:
    """Raise PanelError, with the row and the likely encoding, unless the whole file is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    rows = 1
    for block in _blocks(path, _BLOCK_BYTES):
        if rows == 1:
            _refuse_other_formats(path, block)
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, rows + error.object[: error.start].count(b"\n"), error.object) from error
        if b"\x00" in block:
            raise _not_utf8(path, rows + block[: block.index(b"\x00")].count(b"\n"), block)
        rows += block.count(b"\n")


def open_text(path: Path) -> TextIO:
    """Return an open text file; gzip is unpacked."""
    if _is_gzip(path):
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as raw:
        return raw.read(2) == b"\x1f\x8b"


def _blocks(path: Path, size: int) -> Iterator[bytes]:
    """Yield a file's bytes in blocks; gzip is unpacked."""
    with gzip.open(path, "rb") if _is_gzip(path) else path.open("rb") as stream:
        try:
            while block := stream.read(size):
                yield block
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise PanelError(f"{path}: the gzip file is damaged: {error}", hint="Write it again.") from error


def _refuse_other_formats(path: Path, begin: bytes) -> None:
    start = begin[:64].lstrip().lower()
    for signature, kind, hint in _SIGNATURES:
        if begin.startswith(signature) or start.startswith(signature):
            raise PanelError(f"{path}: this is {kind}, not CSV", hint=hint)
    if begin.startswith(b"PK\x03\x04"):
        workbook = b"xl/" in begin or b"[Content_Types].xml" in begin
        kind, hint = ("an Excel workbook", _SAVE) if workbook else ("a zip archive", "Unpack it.")
        raise PanelError(f"{path}: this is {kind}, not CSV", hint=hint)


def _not_utf8(path: Path, row: int, sample: bytes) -> PanelError:
    name = _encoding(sample)
    return PanelError(
        f"{path}: row {row} is not UTF-8 text (it may be {name})",
        hint=f"Save it as CSV UTF-8 (iconv -f {name} -t UTF-8), or as Parquet.",
    )


def _encoding(sample: bytes) -> str:
    """Return the likely encoding: one in which a known column name appears, else a guess by the bytes."""
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in sample:
        return "UTF-16"
    for codec, name in _ENCODINGS:
        text = sample.decode(codec, "ignore")
        if any(word in text for word in OTHER_SCRIPTS):
            return name
    high = [byte > 0x7F for byte in sample[:_BLOCK_BYTES]]  # noqa: PLR2004 - beyond ASCII
    # GBK letters are two bytes beyond ASCII; in Windows-1252 such bytes are mostly single.
    pairs = sum(a and b for a, b in itertools.pairwise(high))
    return "GBK" if 2 * pairs > sum(high) else "WINDOWS-1252"
