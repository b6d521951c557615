"""`journal:UNIT`: what a systemd unit logs, followed through journalctl and journald's own cursors."""

from collections.abc import Iterator

from fleet.runtime.clock import Clock, SystemClock
from monitor.sources.base import Away, Back, Batch, Cursor, Item, Keep, ProgressInterval, Since, keep_all
from monitor.sources.journal.entries import Entry, EntryReader, JournalPosition
from monitor.sources.journal.journalctl import Journalctl, JournalError, ends_by_itself, look, nothing_of
from monitor.sources.wakeup import Wakeup

RETRIES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds to wait before journalctl is started again; it starts afresh once one was of use."""

CHECK = 300.0
"""Seconds of silence after which it is looked whether the journal goes on while the child says nothing."""

CATCH_UP = 2.0
"""A child that lives for so long is of use; one that gives nothing for so long has given the past, also where
the past's last entry is gone."""

RESTARTS = 3
"""Children that may end by themselves one after the other before it is told."""


class JournalSource:
    """Follows a unit's journal: one LogSource.

    journalctl itself follows the journal over rotation, and a vacuum; a cursor whose entry was vacuumed leads
    to the first that was not. What it cannot tell is whether it may read the journal at all and whether the
    unit has ever logged anything, so that is looked up before it is started.
    """

    def __init__(
        self, unit: str, *, keep: Keep = keep_all, since: Since = None, clock: Clock | None = None
    ) -> None:
        self._unit = unit
        self._keep = keep
        self._since = since
        self._clock = clock or SystemClock()
        self._waker = Wakeup()
        self._pace = ProgressInterval(self._clock.monotonic())
        self._place: JournalPosition | None = None
        self._live = False
        self._away = True  # until it was found
        self._told: Away | None = None
        self._failures = 0

    @property
    def name(self) -> str:
        """Return the spec."""
        return f"journal:{self._unit}"

    def close(self) -> None:
        """End `items`; where a look at the journal is under way, after that."""
        self._waker.set()

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Follow the unit's journal."""
        self._place = JournalPosition.from_cursor(cursor)
        self._live = self._place is None and self._since is None
        while not self._waker.is_set:
            try:
                yield from self._attend()
            except JournalError as error:
                yield from self._missed(error)
            self._waker.sleep(RETRIES[min(self._failures, len(RETRIES) - 1)])
            self._failures += 1

    def _attend(self) -> Iterator[Item]:
        """Look the journal up and follow it until the child ends, or says nothing while the journal goes on."""
        last = look(self._unit)
        if self._place is None:
            self._place = self._beginning(last)
            yield Batch((), 0, self._place.to_cursor())
        child = Journalctl(self._unit, self._place, self._waker)
        past = None if self._live or last is None else last.cursor
        reader = EntryReader(self._place, self._keep, past=past)
        try:
            if last is None:
                yield from self._missed(nothing_of(self._unit))
            elif self._failures < RESTARTS:
                yield from self._found()
            yield from self._follow(child, reader, known=last is not None)
        finally:
            told = child.close()
        self._judge(told)

    def _judge(self, told: str) -> None:
        """Make something of how a child ended; raises JournalError if they end one after the other."""
        if "seek to cursor" in told and self._place is not None:
            self._place = JournalPosition(
                time=self._place.time + 1
            )  # journald does not know its cursor any more
        elif self._failures >= RESTARTS and not self._waker.is_set:
            raise ends_by_itself(told)

    def _beginning(self, last: Entry | None) -> JournalPosition:
        """Return where a first start begins."""
        if self._since == "start":
            return JournalPosition()
        if isinstance(self._since, (int, float)):
            return JournalPosition(time=int(self._since * 1_000_000))
        return JournalPosition(last.cursor, last.time) if last is not None else JournalPosition()

    def _follow(self, child: Journalctl, reader: EntryReader, *, known: bool) -> Iterator[Item]:
        """Read until the child ends, or is found to say nothing. `known`: the unit has logged something."""
        heard = self._clock.monotonic()
        while not self._waker.is_set:
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
                last = look(self._unit)
                if last is not None and last.cursor != reader.last and child.read(CATCH_UP) is None:
                    return

    def _progress(self, reader: EntryReader, content: bytes | None, now: float) -> Iterator[Item]:
        """Give out what came (None: nothing did)."""
        lines = reader.feed(content) if content else []
        reader.live = reader.live or content is None
        self._place, self._live = reader.place, reader.live
        self._pace.add(reader.take_count())
        if lines or self._pace.due(now):
            yield self._pace.batch(tuple(lines), self._place.to_cursor(), now)

    def _patience(self, reader: EntryReader, *, known: bool) -> float:
        """Return how long to sleep when nothing comes."""
        settled = reader.live and not (self._away and known)
        left = self._pace.left(self._clock.monotonic())
        return min([CHECK if settled else CATCH_UP, *([] if left is None else [left + 0.001])])

    def _found(self) -> Iterator[Item]:
        """Say that the log is followed."""
        if self._away:
            self._away, self._told = False, None
            yield Back()

    def _missed(self, error: JournalError) -> Iterator[Item]:
        """Say that the log is away; on a first start, that all which comes will be new."""
        away = Away(error.reason, error.hint)
        if away != self._told:
            self._away, self._told = True, away
            yield away
        if self._place is None and self._since is None:
            self._place = JournalPosition(time=int(self._clock.time() * 1_000_000))
            yield Batch((), 0, self._place.to_cursor())
