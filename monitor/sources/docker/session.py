"""A session: one log stream of one container, read from the ledger's place on and replaced after a time."""

from collections.abc import Sequence

from monitor.sources.base import Keep, LogLine
from monitor.sources.docker.dedup import MARGIN, Ledger, StampedReader
from monitor.sources.docker.engine import Container, DockerEngine

RENEW = 60.0
"""Seconds until a stream is replaced. Another container may have taken the name, or the connection may have died
silently."""

VERIFY = 10.0
"""`RENEW` for a rotating log, while lines come."""

SETTLED = 2.0
"""Seconds of quiet after which the stream of a rotating log is replaced."""


class Session:
    """Reads the log from the ledger's `since` on and updates the ledger.

    An Engine that rotates a log may drop lines from a followed stream. Versions up to 20.10 drop most of a flood. The
    beginning of a new stream, which is the present log, is complete. `since` of a rotating log therefore moves only to
    a place that a later stream has passed. `fresh` is True once a new line has come. `now` is monotonic.
    """

    def __init__(
        self, engine: DockerEngine, name: str, container: Container, ledger: Ledger, *, keep: Keep, now: float
    ) -> None:
        self._ledger = ledger
        self._rotates = container.rotates
        self._running = container.running
        self._read_before = ledger.last
        since, skip_to = _beginning(engine, name, ledger)
        self._reader = StampedReader(
            ledger, keep, since, terminal=container.terminal, repeats=container.rotates, skip_to=skip_to
        )
        self._opened = self._heard = now
        self.fresh = False
        self.stream = engine.log(container, name, since)

    def lines(self, items: Sequence[bytes], now: float, *, live: bool) -> tuple[list[LogLine], bool]:
        """Return the kept lines of the next items, and True if any line is new, kept or not.

        No items are the stream's end. Raises BrokenStreamError.
        """
        found: list[LogLine] = []
        if items:
            found = self._reader.feed(items, live=live)
        elif not self._running:  # the next stream has the whole unfinished line of a cut one
            found = self._reader.finish(live=live)
        new = self._reader.take_count() > 0
        self.fresh = self.fresh or new
        self._heard = now if items else self._heard
        if not self._rotates:
            self._ledger.settle(self._ledger.last - MARGIN)
        elif self._reader.last >= self._read_before:
            self._ledger.settle(self._read_before - MARGIN)
        return found, new

    def left(self, now: float) -> float:
        """Return the seconds until the stream is to be replaced."""
        ends = self._opened + RENEW
        if self._rotates and self.fresh:
            ends = min(self._heard + SETTLED, self._opened + VERIFY)
        return max(0.0, ends - now)


def _beginning(engine: DockerEngine, name: str, ledger: Ledger) -> tuple[int, int]:
    """Return the stamp to read from, and the stamp of the line up to which lines are skipped (0: none).

    If the log's last line is older than the last line read, the Engine's clock was set back meanwhile. New lines are
    then stamped before `since`, and the log is read from its start. After a step back, older lines with later stamps
    stand before the last line read, and are skipped. If that line is gone, a rotation has dropped it with all lines
    before it.
    """
    newest = engine.last_stamp(name)
    stepped = newest is not None and newest < ledger.last - MARGIN
    since = 0 if stepped else ledger.since
    if not stepped and not ledger.peak:
        return since, 0
    return since, ledger.last if engine.has_line(name, ledger.last) else 0
