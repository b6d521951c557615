"""`docker:NAME`: a container's log, followed over restarts, recreation and the daemon's own absences."""

from collections.abc import Iterator

from fleet.runtime.clock import Clock, SystemClock
from monitor.sources.base import (
    Away,
    Back,
    Batch,
    Cursor,
    Item,
    Keep,
    LogLine,
    ProgressInterval,
    Since,
    keep_all,
)
from monitor.sources.docker.dedup import SECOND, Ledger
from monitor.sources.docker.engine import Container, DockerEngine, EngineError, GoneError
from monitor.sources.docker.frames import BrokenStreamError
from monitor.sources.docker.session import Session
from monitor.sources.wakeup import Wakeup

RETRIES = (0.1, 0.2, 0.4, 0.8, 1.0)
"""Seconds to wait before the daemon is asked again."""

EVENTS_PATIENCE = 30.0
"""Seconds to rely on the Engine telling of a container's start."""

CATCH_UP = 0.1
"""A stream that gives nothing for so many seconds has given the past."""


class DockerSource:
    """Follows the container that has a name: one LogSource.

    The Engine ends streams without saying why, repeats and drops lines when it rotates a log, and lets a
    stream go silent when a connection dies. So a stream is never taken at its word: the container is looked
    up by name whenever one ends, the log's end once a minute, reading resumes a little early with what was handled left
    out, and a log that rotates is read a second time.
    """

    def __init__(
        self, container: str, *, keep: Keep = keep_all, since: Since = None, clock: Clock | None = None
    ) -> None:
        self._container = container
        self._keep = keep
        self._since = since
        self._clock = clock or SystemClock()
        self._waker = Wakeup()
        self._pace = ProgressInterval(self._clock.monotonic())
        self._ledger: Ledger | None = None
        self._started = 0
        self._engine: DockerEngine | None = None
        self._live = False
        self._away = True  # until it was found
        self._told: Away | None = None
        self._failures = 0
        self._exhausted: Container | None = None

    @property
    def name(self) -> str:
        """Return the spec."""
        return f"docker:{self._container}"

    def close(self) -> None:
        """End `items`; where a daemon that hangs was just asked something, after its time-out of 5 s."""
        self._waker.set()

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Follow the container's log."""
        self._ledger = Ledger.from_cursor(cursor)
        self._live = self._ledger is None and self._since is None
        self._started = int(self._clock.time() * SECOND)
        try:
            while not self._waker.is_set:
                try:
                    yield from self._attend(self._connected())
                except GoneError as error:  # who has the name now, if anyone, is asked next
                    if self._failures >= len(RETRIES):
                        yield from self._tell_away(error.reason, error.hint)
                    self._retry_later()
                except EngineError as error:
                    yield from self._tell_away(error.reason, error.hint)
                    self._disconnect()
                    self._retry_later()
        finally:
            self._disconnect()

    def _connected(self) -> DockerEngine:
        if self._engine is None:
            self._engine = DockerEngine(self._waker)
        return self._engine

    def _disconnect(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _retry_later(self) -> None:
        self._waker.sleep(RETRIES[min(self._failures, len(RETRIES) - 1)])
        self._failures += 1

    def _attend(self, engine: DockerEngine) -> Iterator[Item]:
        """Look the container up and read its log to the end, or wait for it."""
        container = engine.container(self._container)
        if container is None:
            yield from self._tell_away(
                f"there is no container {self._container}",
                "It is followed as soon as one is started; `docker ps -a` lists the names.",
            )
            self._wait_for_another(engine, None)
        elif container == self._exhausted:
            yield from self._tell_away(
                f"the container {self._container} is not running", f"Start it: docker start {self._container}"
            )
            self._wait_for_another(engine, container)
        else:
            yield from self._join(engine, container)
            yield from self._read(engine, container)
            self._exhausted = None if container.running else container

    def _join(self, engine: DockerEngine, container: Container) -> Iterator[Item]:
        """Find out where to begin, and say that the log is followed."""
        begun = self._ledger is None
        if self._ledger is None:
            self._ledger = Ledger(self._beginning(engine, container))
        if container.running and self._away:
            self._away, self._told = False, None
            yield Back()
        if begun:
            yield Batch((), 0, self._ledger.to_cursor())

    def _beginning(self, engine: DockerEngine, container: Container) -> int:
        """Return the stamp at which a first start begins."""
        if self._since == "start":
            return 0
        if isinstance(self._since, (int, float)):
            return int(self._since * SECOND)
        last = engine.last_stamp(self._container, terminal=container.terminal)
        return last + 1 if last is not None else 0

    def _tell_away(self, reason: str, hint: str) -> Iterator[Item]:
        away = Away(reason, hint)
        if away != self._told:
            self._away, self._told = True, away
            yield away
        if self._ledger is None and self._since is None:
            self._ledger = Ledger(self._started)
            yield Batch((), 0, self._ledger.to_cursor())

    def _wait_for_another(self, engine: DockerEngine, known: Container | None) -> None:
        """Sleep until the container may have changed: the Engine tells; where it may not, for a moment."""
        try:
            events = engine.events()
        except EngineError:
            self._retry_later()
            return
        try:
            if engine.container(self._container) == known and events.read(EVENTS_PATIENCE) == b"":
                self._retry_later()
        except BrokenStreamError:
            self._retry_later()
        finally:
            events.close()

    def _read(self, engine: DockerEngine, container: Container) -> Iterator[Item]:
        """Read the container's log until the stream ends, or turns out to be dead or another's."""
        assert self._ledger is not None  # _join made it
        now = self._clock.monotonic()
        session = Session(engine, self._container, container, self._ledger, keep=self._keep, now=now)
        try:
            while not self._waker.is_set:
                content = session.stream.read(self._patience(session))
                yield from self._progress(session, content)
                if content == b"" or session.is_over(self._clock.monotonic()):
                    break
        except BrokenStreamError:
            session.fruitful = False  # not at once again; the next stream leaves out what was handled
        finally:
            session.close()
        if session.fruitful:
            self._failures = 0
        else:
            self._retry_later()

    def _progress(self, session: Session, content: bytes | None) -> Iterator[Item]:
        """Give out what came (None: nothing did), and what should have come before it."""
        lines: list[LogLine] = []
        now = self._clock.monotonic()
        if content is not None:
            lines, read = session.lines(content, now, live=self._live)
            self._pace.add(read)
        elif not self._waker.is_set:
            self._live = True
        lines += session.missed(now, quiet=content is None)
        if self._ledger is not None and (lines or self._pace.due(now)):
            yield self._pace.batch(tuple(lines), self._ledger.to_cursor(), now)

    def _patience(self, session: Session) -> float:
        """Return how long to sleep when nothing comes."""
        now = self._clock.monotonic()
        waits = [session.patience(now)]
        if not self._live:
            waits.append(CATCH_UP)
        if (left := self._pace.left(now)) is not None:
            waits.append(left + 0.001)
        return min(waits)
