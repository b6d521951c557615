"""Parser of `journalctl --output=json`: entries in, lines and cursors out. Pure.

An entry is a line of JSON. Its message is text, a list of bytes for unprintable text, or null for a message that is too
large. journald cuts a program's lines at 48 KiB into entries marked with `_LINE_BREAK`.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import accumulate

from fleet.runtime.untrusted import parse_json, whole_number
from monitor.detection.line_parser import journald_message
from monitor.sources.base import Cursor, Json, Keep, LogLine
from monitor.sources.lines import MAX_LINE, LineBuffer, clip

FIELDS = "MESSAGE,_LINE_BREAK,_STREAM_ID"
"""The fields to read, beside the cursor and the time that every entry has."""

MAX_ENTRY = 4 * 1024 * 1024
"""Larger entries are only counted; no program's output makes one."""

PATIENCE = 64
"""Entries for which a cut line waits for its next part; a program may have died before it."""

MICROSECOND = 1e-6

_CURSOR = re.compile(r"[0-9a-zA-Z=;_-]{1,400}")


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """A position in a unit's journal.

    `cursor` is journald's own, of the last entry up to which all entries are handled. `done` more lines after it are
    handled too. `time` is that entry's, in microseconds; without a cursor, reading begins there.
    """

    cursor: str = ""
    time: int = 0
    done: int = 0

    def to_cursor(self) -> dict[str, Json]:
        """Return the cursor to store."""
        return {"kind": "journal", **asdict(self)}

    @staticmethod
    def from_cursor(cursor: Cursor | None) -> "JournalPosition | None":
        """Return the position of a cursor, None if `to_cursor` cannot have made it."""
        if cursor is None or cursor.get("kind") != "journal":
            return None
        position, time, done = cursor.get("cursor"), cursor.get("time"), cursor.get("done")
        if not (isinstance(position, str) and isinstance(time, int) and isinstance(done, int)):
            return None
        if position and not _CURSOR.fullmatch(position):
            return None
        return JournalPosition(position, max(0, time), max(0, done))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `message` is None if it is missing or unreadable. `cut`: the line continues in another entry."""

    cursor: str
    time: int
    message: bytes | None
    stream: str = ""
    cut: bool = False


def parse_entry(row: bytes) -> Entry | None:
    """Return the entry in a line of journalctl, None if it holds none."""
    try:
        facts = parse_json(row)
        cursor, time = str(facts["__CURSOR"]), whole_number(facts["__REALTIME_TIMESTAMP"])
    except (ValueError, KeyError, TypeError):
        return None
    if time is None:
        return None
    return Entry(
        cursor,
        time,
        journald_message(facts.get("MESSAGE")),
        str(facts.get("_STREAM_ID", "")),
        facts.get("_LINE_BREAK") == "line-max",
    )


@dataclass(slots=True)
class _Open:
    """An unfinished line; `number` is that of its first entry."""

    text: bytes
    cut: int
    number: int


@dataclass(frozen=True, slots=True)
class _Found:
    text: bytes
    cut: int
    time: float
    live: bool


class EntryReader:
    """Turns one journalctl's output into lines; the output begins with the entry at `position` if that still exists.

    `last` is the cursor of the last entry read. `position` is the position to store once the lines are handled. Lines
    after the entry `past` are live; None: all are.
    """

    def __init__(self, position: JournalPosition, keep: Keep, *, past: str | None) -> None:
        self.position = position
        self.last = position.cursor
        self.live = past is None or past == position.cursor
        self._past = past
        self._keep = keep
        self._rows = LineBuffer(MAX_ENTRY)
        self._number = 0
        self._skip = position.done
        self._done = 0
        self._open: dict[str, _Open] = {}

    def feed(self, data: bytes) -> list[LogLine]:
        """Return the kept lines that the next bytes complete."""
        region = self._rows.feed(data)
        found: list[_Found] = []
        for row in region.data.split(b"\n")[:-1] if region else ():
            entry = parse_entry(row)
            if entry is not None:
                found += self._take(entry)
        return self._kept(found)

    def _take(self, entry: Entry) -> Iterator[_Found]:
        self._number += 1
        self.last = entry.cursor
        if self._number == 1 and self.position.cursor:
            if entry.cursor == self.position.cursor:
                return
            self._skip = 0  # the journal has dropped that entry with the handled lines after it
        for text, cut in self._lines(entry):
            self._done += 1
            if self._skip:
                self._skip -= 1
            else:
                yield _Found(*clip(text, cut), entry.time * MICROSECOND, self.live)
        if self._open:
            self.position = replace(self.position, done=max(self.position.done, self._done))
        else:
            self.position, self._done, self._skip = JournalPosition(entry.cursor, entry.time), 0, 0
        self.live = self.live or entry.cursor == self._past

    def _lines(self, entry: Entry) -> Iterator[tuple[bytes, int]]:
        """Yield the lines that the entry completes, each with the number of bytes cut off."""
        line = self._open.pop(entry.stream, None) or _Open(b"", 0, self._number)
        if entry.message is not None:
            room = MAX_LINE - len(line.text) if entry.cut or line.text else len(entry.message)
            line.cut += max(0, len(entry.message) - room)
            line.text += entry.message[:room]
            if entry.cut:
                self._open[entry.stream] = line
            else:
                *first, last = line.text.removesuffix(b"\n").split(b"\n")
                yield from ((text, 0) for text in first)
                yield last, line.cut
        elif line.text:
            yield line.text, line.cut
        for stream, stale in list(self._open.items()):
            if self._number - stale.number >= PATIENCE:
                del self._open[stream]
                yield stale.text, stale.cut

    def _kept(self, found: list[_Found]) -> list[LogLine]:
        """Return the lines that pass the prefilter, which gets all of them at once."""
        block = b"".join(one.text + b"\n" for one in found)
        starts = list(accumulate((len(one.text) + 1 for one in found), initial=0))
        kept = (found[bisect_right(starts, start) - 1] for start, _ in self._keep(block)) if found else ()
        return [LogLine(one.text.decode("utf-8", "replace"), one.time, one.live, one.cut) for one in kept]
