"""Which lines of a stamped log were handled, so that reading it again neither repeats nor loses one. Pure.

The Engine can be asked for lines from a stamp on, but stamps are neither unique nor strictly in order, and
its clock may step. So a log is read again from a little before the last line, and what was handled is known
by stamp, text and how often. Only lines that passed the prefilter are written down: the others do no harm.
"""

import re
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias

from monitor.sources.base import Cursor, Json, Keep, LogLine
from monitor.sources.docker.frames import Frames, Messages, Terminal, split_joined
from monitor.sources.lines import Region, clip, decode, passes

SECOND = 1_000_000_000

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def parse_stamp(stamp: bytes) -> int | None:
    """Return an RFC 3339 stamp as Unix nanoseconds, None for anything else."""
    match = _STAMP.fullmatch(stamp)
    if match is None:
        return None
    seconds = _seconds(match[1] + match[3].replace(b"Z", b"+00:00"))
    return None if seconds is None else seconds * SECOND + int((match[2] or b"0").ljust(9, b"0"))


@lru_cache(maxsize=4)  # a flood has many lines in a second
def _seconds(whole: bytes) -> int | None:
    try:
        return int(datetime.fromisoformat(whole.decode()).timestamp())
    except ValueError:
        return None  # a 31st of February


def to_query(nanoseconds: int) -> str:
    """Return the form that the Engine's `since` and `until` take exactly."""
    return f"{nanoseconds // SECOND}.{nanoseconds % SECOND:09}"


MARGIN = 2 * SECOND
"""How far before the last line a log is read again: two streams' stamps differ by microseconds in order."""

LIMIT = 256
"""Lines written down at most; with more of them behind `since`, it moves up."""

ALWAYS = 32
"""Lines written down at least, however old: after a clock's step back they come again."""

Entry: TypeAlias = tuple[int, int]


def entry(stamp: int, text: bytes) -> Entry:
    """Return what a handled line is known by."""
    return stamp, zlib.crc32(text)


class Ledger:
    """The handled lines of one log.

    `since` is where it is to be read again (inclusive, nanoseconds), `last` the stamp of the last line read.
    """

    def __init__(self, since: int, last: int = 0) -> None:
        self.since = since
        self.last = last
        self._entries: deque[Entry] = deque()
        self._forgotten = 0  # handled lines stamped exactly `since` that are not among the entries

    def record(self, handled: Entry) -> None:
        """Write down a line that passed the prefilter."""
        self.read_to(handled[0])
        self._entries.append(handled)
        if len(self._entries) > LIMIT:
            self._forget(self._entries.popleft()[0])

    def read_to(self, stamp: int) -> None:
        """Note the stamp of the last line read; one far in the past is the clock's step, and is followed."""
        self.last = stamp
        if stamp < self.since:
            self.since, self._forgotten = stamp - MARGIN, 0

    def settle(self, stamp: int) -> None:
        """Promise that nothing before the stamp is to be read again."""
        if stamp <= self.since:
            return
        self.since, self._forgotten = stamp, 0
        while len(self._entries) > ALWAYS and self._entries[0][0] < stamp:
            self._entries.popleft()

    def overlap(self) -> "Overlap":
        """Return what to leave out when the log is read again from `since` on."""
        return Overlap(Counter(self._entries), self.since, self._forgotten)

    def to_cursor(self) -> dict[str, Json]:
        """Return the ledger as what is stored."""
        seen: list[Json] = [[stamp - self.since, digest] for stamp, digest in self._entries]
        return {
            "kind": "docker",
            "since": self.since,
            "last": self.last,
            "forgotten": self._forgotten,
            "seen": seen,
        }

    @classmethod
    def from_cursor(cls, cursor: Cursor | None) -> "Ledger | None":
        """Return the ledger that was stored; None for anything that `to_cursor` cannot have made."""
        if cursor is None or cursor.get("kind") != "docker":
            return None
        since, last, forgotten = cursor.get("since"), cursor.get("last"), cursor.get("forgotten")
        if not (isinstance(since, int) and isinstance(last, int) and isinstance(forgotten, int)):
            return None
        ledger = cls(since, last)
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
        """Move `since` up to a line that is written down no more; those stamped like it are counted."""
        if stamp > self.last:
            return  # from before the clock stepped back: rather once more than lines lost
        if stamp > self.since:
            self.since, self._forgotten = stamp, 0
        if stamp == self.since:
            self._forgotten += 1


class Overlap:
    """What is left of the handled lines while a log is read again; `done` once all of them have come."""

    def __init__(self, entries: Counter[Entry], since: int, forgotten: int) -> None:
        self._entries = entries
        self._since = since
        self._forgotten = forgotten
        self._end = max((stamp for stamp, _ in entries), default=since)

    @property
    def done(self) -> bool:
        """Tell whether every line from here on is new."""
        return not self._entries and not self._forgotten

    def covers(self, line: Entry) -> bool:
        """Tell whether this line was handled before, and cross it off; to be asked once a kept line."""
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
    """Reads one answer of the Engine, which begins where the ledger says.

    `repeats` tells that it may hold lines twice: an Engine that rotates a log goes back in it now and then.
    """

    def __init__(self, ledger: Ledger, keep: Keep, *, terminal: bool, repeats: bool = False) -> None:
        self._count = 0
        self._repeats = repeats
        self._newest = 0
        self._ledger = ledger
        self._keep = keep
        self._terminal = terminal
        self._messages: Messages = Terminal() if terminal else Frames()
        self._overlap = ledger.overlap()
        self._read_before = ledger.last

    def feed(self, content: bytes, *, live: bool) -> list[LogLine]:
        """Return the new lines among those that the next bytes finish; raises BrokenStreamError."""
        return self._lines(self._messages.feed(content), live=live)

    def finish(self, *, live: bool) -> list[LogLine]:
        """Return the new lines that the answer ended in the middle of."""
        return self._lines(self._messages.finish(), live=live)

    def take_count(self) -> int:
        """Return how many lines came since this was last asked, without those that an earlier answer held."""
        count, self._count = self._count, 0
        return count

    def look_again(self) -> None:
        """Leave out what was read meanwhile in another way."""
        self._overlap = self._ledger.overlap()

    def _lines(self, regions: Iterable[Region], *, live: bool) -> list[LogLine]:
        found: list[LogLine] = []
        for region in regions:
            self._count += self._unread(region)
            found += self._kept(region, live=live)
            stamp = last_stamp(region)
            if stamp is not None:
                self._ledger.read_to(stamp)
        return found

    def _unread(self, region: Region) -> int:
        """Return how many of the lines are later than what was read before this answer."""
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
        """Return the line of a message, None if it was handled before."""
        head, _, body = message.partition(b" ")
        stamp = parse_stamp(head)
        text, cut = clip(message if stamp is None else body, cut)
        if cut and not passes(text, self._keep):
            return None
        known = entry(self._ledger.last if stamp is None else stamp, text)
        if self._repeats and known[0] <= self._newest:
            self.look_again()
        self._newest = known[0]
        if not self._overlap.done and self._overlap.covers(known):
            return None
        self._ledger.record(known)
        return LogLine(decode(text), None if stamp is None else stamp / SECOND, live, cut)


def last_stamp(region: Region) -> int | None:
    """Return the stamp of the last line."""
    start = region.data.rfind(b"\n", 0, len(region.data) - 1) + 1
    return parse_stamp(region.data[start : start + 64].partition(b" ")[0])
