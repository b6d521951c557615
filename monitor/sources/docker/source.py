"""`docker:NAME`: a container's log, followed across restarts, recreation and outages of the daemon."""

import threading
from collections.abc import Iterator, Sequence

from fleet.runtime.backoff import backoff_step
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
from monitor.sources.docker.engine import Container, DockerEngine, EngineError, GoneError, LogStream
from monitor.sources.docker.frames import BrokenStreamError
from monitor.sources.docker.session import Session

RETRIES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Waits in seconds before the daemon is asked again; the last one repeats."""

CATCH_UP = 0.1
"""After this many seconds without content, the stream has delivered the past."""


class DockerSource:
    """The LogSource of the container with a name.

    The Engine ends streams without a reason, and repeats and drops lines when it rotates a log. A stream over a dead
    connection stays silent. One remedy serves all faults: a stream is replaced at its end, and after a minute, a
    rotating log's sooner. Each time the container is looked up by name. Reading resumes a little early, without the
    handled lines.
    """

    def __init__(
        self, container: str, *, keep: Keep = keep_all, since: Since = None, clock: Clock | None = None
    ) -> None:
        self._container = container
        self._keep = keep
        self._since = since
        self._clock = clock or SystemClock()
        self._closed = threading.Event()
        self._stream: LogStream | None = None
        self._progress_interval = ProgressInterval(self._clock.monotonic())
        self._ledger: Ledger | None = None
        self._started = 0
        self._engine: DockerEngine | None = None
        self._live = False
        self._away = True  # until the container is found
        self._reported: Away | None = None
        self._failures = 0
        self._exhausted: Container | None = None

    @property
    def name(self) -> str:
        """Return the spec."""
        return f"docker:{self._container}"

    def close(self) -> None:
        """End `items`; during a request to a daemon that hangs, after its time-out of 5 s."""
        self._closed.set()
        if (stream := self._stream) is not None:
            stream.close()

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Follow the container's log."""
        self._ledger = Ledger.from_cursor(cursor)
        self._live = self._ledger is None and self._since is None
        self._started = int(self._clock.time() * SECOND)
        try:
            while not self._closed.is_set():
                try:
                    yield from self._attend(self._connected())
                except GoneError as error:  # next, the name is looked up again
                    if self._failures >= len(RETRIES):
                        yield from self._now_away(error.reason, error.hint)
                    self._retry_later()
                except EngineError as error:
                    yield from self._now_away(error.reason, error.hint)
                    self._disconnect()
                    self._retry_later()
        finally:
            self._disconnect()

    def _connected(self) -> DockerEngine:
        if self._engine is None:
            self._engine = DockerEngine()
        return self._engine

    def _disconnect(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _retry_later(self) -> None:
        self._failures += 1
        self._closed.wait(backoff_step(RETRIES, self._failures))

    def _attend(self, engine: DockerEngine) -> Iterator[Item]:
        """Look the container up and read its log until its stream is over, or wait for a start."""
        container = engine.container(self._container)
        if container is None:
            yield from self._now_away(
                f"there is no container {self._container}",
                "It is followed as soon as one is started; `docker ps -a` lists the names.",
            )
            self._retry_later()
        elif container == self._exhausted:
            yield from self._now_away(
                f"the container {self._container} is not running", f"Start it: docker start {self._container}"
            )
            self._retry_later()
        else:
            yield from self._join(engine, container)
            yield from self._read(engine, container)
            self._exhausted = None if container.running else container

    def _join(self, engine: DockerEngine, container: Container) -> Iterator[Item]:
        """Determine the beginning, and yield Back."""
        begun = self._ledger is None
        if self._ledger is None:
            self._ledger = Ledger(self._beginning(engine))
        if container.running and self._away:
            self._away, self._reported = False, None
            yield Back()
        if begun:
            yield Batch((), self._ledger.to_cursor())

    def _beginning(self, engine: DockerEngine) -> int:
        """Return the stamp at which a first start begins."""
        if self._since == "start":
            return 0
        if isinstance(self._since, (int, float)):
            return int(self._since * SECOND)
        last = engine.last_stamp(self._container)
        return last + 1 if last is not None else 0

    def _now_away(self, reason: str, hint: str) -> Iterator[Item]:
        away = Away(reason, hint)
        if away != self._reported:
            self._away, self._reported = True, away
            yield away
        if self._ledger is None and self._since is None:
            self._ledger = Ledger(self._started)
            yield Batch((), self._ledger.to_cursor())

    def _read(self, engine: DockerEngine, container: Container) -> Iterator[Item]:
        """Read the container's log until the stream ends or is to be replaced."""
        assert self._ledger is not None  # _join made it
        session = Session(engine, self._container, container, self._ledger, keep=self._keep, now=self._now())
        self._stream = session.stream
        items: list[bytes] | None = None
        try:
            while items != [] and not self._closed.is_set() and (left := session.left(self._now())) > 0:
                items = session.stream.read(self._patience(left))
                yield from self._progress(session, items)
        except BrokenStreamError:
            items = []  # the next stream skips handled lines
        finally:
            session.stream.close()
        if session.fresh or items is None:
            self._failures = 0
        else:
            self._retry_later()

    def _progress(self, session: Session, items: Sequence[bytes] | None) -> Iterator[Item]:
        """Yield the lines of the items (None: there are none)."""
        lines: list[LogLine] = []
        moved, now = False, self._now()
        if items is not None:
            lines, moved = session.lines(items, now, live=self._live)
        elif not self._closed.is_set():
            self._live = True
        if self._ledger is not None:
            yield from self._progress_interval.batch(lines, self._ledger.to_cursor(), now, moved=moved)

    def _patience(self, left: float) -> float:
        """Return the longest sleep without content."""
        waits = [left]
        if not self._live:
            waits.append(CATCH_UP)
        if (due := self._progress_interval.left(self._now())) is not None:
            waits.append(due + 0.001)
        return min(waits)

    def _now(self) -> float:
        return self._clock.monotonic()
