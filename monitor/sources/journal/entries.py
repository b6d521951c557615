"""journald's entries taken apart: what `journalctl --output=json` writes in, lines and cursors out. Pure.

An entry is a line of JSON. Its message is text, or a list of numbers where it is not printable UTF-8, or null
where it was too large. journald cuts a program's longer lines at 48 KiB into entries that say so.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import accumulate

from fleet.runtime.untrusted import parse_json, whole_number
from monitor.sources.base import Cursor, Json, Keep, LogLine
from monitor.sources.lines import MAX_LINE, LineBuffer, clip, decode

FIELDS = "MESSAGE,_LINE_BREAK,_STREAM_ID"
"""The fields that are looked at, beside the cursor and the time that every entry has."""

MAX_ENTRY = 4 * 1024 * 1024
"""A larger entry is counted and not looked at; no program's output makes one."""

PATIENCE = 64
"""Entries for which a cut line waits for its next part: a program may have died just there."""

MICROSECOND = 1e-6

_CURSOR = re.compile(r"[0-9a-zA-Z=;_-]{1,400}")


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """Where in a unit's journal reading stopped.

    `cursor` is journald's own, of the last entry up to which everything was handled; after it, `done` more
    lines were. Without one, reading begins at `time`, in microseconds, which otherwise is the entry's.
    """

    cursor: str = ""
    time: int = 0
    done: int = 0

    def to_cursor(self) -> dict[str, Json]:
        """Return the place as what is stored."""
        return {"kind": "journal", **asdict(self)}

    @staticmethod
    def from_cursor(cursor: Cursor | None) -> "JournalPosition | None":
        """Return the place that was stored; None for anything that `to_cursor` cannot have made."""
        if cursor is None or cursor.get("kind") != "journal":
            return None
        place, time, done = cursor.get("cursor"), cursor.get("time"), cursor.get("done")
        if not (isinstance(place, str) and isinstance(time, int) and isinstance(done, int)):
            return None
        if place and not _CURSOR.fullmatch(place):
            return None
        return JournalPosition(place, max(0, time), max(0, done))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: `message` is None where it has none that can be read. `cut` tells that its line goes on."""

    cursor: str
    time: int
    message: bytes | None
    stream: str = ""
    cut: bool = False


def parse_entry(row: bytes) -> Entry | None:
    """Return the entry that a line of journalctl's holds, None for what is none."""
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
        _message(facts.get("MESSAGE")),
        str(facts.get("_STREAM_ID", "")),
        facts.get("_LINE_BREAK") == "line-max",
    )


def _message(value: Json) -> bytes | None:
    match value:
        case str():
            return value.encode("utf-8", "surrogatepass")
        case [*parts] if parts and all(isinstance(part, int) for part in parts):
            try:
                return bytes(part for part in parts if isinstance(part, int))
            except ValueError:
                return None
        case [*parts]:  # the field stands there several times
            found = [message for message in map(_message, parts) if message is not None]
            return b"\n".join(found) if found else None
        case _:
            return None


@dataclass(slots=True)
class _Open:
    """A line of which the end has not come; begun at the entry with this number."""

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
    """Makes lines of what one journalctl writes, which begins with the entry at `place` if that still exists.

    `last` is the cursor of the last entry that came, `place` is where
    to go on once the lines are handled. What comes after the entry `past` is live; None: all of it is.
    """

    def __init__(self, place: JournalPosition, keep: Keep, *, past: str | None) -> None:
        self.place = place
        self.last = place.cursor
        self._read = 0
        self.live = past is None or past == place.cursor
        self._past = past
        self._keep = keep
        self._rows = LineBuffer(MAX_ENTRY)
        self._number = 0
        self._skip = place.done
        self._done = 0
        self._open: dict[str, _Open] = {}

    def feed(self, data: bytes) -> list[LogLine]:
        """Return the kept lines that the next bytes finish."""
        region = self._rows.feed(data)
        found: list[_Found] = []
        for row in region.data.split(b"\n")[:-1] if region else ():
            entry = parse_entry(row)
            if entry is not None:
                found += self._take(entry)
        self._read += len(found)
        return self._kept(found)

    def take_count(self) -> int:
        """Return how many new lines came since this was last asked, kept or not."""
        count, self._read = self._read, 0
        return count

    def _take(self, entry: Entry) -> Iterator[_Found]:
        self._number += 1
        self.last = entry.cursor
        if self._number == 1 and self.place.cursor:
            if entry.cursor == self.place.cursor:
                return
            self._skip = 0  # the journal has dropped it, and what came after it is another story
        for text, cut in self._lines(entry):
            self._done += 1
            if self._skip:
                self._skip -= 1
            else:
                yield _Found(*clip(text, cut), entry.time * MICROSECOND, self.live)
        if self._open:
            self.place = replace(self.place, done=max(self.place.done, self._done))
        else:
            self.place, self._done, self._skip = JournalPosition(entry.cursor, entry.time), 0, 0
        self.live = self.live or entry.cursor == self._past

    def _lines(self, entry: Entry) -> Iterator[tuple[bytes, int]]:
        """Yield the lines that the entry ends, each with how many bytes were cut off it."""
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
        """Ask the prefilter about all of them at once."""
        block = b"".join(one.text + b"\n" for one in found)
        starts = list(accumulate((len(one.text) + 1 for one in found), initial=0))
        kept = (found[bisect_right(starts, start) - 1] for start, _ in self._keep(block)) if found else ()
        return [LogLine(decode(one.text), one.time, one.live, one.cut) for one in kept]
