"""Which lines of a stamped log were handled, so that reading it again neither repeats nor loses one. Pure.

The Engine can be asked for lines from a stamp on, but stamps are neither unique nor strictly in order, and
its clock may step. So a log is read again from a little before the last line, and what was handled is known
by stamp, text and how often. Only lines that passed the prefilter are written down: the others do no harm.
"""

import zlib
from collections import Counter, deque
from typing import TypeAlias

from monitor.sources.base import Cursor, Json
from monitor.sources.docker.stamps import SECOND

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
