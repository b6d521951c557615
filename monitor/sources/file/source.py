"""`file:PATH`: a log file followed over rotation, truncation and replacement."""

import errno
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from fleet.runtime.clock import Clock, SystemClock
from monitor.sources.base import Away, Back, Batch, Cursor, Item, Keep, ProgressInterval, Since, keep_all
from monitor.sources.file.position import Mark, nowhere
from monitor.sources.file.reader import LogFile, RewrittenError, plan_from
from monitor.sources.file.watcher import Watcher
from monitor.sources.lines import Region, kept_lines
from monitor.sources.wakeup import Wakeup

IDLE = 5.0
"""Seconds between two looks at a file that may lie where the kernel does not tell of changes."""

GRACE = 2.0
"""Seconds that the name may be missing, as it is amid a rotation, before the log counts as away."""

AWAY_POLL = 0.25
"""Seconds between two looks for a log that is not there, where the kernel does not tell of it."""

_HINTS = {
    errno.ENOENT: "It is followed as soon as it is there; is the path right, and Ollama's output sent to it?",
    errno.EACCES: "Let the user that the monitor runs as read the file and enter its folders.",
    errno.EISDIR: "Name the log file, not its folder.",
    errno.ENOTSUP: "Only regular files can be followed.",
}


class FileSource:
    """Follows the file at a path: one LogSource.

    An unfinished last line is given out when its newline comes, or when it cannot come any more because the
    file was rotated, truncated or replaced. `idle` are the seconds between two looks at a file that the kernel
    says nothing about.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep: Keep = keep_all,
        since: Since = None,
        clock: Clock | None = None,
        idle: float = IDLE,
    ) -> None:
        self._path = path
        self._keep = keep
        self._since = since
        self._idle = idle
        self._clock = clock or SystemClock()
        self._waker = Wakeup()
        self._pace = ProgressInterval(self._clock.monotonic())
        self._place: Mark | None = None
        self._live = False
        self._away = True  # until it was found
        self._told: Away | None = None
        self._missing_since: float | None = None

    @property
    def name(self) -> str:
        """Return the spec."""
        return f"file:{self._path}"

    def close(self) -> None:
        """End `items`."""
        self._waker.set()

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Follow the file."""
        self._place = Mark.from_cursor(cursor)
        self._live = self._place is None and self._since is None
        watcher = Watcher(self._path, self._waker)
        try:
            yield from self._run(watcher)
        finally:
            watcher.close()

    def _run(self, watcher: Watcher) -> Iterator[Item]:
        while not self._waker.is_set:
            watcher.arm()
            logs: list[LogFile] = []
            try:
                self._open(logs)
                yield from self._read_all(logs, watcher)
            except OSError as error:
                yield from self._missed(error)
                watcher.wait(self._idle, poll=AWAY_POLL)
            finally:
                for log in logs:
                    log.close()

    def _open(self, logs: list[LogFile]) -> None:
        """Open all that is to be read, oldest first; raises OSError if there is nothing to open."""
        if self._place is not None:
            for path, offset in plan_from(self._place, self._path):
                logs.append(LogFile(path, offset))
        elif self._since is None:
            logs.append(LogFile.at_end(self._path))
        else:
            logs.append(LogFile(self._path))

    def _read_all(self, logs: list[LogFile], watcher: Watcher) -> Iterator[Item]:
        """Read the files one after the other, and follow the last until it is the log no more."""
        yield from self._found(logs[0].mark)
        for log in logs:
            try:
                yield from self._drain(log)
                if log is logs[-1]:
                    yield from self._follow(log, watcher)
            except RewrittenError:
                yield from self._finish(log)
                return
            yield from self._finish(log)

    def _follow(self, log: LogFile, watcher: Watcher) -> Iterator[Item]:
        """Read on when something changes; return once another file has the name and holds something."""
        told = True
        while not self._waker.is_set:
            before = log.position
            yield from self._drain(log)
            if not told and log.position > before:
                watcher.distrust()
            self._live = True
            name = self._name_leads_to(log)
            if name is _Name.ANOTHER:
                yield from self._drain(log)
                return
            yield from self._presence(name)
            if self._pace.due(self._clock.monotonic()) and self._place is not None:
                yield self._pace.batch((), self._place.to_cursor(), self._clock.monotonic())
            watcher.arm()
            told = watcher.wait(self._patience())

    def _drain(self, log: LogFile) -> Iterator[Item]:
        """Read to the end of the file; raises RewrittenError."""
        while not self._waker.is_set:
            size, region = log.read()
            if region is not None and (batch := self._batch(log, region)) is not None:
                yield batch
            if not size:
                return

    def _finish(self, log: LogFile) -> Iterator[Item]:
        if self._waker.is_set:
            return
        region = log.finish()
        if region is not None and (batch := self._batch(log, region)) is not None:
            yield batch
        self._place = log.mark

    def _batch(self, log: LogFile, region: Region) -> Batch | None:
        """Return what the region gives its reader, None if that is nothing and too soon to say so."""
        self._place = log.mark
        self._pace.add(region.count)
        lines = tuple(kept_lines(region, self._keep, live=self._live))
        now = self._clock.monotonic()
        if not lines and not self._pace.due(now):
            return None
        return self._pace.batch(lines, self._place.to_cursor(), now)

    def _name_leads_to(self, log: LogFile) -> "_Name":
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return _Name.NOTHING
        if (facts.st_dev, facts.st_ino) == log.identity:
            return _Name.THIS
        return _Name.ANOTHER if facts.st_size else _Name.EMPTY

    def _presence(self, name: "_Name") -> Iterator[Item]:
        """Tell of a name that has been missing for longer than a rotation takes, and of its return."""
        now = self._clock.monotonic()
        if name is not _Name.NOTHING:
            self._missing_since = None
            if self._away:
                yield self._tell_back()
        elif self._missing_since is None:
            self._missing_since = now
        elif now - self._missing_since >= GRACE and not self._away:
            self._told = self._tell_away(FileNotFoundError(errno.ENOENT, "no such file"))
            yield self._told

    def _found(self, place: Mark) -> Iterator[Item]:
        """Say that the log is followed; on a first start, also from where on."""
        if self._away:
            yield self._tell_back()
        if self._place is None:
            self._place = place
            yield Batch((), 0, place.to_cursor())

    def _missed(self, error: OSError) -> Iterator[Item]:
        """Say that the log is away; on a first start, that all which comes will be new."""
        away = self._tell_away(error)
        if away != self._told:
            self._told = away
            yield away
        if self._place is None and isinstance(error, FileNotFoundError):
            self._place = nowhere(self._clock.time())
            yield Batch((), 0, self._place.to_cursor())

    def _tell_away(self, error: OSError) -> Away:
        self._away = True
        reason = (error.strerror or str(error)).lower()
        return Away(f"{self._path}: {reason}", _HINTS.get(error.errno or 0, ""))

    def _tell_back(self) -> Back:
        self._away, self._told = False, None
        return Back()

    def _patience(self) -> float:
        """Return how long to sleep when nothing happens."""
        left = self._pace.left(self._clock.monotonic())
        if self._missing_since is not None and not self._away:
            return min(GRACE, left if left is not None else GRACE)
        return self._idle if left is None else min(self._idle, left + 0.001)


class _Name(Enum):
    """What the log's name leads to, beside the file that is followed."""

    THIS = auto()
    ANOTHER = auto()
    EMPTY = auto()
    NOTHING = auto()
