"""The protocol of log sources: cursors, lines, batches, the prefilter, and a source's sleep.

One thread runs a source and queues the items:

    source = open_source("file:/var/log/ollama.log", keep=prefilter)
    for item in source.items(cursor):        # ends after source.close() from any thread
        match item:
            case Batch(): ...                # lines, and the cursor to store once they are handled
            case Away(): ...                 # the log cannot be followed; the source keeps trying
            case Back(): ...                 # the log is followed (again); also yielded once at the start

A source never ends by itself and raises nothing for a passing fault. A log that can never be followed is a
SourceError, an invalid spec a ConfigError.
"""

import os
import select
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

Cursor: TypeAlias = Mapping[str, Json]
"""The place to resume reading at. A source makes it, its user stores it, and a source of the same kind reads it.

A cursor of another kind, or a damaged one, counts as none.
"""

Since: TypeAlias = float | str | None
"""The beginning of a first start: None skips the log's past, "start" reads all of it, Unix seconds a part.

The source of a file does not know its lines' times; for `file:` any number means "start".
"""

Span: TypeAlias = tuple[int, int]

Keep: TypeAlias = Callable[[bytes], Iterable[Span]]
"""The prefilter: given whole lines, each with a newline, yields (start, end) of those to keep, in order.

The prefilter gets many lines at once: an ordinary flood is dropped unsplit. `end` may include the newline or not. Each
line must be judged by itself alone.
"""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that passed the prefilter.

    `text` has no line end; bytes that are no UTF-8 are replaced. `time` is the stamp of Docker or journald in Unix
    seconds, None for files. `live` is False for lines read to catch up. `cut` counts the bytes dropped from the end
    of a very long line.
    """

    text: str
    time: float | None = None
    live: bool = True
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of one read.

    `lines` passed the prefilter, in the log's order. After they are handled, reading on from `cursor` neither repeats
    nor loses a kept line. A batch without lines only moves the cursor. Such a batch comes at most once a second, and
    never while the log is silent. On a first start the first batch comes at once, possibly without lines. Its cursor is
    the place at which the log was joined.
    """

    lines: tuple[LogLine, ...]
    cursor: Cursor


MOST_LINES = 1000
"""Most lines in one batch, and in one write of the state. Lines recovered after a rotation may be more."""


@dataclass(frozen=True, slots=True)
class Away:
    """The log cannot be followed at present; reason and remedy."""

    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Back:
    """The log is being followed (again)."""


Item: TypeAlias = Batch | Away | Back


class LogSource(Protocol):
    """A log that is followed until `close`."""

    @property
    def name(self) -> str:
        """Return the spec that the source was opened with, such as `docker:naive-ollma-gpu`."""

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Follow the log from the cursor on (None: a first start); end only after `close`.

        Call it once, from one thread.
        """

    def close(self) -> None:
        """End `items` at once; safe from any thread, at any time, more than once."""


def keep_all(chunk: bytes) -> Iterator[Span]:
    """Keep every line: the prefilter that drops nothing."""
    start = 0
    while (end := chunk.find(b"\n", start)) >= 0:
        yield start, end
        start = end + 1


INTERVAL = 1.0
"""Seconds between two batches without lines: each costs its receiver a write of the state."""


class ProgressInterval:
    """Makes batches, and decides when one without lines is due; `now` is monotonic."""

    def __init__(self, now: float) -> None:
        self._moved = False
        self._last = now - INTERVAL

    def left(self, now: float) -> float | None:
        """Return the seconds until a batch without lines is due, None if the cursor has not moved since the last."""
        return max(0.0, self._last + INTERVAL - now) if self._moved else None

    def batch(
        self, lines: Iterable[LogLine], cursor: Cursor, now: float, *, moved: bool = True
    ) -> Iterator[Batch]:
        """Yield the next batch, unless it has no lines and is not due yet.

        `moved`: more was read since the last call, kept or not.
        """
        self._moved = self._moved or moved
        batch = Batch(tuple(lines), cursor)
        if batch.lines or self.left(now) == 0.0:
            self._moved, self._last = False, now
            yield batch


class Wakeup:
    """A flag that can be polled together with sockets and pipes; once set, it stays set."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        weakref.finalize(self, _close_both, self._read, self._write)
        self.is_set = False

    def set(self) -> None:
        """End the current sleep and every later one; safe from any thread, more than once."""
        if not self.is_set:
            self.is_set = True
            os.write(self._write, b"\0")

    def sleep(self, seconds: float) -> bool:
        """Sleep for this long; return True at once when the flag is set."""
        self.wait(None, seconds)
        return self.is_set

    def wait(self, readable: int | None, seconds: float | None) -> bool:
        """Sleep until the descriptor is readable or at its end, and return True.

        Return False after `seconds` (None: no limit), and when the flag is set.
        """
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if readable is not None:
            poll.register(readable, select.POLLIN | select.POLLPRI)
        ready = poll.poll(None if seconds is None else max(0, round(seconds * 1000)))
        return not self.is_set and bool(ready)


def _close_both(first: int, second: int) -> None:
    os.close(first)
    os.close(second)
