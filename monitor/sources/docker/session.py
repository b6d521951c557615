"""One log stream of one container: what comes out of it, and whether it can still be believed."""

from monitor.sources.base import Keep, LogLine
from monitor.sources.docker.dedup import MARGIN, Ledger, StampedReader
from monitor.sources.docker.engine import TIMEOUT, Container, DockerEngine

CHECK = 60.0
"""Seconds between two looks whether the stream is still the log: another container may have taken the name,
and a connection can die without a word."""

NAMES = 5
"""Of so many looks at a stream that stays silent one asks who has the name; what another container that took it
says is found at each."""

SILENT = 5.0
"""Seconds of silence after which a line that stands in the log is not going to come any more."""

VERIFY = 30.0
"""Seconds between two readings of what a rotating log holds, while lines come."""

SETTLED = 2.0
"""Seconds after which a rotating log is read again at the earliest, when it has gone quiet."""


class Session:
    """Reads the log from where the ledger says, and keeps the ledger.

    An Engine that rotates a log may drop lines from its stream (most of a flood, in versions up to 20.10), so
    where a log rotates, what was read since the last time is read once more and what is missing made up for;
    until then the ledger promises nothing. `now` is monotonic everywhere.
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
        self._reader = StampedReader(ledger, keep, terminal=container.terminal, repeats=rotates)
        self._verified = self._heard = now
        self._checked = (
            now - CHECK / 4
        )  # not when the monitor's own looks come: they would contend for the interpreter
        self._looks = 0
        self._unverified = 0  # bytes
        self.stream = engine.follow(name, ledger.since)

    def lines(self, content: bytes, now: float, *, live: bool) -> tuple[list[LogLine], int]:
        """Return the kept lines in what came next (nothing: the stream ended), and how many were read.

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
        """Return for how long silence is no reason to look after the stream."""
        waits = [self._checked + CHECK - now]
        if self._unverified:
            waits.append(max(SETTLED, self._verified + SETTLED - now))
        return max(0.0, min(waits))

    def is_over(self, now: float) -> bool:
        """Tell whether the stream is not the named container's log any more; asks once in a while only."""
        if now < self._checked + CHECK:
            return False
        silent = self._heard < self._checked
        self._checked = now
        self._looks += 1
        if not silent or self._looks % NAMES == 0:
            if self._engine.container(self._name) != self._container:
                return True
            if now < self._heard + SILENT:
                return False  # lines under way would look like lines lost
        last = self._engine.last_stamp(self._name, terminal=self._container.terminal)
        return last is not None and last > self._ledger.last and last >= self._ledger.since

    def missed(self, now: float, *, quiet: bool) -> list[LogLine]:
        """Return the lines that a rotation swallowed, if it is time to look for them."""
        limit = self._container.rotates_at
        if limit is None or not self._unverified:
            return []
        due = now >= self._verified + (SETTLED if quiet else VERIFY)
        if not due and self._unverified < limit / 4:
            return []
        self._verified = now
        # Amid a flood what follows may be swallowed whole, and is read again once it is quiet.
        self._unverified = 0 if quiet else 1
        return self._read_again(None if quiet else self._ledger.last)

    def close(self) -> None:
        """Let go of the stream."""
        self.stream.close()

    def _read_again(self, until: int | None) -> list[LogLine]:
        """Read what the log holds since the ledger's beginning, to a stamp or (None) to its end.

        In a stream that has gone quiet, what stands behind the last line that came is not going to come.
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
        self._reader.look_again()
        return found
