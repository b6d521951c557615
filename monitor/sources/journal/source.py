"""`journal:UNIT`: a systemd unit's log, followed through journalctl and journald's own cursors."""

from collections.abc import Iterator

from fleet.runtime.backoff import backoff_step
from fleet.runtime.clock import Clock, SystemClock
from monitor.sources.base import (
    Away,
    Back,
    Batch,
    Cursor,
    Item,
    Keep,
    ProgressInterval,
    Since,
    Wakeup,
    keep_all,
)
from monitor.sources.journal.entries import Entry, EntryReader, JournalPosition
from monitor.sources.journal.journalctl import (
    Journalctl,
    JournalError,
    ends_by_itself,
    last_entry,
    nothing_of,
)

RETRIES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits in seconds before journalctl is started again; the last one repeats."""

CHECK = 300.0
"""Seconds of silence after which the journal is queried for entries that the child has not written."""

CATCH_UP = 2.0
"""A child that lives for this many seconds works. After this time without output it has delivered the past."""

RESTARTS = 3
"""Children that may end by themselves in a row before it is reported."""


class JournalSource:
    """The LogSource of a unit's journal.

    journalctl follows the journal across rotation and a vacuum. A cursor of a vacuumed entry leads to the first
    remaining entry. journalctl reports neither a missing permission nor a unit that has never logged: a query before
    the start checks both.
    """

    def __init__(
        self, unit: str, *, keep: Keep = keep_all, since: Since = None, clock: Clock | None = None
    ) -> None:
        self._unit = unit
        self._keep = keep
        self._since = since
        self._clock = clock or SystemClock()
        self._wakeup = Wakeup()
        self._progress_interval = ProgressInterval(self._clock.monotonic())
        self._position: JournalPosition | None = None
        self._live = False
        self._away = True  # until the unit is found
        self._reported: Away | None = None
        self._failures = 0

    @property
    def name(self) -> str:
        """Return the spec."""
        return f"journal:{self._unit}"

    def close(self) -> None:
        """End `items`; during a query of the journal, after it."""
        self._wakeup.set()

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Follow the unit's journal."""
        self._position = JournalPosition.from_cursor(cursor)
        self._live = self._position is None and self._since is None
        while not self._wakeup.is_set:
            try:
                yield from self._attend()
            except JournalError as error:
                yield from self._missed(error)
            self._failures += 1
            self._wakeup.sleep(backoff_step(RETRIES, self._failures))

    def _attend(self) -> Iterator[Item]:
        """Query the journal and follow it until the child ends, or misses entries."""
        last = last_entry(self._unit)
        if self._position is None:
            self._position = self._beginning(last)
            yield Batch((), self._position.to_cursor())
        child = Journalctl(self._unit, self._position, self._wakeup)
        past = None if self._live or last is None else last.cursor
        reader = EntryReader(self._position, self._keep, past=past)
        try:
            if last is None:
                yield from self._missed(nothing_of(self._unit))
            elif self._failures < RESTARTS:
                yield from self._found()
            yield from self._follow(child, reader, known=last is not None)
        finally:
            messages = child.close()
        self._check_end(messages)

    def _check_end(self, messages: str) -> None:
        """Drop a cursor that journald does not know; raise JournalError if children keep ending."""
        if "seek to cursor" in messages and self._position is not None:
            self._position = JournalPosition(time=self._position.time + 1)
        elif self._failures >= RESTARTS and not self._wakeup.is_set:
            raise ends_by_itself(messages)

    def _beginning(self, last: Entry | None) -> JournalPosition:
        """Return the position at which a first start begins."""
        if self._since == "start":
            return JournalPosition()
        if isinstance(self._since, (int, float)):
            return JournalPosition(time=int(self._since * 1_000_000))
        return JournalPosition(last.cursor, last.time) if last is not None else JournalPosition()

    def _follow(self, child: Journalctl, reader: EntryReader, *, known: bool) -> Iterator[Item]:
        """Read until the child ends or misses entries. `known`: the unit has logged something."""
        heard = self._clock.monotonic()
        while not self._wakeup.is_set:
            content = child.read(self._patience(reader, known=known))
            now = self._clock.monotonic()
            if content or (content is None and known and now - heard >= CATCH_UP):
                self._failures = 0
                yield from self._found()
            yield from self._progress(reader, content, now)
            if content == b"":
                return
            if content:
                heard = now
            elif now - heard >= CHECK:
                heard = now
                last = last_entry(self._unit)
                if last is not None and last.cursor != reader.last and child.read(CATCH_UP) is None:
                    return

    def _progress(self, reader: EntryReader, content: bytes | None, now: float) -> Iterator[Item]:
        """Yield the content's lines (None: there is none)."""
        lines = reader.feed(content) if content else []
        reader.live = reader.live or content is None
        moved, self._position, self._live = reader.position != self._position, reader.position, reader.live
        yield from self._progress_interval.batch(lines, self._position.to_cursor(), now, moved=moved)

    def _patience(self, reader: EntryReader, *, known: bool) -> float:
        """Return the longest sleep without content."""
        settled = reader.live and not (self._away and known)
        left = self._progress_interval.left(self._clock.monotonic())
        return min([CHECK if settled else CATCH_UP, *([] if left is None else [left + 0.001])])

    def _found(self) -> Iterator[Item]:
        """Yield Back if the log was away."""
        if self._away:
            self._away, self._reported = False, None
            yield Back()

    def _missed(self, error: JournalError) -> Iterator[Item]:
        """Yield Away; on a first start also a cursor before all lines to come."""
        away = Away(error.reason, error.hint)
        if away != self._reported:
            self._away, self._reported = True, away
            yield away
        if self._position is None and self._since is None:
            self._position = JournalPosition(time=int(self._clock.time() * 1_000_000))
            yield Batch((), self._position.to_cursor())
