"""Deduplication of a stamped log: a second reading neither repeats nor loses a line. Pure.

The Engine returns lines from a stamp on. Stamps are neither unique nor strictly ordered, and the Engine's clock may
step. A log is therefore read again from a little before the last line. A ledger records the handled lines by stamp,
text and number. The ledger records only lines that passed the prefilter; a repetition of the others does no harm.
"""

import re
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias

from monitor.sources.base import Cursor, Json, Keep, LogLine
from monitor.sources.docker.frames import Frames, Messages, Terminal, split_joined
from monitor.sources.lines import Region, clip, passes

SECOND = 1_000_000_000

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def parse_stamp(stamp: bytes) -> int | None:
    """Return an RFC 3339 stamp as Unix nanoseconds, None for anything else."""
    match = _STAMP.fullmatch(stamp)
    if match is None:
        return None
    seconds = _seconds(match[1] + match[3].replace(b"Z", b"+00:00"))
    return None if seconds is None else seconds * SECOND + int((match[2] or b"0").ljust(9, b"0"))


@lru_cache(maxsize=4)  # a flood has many lines a second
def _seconds(whole: bytes) -> int | None:
    try:
        return int(datetime.fromisoformat(whole.decode()).timestamp())
    except ValueError:
        return None  # such as a 31st of February


STEP = 1000
"""docker-py passes times as floats: microseconds are exact, nanoseconds are not."""


def earliest(since: int) -> int:
    """Return the stamp that an answer from `since` on begins at, less than a microsecond earlier."""
    return since - since % STEP


MARGIN = 2 * SECOND
"""The log is read again from this long before its last line. Stamps of two streams are out of order by microseconds."""

LIMIT = 256
"""Most lines in the ledger; beyond that `since` moves up."""

ALWAYS = 32
"""Fewest lines kept in the ledger, of any age: after a clock's step back they come again."""

Entry: TypeAlias = tuple[int, int]


def entry(stamp: int, text: bytes) -> Entry:
    """Return the ledger's entry of a line."""
    return stamp, zlib.crc32(text)


class Ledger:
    """The handled lines of one log.

    `since` is the stamp from which to read again (inclusive, nanoseconds), `last` the stamp of the last line read.
    After a clock's step back `peak` is the last stamp before the step; 0 once that time has come again.
    """

    def __init__(self, since: int, last: int = 0, peak: int = 0) -> None:
        self.since = since
        self.last = last
        self.peak = peak
        self._entries: deque[Entry] = deque()
        self._forgotten = 0  # handled lines stamped exactly `since` without an entry

    def record(self, handled: Entry) -> None:
        """Record a line that passed the prefilter."""
        self.read_to(handled[0])
        self._entries.append(handled)
        if len(self._entries) > LIMIT:
            self._forget(self._entries.popleft()[0])

    def read_to(self, stamp: int) -> None:
        """Note the stamp of the last line read; after a clock's step back `since` follows it."""
        if stamp < self.since:
            self.since, self._forgotten = stamp - MARGIN, 0
            self.peak = max(self.peak, self.last)
        elif stamp >= self.peak:
            self.peak = 0
        self.last = stamp

    def settle(self, stamp: int) -> None:
        """Note that nothing before the stamp must be read again."""
        if stamp <= self.since:
            return
        self.since, self._forgotten = stamp, 0
        while len(self._entries) > ALWAYS and self._entries[0][0] < stamp:
            self._entries.popleft()

    def overlap(self) -> "Overlap":
        """Return the lines to skip when the log is read again from `since`."""
        return Overlap(Counter(self._entries), self.since, self._forgotten)

    def to_cursor(self) -> dict[str, Json]:
        """Return the cursor to store."""
        seen: list[Json] = [[stamp - self.since, digest] for stamp, digest in self._entries]
        return {
            "kind": "docker",
            "since": self.since,
            "last": self.last,
            "forgotten": self._forgotten,
            "seen": seen,
            **({"peak": self.peak} if self.peak else {}),
        }

    @classmethod
    def from_cursor(cls, cursor: Cursor | None) -> "Ledger | None":
        """Return the ledger of a cursor, None if `to_cursor` cannot have made it."""
        if cursor is None or cursor.get("kind") != "docker":
            return None
        since, last, forgotten = cursor.get("since"), cursor.get("last"), cursor.get("forgotten")
        if not (isinstance(since, int) and isinstance(last, int) and isinstance(forgotten, int)):
            return None
        peak = cursor.get("peak")
        ledger = cls(since, last, peak if isinstance(peak, int) else 0)
        ledger._forgotten = forgotten
        seen = cursor.get("seen")
        for pair in seen if isinstance(seen, list) else []:
            match pair:
                case [int(delta), int(digest)]:
                    ledger._entries.append((since + delta, digest))
                case _:
                    return None
        return ledger

    def _forget(self, stamp: int) -> None:
        """Move `since` up to a line whose entry is dropped; lines with the same stamp are counted."""
        if stamp > self.last:
            return  # from before a clock's step back: a repeated line is better than a lost one
        if stamp > self.since:
            self.since, self._forgotten = stamp, 0
        if stamp == self.since:
            self._forgotten += 1


class Overlap:
    """The handled lines still expected while a log is read again; `done` once all have come."""

    def __init__(self, entries: Counter[Entry], since: int, forgotten: int) -> None:
        self._entries = entries
        self._since = since
        self._forgotten = forgotten
        self._end = max((stamp for stamp, _ in entries), default=since)

    @property
    def done(self) -> bool:
        """Return True if every line from here on is new."""
        return not self._entries and not self._forgotten

    def covers(self, line: Entry) -> bool:
        """Return True if this line was handled before, and remove it; to be called once for each kept line."""
        stamp = line[0]
        if stamp > self._end + MARGIN:
            self._entries.clear()
            self._forgotten = 0
            return False
        if stamp == self._since and self._forgotten:
            self._forgotten -= 1
            return True
        if not self._entries[line]:
            return False
        self._entries[line] -= 1
        if not self._entries[line]:
            del self._entries[line]
        return True


class StampedReader:
    """Reads one answer of the Engine, which begins at `earliest(since)`.

    `last` is the stamp of the last line read, 0 at first.
    `repeats`: the answer may hold lines twice, because an Engine that rotates a log sometimes goes back in it.
    `skip_to`: the answer begins earlier; lines before the first one with exactly this stamp are skipped.
    """

    def __init__(
        self,
        ledger: Ledger,
        keep: Keep,
        since: int,
        *,
        terminal: bool,
        repeats: bool = False,
        skip_to: int = 0,
    ) -> None:
        self.last = 0
        self._count = 0
        self._since = since
        self._repeats = repeats
        self._newest = 0
        self._ledger = ledger
        self._keep = keep
        self._terminal = terminal
        self._messages: Messages = Terminal() if terminal else Frames()
        self._overlap = ledger.overlap()
        self._skip_to = skip_to
        self._read_before = 0 if skip_to else max(ledger.last, since - 1)

    def feed(self, items: Sequence[bytes], *, live: bool) -> list[LogLine]:
        """Return the new lines among those that the next items complete; raises BrokenStreamError."""
        return self._lines(self._messages.feed(items), live=live)

    def finish(self, *, live: bool) -> list[LogLine]:
        """Return the new lines that are unfinished at the end of the answer."""
        return self._lines(self._messages.finish(), live=live)

    def take_count(self) -> int:
        """Return the number of lines since the last call, without those of an earlier answer."""
        count, self._count = self._count, 0
        return count

    def _lines(self, regions: Iterable[Region], *, live: bool) -> list[LogLine]:
        found: list[LogLine] = []
        for whole in regions:
            region = self._skipped(whole) if self._skip_to else whole
            if region is None:
                continue
            self._count += self._unread(region)
            found += self._kept(region, live=live)
            stamp = last_stamp(region)
            if stamp is not None and not self._too_early(stamp):
                self._ledger.read_to(stamp)
                self.last = stamp
        return found

    def _too_early(self, stamp: int) -> bool:
        """Return True for a line that came only because the answer began at whole microseconds."""
        return earliest(self._since) <= stamp < self._since

    def _skipped(self, region: Region) -> Region | None:
        """Return the region without the lines to skip, None if none is left."""
        start = 0
        for line in region.data.splitlines(keepends=True):
            stamp = parse_stamp(line.partition(b" ")[0])
            if stamp == self._skip_to:
                self._skip_to = 0
                return Region(region.data[start:], region.size, 0 if start else region.cut)
            start += len(line)
        return None

    def _unread(self, region: Region) -> int:
        """Return the number of lines later than those read before this answer."""
        if not self._read_before:
            return region.count
        stamps = [parse_stamp(line.partition(b" ")[0]) for line in region.data.splitlines()]
        fresh = sum(stamp is None or stamp > self._read_before for stamp in stamps)
        if fresh == len(stamps):
            self._read_before = 0
        return fresh

    def _kept(self, region: Region, *, live: bool) -> Iterator[LogLine]:
        for start, end in self._keep(region.data):
            cut = region.cut if start == 0 else 0
            for message in self._messages_in(region.data[start:end]):
                line = self._new(message, cut, live=live)
                if line is not None:
                    yield line

    def _messages_in(self, line: bytes) -> list[bytes]:
        if not self._terminal:
            return [line]
        parts = split_joined(line)
        return parts if len(parts) == 1 else [part for part in parts if passes(part, self._keep)]

    def _new(self, message: bytes, cut: int, *, live: bool) -> LogLine | None:
        """Return the line of a message, None if it was handled before or is not kept."""
        head, _, body = message.partition(b" ")
        stamp = parse_stamp(head)
        if stamp is not None and self._too_early(stamp):
            return None
        text, cut = clip(message if stamp is None else body, cut)
        if cut and not passes(text, self._keep):
            return None
        known = entry(self._ledger.last if stamp is None else stamp, text)
        if self._repeats and known[0] <= self._newest:
            self._overlap = self._ledger.overlap()
        self._newest = known[0]
        if not self._overlap.done and self._overlap.covers(known):
            return None
        self._ledger.record(known)
        time = None if stamp is None else stamp / SECOND
        return LogLine(text.decode("utf-8", "replace"), time, live, cut)


def last_stamp(region: Region) -> int | None:
    """Return the stamp of the last line."""
    start = region.data.rfind(b"\n", 0, len(region.data) - 1) + 1
    return parse_stamp(region.data[start : start + 64].partition(b" ")[0])
