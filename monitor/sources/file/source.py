"""`file:PATH`: a log file, followed across rotation, truncation and replacement."""

import errno
import stat
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

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
from monitor.sources.file.reader import (
    FilePosition,
    LogFile,
    RewrittenError,
    before_creation,
    rotated_inodes,
    unread_files,
)
from monitor.sources.file.watcher import Watcher
from monitor.sources.lines import Region, kept_lines

IDLE = 5.0
"""Seconds between two checks of a file: inotify reports no changes on some file systems."""

GRACE = 2.0
"""Seconds for which the name may be missing during a rotation before the log counts as away."""

AWAY_POLL = 0.25
"""Seconds between two checks for a missing log without inotify."""

_MISSING = "It is followed as soon as it exists. Is the path right, and does Ollama write to it?"
_HINTS = {
    errno.EACCES: "Let the user that the monitor runs as read the file and enter its folders.",
    errno.EISDIR: "Name the log file, not its folder.",
    errno.ENOTSUP: "Only regular files can be followed.",
}


class FileSource:
    """The LogSource of a file.

    An unfinished last line is delivered when its newline comes, or when the file is rotated, truncated or replaced.
    `idle` is the time in seconds between two checks without a report of inotify. `missing` is the hint for a file that
    does not exist.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep: Keep = keep_all,
        since: Since = None,
        clock: Clock | None = None,
        idle: float = IDLE,
        missing: str = _MISSING,
    ) -> None:
        self._path = path
        self._hints = {**_HINTS, errno.ENOENT: missing}
        self._keep = keep
        self._since = since
        self._idle = idle
        self._clock = clock or SystemClock()
        self._wakeup = Wakeup()
        self._progress_interval = ProgressInterval(self._clock.monotonic())
        self._position: FilePosition | None = None
        self._live = False
        self._away = True  # until the log is found
        self._reported: Away | None = None
        self._missing_since: float | None = None
        self._copies: dict[int, Path] = {}

    @property
    def name(self) -> str:
        """Return the spec."""
        return f"file:{self._path}"

    def close(self) -> None:
        """End `items`."""
        self._wakeup.set()

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Follow the file."""
        self._position = FilePosition.from_cursor(cursor)
        self._live = self._position is None and self._since is None
        watcher = Watcher(self._path, self._wakeup)
        try:
            yield from self._run(watcher)
        finally:
            watcher.close()

    def _run(self, watcher: Watcher) -> Iterator[Item]:
        while not self._wakeup.is_set:
            watcher.arm()
            logs: list[LogFile] = []
            try:
                self._open(logs)
                self._copies = rotated_inodes(self._path)
                yield from self._read_all(logs, watcher)
            except OSError as error:
                yield from self._missed(error)
                watcher.wait(self._idle, poll=AWAY_POLL)
            finally:
                for log in logs:
                    log.close()

    def _open(self, logs: list[LogFile]) -> None:
        """Open the files to read, oldest first; raise OSError if there is none."""
        if self._position is not None:
            for path, offset in unread_files(self._position, self._path):
                logs.append(LogFile(path, offset))
        elif self._since is None:
            logs.append(LogFile.at_end(self._path))
        else:
            logs.append(LogFile(self._path))

    def _read_all(self, logs: list[LogFile], watcher: Watcher) -> Iterator[Item]:
        """Read the files in order and follow the last until another file has its name."""
        yield from self._found(logs[0].handled)
        for log in logs:
            try:
                follow = log is logs[-1]
                yield from self._follow(log, watcher) if follow else self._drain(log)
            except RewrittenError:
                yield from self._finish(log)
                return
            yield from self._finish(log)

    def _follow(self, log: LogFile, watcher: Watcher) -> Iterator[Item]:
        """Read on at each change; return once another, non-empty file has the name."""
        reported = True
        while not self._wakeup.is_set:
            before = log.position
            if not before and self._name_leads_to(log) is _Name.THIS:
                yield from self._read_copies(log)
            yield from self._drain(log)
            if not reported and log.position > before:
                watcher.distrust()
            self._live = True
            name = self._name_leads_to(log)
            if name is _Name.ANOTHER:
                yield from self._drain(log)
                return
            yield from self._presence(name)
            if self._position is not None:
                now = self._clock.monotonic()
                yield from self._progress_interval.batch((), self._position.to_cursor(), now, moved=False)
            watcher.arm()
            reported = watcher.wait(self._patience())

    def _read_copies(self, log: LogFile) -> Iterator[Item]:
        """Read the rotated files that are new since the log was last seen empty.

        An empty log may be written to, copied and truncated between two checks. It then has the same inode, and no
        bytes that show the truncation. The copy has its lines.
        """
        found = rotated_inodes(self._path)
        fresh = [inode for inode in found if inode not in self._copies and inode != log.identity[1]]
        self._copies = found
        for inode in fresh:
            copy = LogFile(found[inode])
            try:
                if not log.begins_as(copy):  # else a log not truncated yet still has the lines
                    yield from self._drain(copy)
                    yield from self._finish(copy)
            finally:
                copy.close()

    def _drain(self, log: LogFile) -> Iterator[Item]:
        """Read to the end of the file; raises RewrittenError."""
        while not self._wakeup.is_set:
            size, region = log.read()
            if region is not None:
                yield from self._batch(log, region)
            if not size:
                return

    def _finish(self, log: LogFile) -> Iterator[Item]:
        if self._wakeup.is_set:
            return
        region = log.finish()
        if region is not None:
            yield from self._batch(log, region)
        self._position = log.handled

    def _batch(self, log: LogFile, region: Region) -> Iterator[Batch]:
        self._position = log.handled
        lines = kept_lines(region, self._keep, live=self._live)
        return self._progress_interval.batch(lines, self._position.to_cursor(), self._clock.monotonic())

    def _name_leads_to(self, log: LogFile) -> "_Name":
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return _Name.NOTHING
        if (facts.st_dev, facts.st_ino) == log.identity:
            return _Name.THIS
        # What is no file, such as a pipe or a device, has no size; opening it says so.
        return _Name.ANOTHER if facts.st_size or not stat.S_ISREG(facts.st_mode) else _Name.EMPTY

    def _presence(self, name: "_Name") -> Iterator[Item]:
        """Yield Away if the name is missing for longer than a rotation takes, and Back on its return."""
        now = self._clock.monotonic()
        if name is not _Name.NOTHING:
            self._missing_since = None
            if self._away:
                yield self._now_back()
        elif self._missing_since is None:
            self._missing_since = now
        elif now - self._missing_since >= GRACE and not self._away:
            self._reported = self._now_away(FileNotFoundError(errno.ENOENT, "no such file"))
            yield self._reported

    def _found(self, position: FilePosition) -> Iterator[Item]:
        """Yield Back, and on a first start the cursor at which the log was joined."""
        if self._away:
            yield self._now_back()
        if self._position is None:
            self._position = position
            yield Batch((), position.to_cursor())

    def _missed(self, error: OSError) -> Iterator[Item]:
        """Yield Away, and on a first start a cursor before all lines to come."""
        away = self._now_away(error)
        if away != self._reported:
            self._reported = away
            yield away
        if self._position is None and isinstance(error, FileNotFoundError):
            self._position = before_creation(self._clock.time())
            yield Batch((), self._position.to_cursor())

    def _now_away(self, error: OSError) -> Away:
        self._away = True
        reason = (error.strerror or str(error)).lower()
        return Away(f"{self._path}: {reason}", self._hints.get(error.errno or 0, ""))

    def _now_back(self) -> Back:
        self._away, self._reported = False, None
        return Back()

    def _patience(self) -> float:
        """Return the longest sleep without a change."""
        left = self._progress_interval.left(self._clock.monotonic())
        if self._missing_since is not None and not self._away:
            return min(GRACE, left if left is not None else GRACE)
        return self._idle if left is None else min(self._idle, left + 0.001)


class _Name(Enum):
    """The file at the log's name, compared with the file that is followed."""

    THIS = auto()
    ANOTHER = auto()
    EMPTY = auto()
    NOTHING = auto()
