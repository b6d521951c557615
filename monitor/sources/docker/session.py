"""A session: one log stream of one container, with checks that the stream is complete and still valid."""

from monitor.sources.base import Keep, LogLine
from monitor.sources.docker.dedup import MARGIN, Ledger, StampedReader
from monitor.sources.docker.engine import TIMEOUT, Container, DockerEngine

CHECK = 60.0
"""Seconds between two checks of the stream: another container may have taken the name, and a connection can die
without an error."""

NAMES = 5
"""One in this many checks of a silent stream asks which container has the name. Each check finds new lines of
another container anyway."""

SILENT = 5.0
"""Seconds of silence after which a line of the log that has not come is lost."""

VERIFY = 30.0
"""Seconds between two full readings of a rotating log, while lines come."""

SETTLED = 2.0
"""Seconds of quiet before a rotating log is read again."""


class Session:
    """Reads the log from the ledger's `since` on and updates the ledger.

    An Engine that rotates a log may drop lines from its stream (most of a flood, in versions up to 20.10). A rotating
    log is therefore read a second time and missing lines are added; until then `since` does not move. `now` is
    monotonic.
    """

    def __init__(
        self, engine: DockerEngine, name: str, container: Container, ledger: Ledger, *, keep: Keep, now: float
    ) -> None:
        self.fruitful = False
        self._engine = engine
        self._name = name
        self._container = container
        self._ledger = ledger
        self._keep = keep
        rotates = container.rotates_at is not None
        since, skip_to = self._beginning()
        self._reader = StampedReader(
            ledger, keep, terminal=container.terminal, repeats=rotates, skip_to=skip_to
        )
        self._verified = self._heard = now
        self._checked = now
        self._checks = 0
        self._unverified = 0  # bytes
        self.stream = engine.follow(name, since)

    def _beginning(self) -> tuple[int, int]:
        """Return the stamp to read from, and the stamp of the line up to which all others are skipped (0: none).

        If the log's last line is older than the last one read, the Engine's clock was set back meanwhile, and new
        lines are stamped before `since`: the log is then read from its start. After any step back older lines with
        later stamps stand before the last one read, and are skipped. If that is no longer there, a rotation has
        dropped it with all before it.
        """
        ledger = self._ledger
        newest = self._engine.last_stamp(self._name, terminal=self._container.terminal)
        stepped = newest is not None and newest < ledger.last - MARGIN
        since = 0 if stepped else ledger.since
        if not stepped and not ledger.peak:
            return since, 0
        rest = self._engine.between(self._name, ledger.last, ledger.last)
        try:
            found = rest.read(TIMEOUT)
        finally:
            rest.close()
        return since, ledger.last if found else 0

    def lines(self, content: bytes, now: float, *, live: bool) -> tuple[list[LogLine], int]:
        """Return the kept lines of the next content (empty at the stream's end), and the number of lines read.

        Raises BrokenStreamError.
        """
        reader = self._reader
        found = reader.feed(content, live=live) if content else reader.finish(live=live)
        if content:
            self._heard, self.fruitful = now, True
        if self._container.rotates_at is None:
            self._ledger.settle(self._ledger.last - MARGIN)
        else:
            self._unverified += len(content)
        return found, reader.take_count()

    def patience(self, now: float) -> float:
        """Return the seconds of silence until the next check or reading is due."""
        waits = [self._checked + CHECK - now]
        if self._unverified:
            waits.append(max(SETTLED, self._verified + SETTLED - now))
        return max(0.0, min(waits))

    def is_over(self, now: float) -> bool:
        """Return True if the stream is no longer the named container's log; asks the Engine only when a check is due."""
        if now < self._checked + CHECK:
            return False
        silent = self._heard < self._checked
        self._checked = now
        self._checks += 1
        if not silent or self._checks % NAMES == 0:
            if self._engine.container(self._name) != self._container:
                return True
            if now < self._heard + SILENT:
                return False  # lines in flight would look lost
        last = self._engine.last_stamp(self._name, terminal=self._container.terminal)
        return last is not None and last > self._ledger.last and last >= self._ledger.since

    def missed(self, now: float, *, quiet: bool) -> list[LogLine]:
        """Return the lines that a rotation dropped from the stream, if a second reading is due."""
        limit = self._container.rotates_at
        if limit is None or not self._unverified:
            return []
        due = now >= self._verified + (SETTLED if quiet else VERIFY)
        if not due and self._unverified < limit / 4:
            return []
        self._verified = now
        # During a flood all that follows may be dropped; it is read again once the log is quiet.
        self._unverified = 0 if quiet else 1
        return self._read_again(None if quiet else self._ledger.last)

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()

    def _read_again(self, until: int | None) -> list[LogLine]:
        """Read the log since the ledger's `since`, up to a stamp or to its end (None).

        After a stream has gone quiet, lines of the log behind its last one will not come through the stream.
        """
        last = self._ledger.last
        reader = StampedReader(self._ledger, self._keep, terminal=self._container.terminal)
        stream = self._engine.between(self._name, self._ledger.since, until)
        found: list[LogLine] = []
        try:
            while content := stream.read(TIMEOUT):
                found += reader.feed(content, live=True)
        finally:
            stream.close()
        self._ledger.read_to(max(last, self._ledger.last))
        if content is not None:
            self._ledger.settle(self._ledger.last - MARGIN)
        self._reader.renew_overlap()
        return found
