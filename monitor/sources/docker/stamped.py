"""Stamped lines in, kept and new lines out: prefilter, ledger and overlap put together. Pure.

One is made for each time that the log is asked for.
"""

from collections.abc import Iterable, Iterator

from monitor.sources.base import Keep, LogLine
from monitor.sources.docker.dedup import Ledger, entry
from monitor.sources.docker.frames import Frames, Messages, Terminal, split_joined
from monitor.sources.docker.stamps import SECOND, parse_stamp
from monitor.sources.lines import Region, clip, decode, passes


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
