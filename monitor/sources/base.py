"""What every log source gives and takes; no source is in here.

A source is run by one thread, which pumps `items()` into a queue of its own:

    source = open_source("file:/var/log/ollama.log", keep=prefilter)
    for item in source.items(cursor):        # ends after source.close() from any thread
        match item:
            case Batch(): ...                # lines, and the cursor to store once they are handled
            case Away(): ...                 # nothing comes until it is back; the source goes on trying
            case Back(): ...                 # it is followed (again); also said once at the start

A source never ends by itself and raises nothing for what can mend itself. What it cannot ever follow is a
SourceError, a spec that cannot be read a ConfigError.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

Cursor: TypeAlias = Mapping[str, Json]
"""Where to go on; made by a source, stored by its user as it is, understood only by a source of that kind.

One that a source does not understand (another kind's, or damaged) counts as none.
"""

Since: TypeAlias = float | str | None
"""Where a first start begins: None skips the log's past, "start" takes all of it, Unix seconds a part.

A file's lines bear no time that its source knows, so for `file:` any number means "start".
"""

Span: TypeAlias = tuple[int, int]

Keep: TypeAlias = Callable[[bytes], Iterable[Span]]
"""The prefilter: given whole lines, each ended by a newline, yields (start, end) of those to keep, in order.

It is asked about many lines at once, so that an ordinary flood is refused without being taken apart. Whether
`end` takes the newline in does not matter. It must judge each line by that line alone.
"""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that passed the prefilter.

    `text` has no line end; bytes that are no UTF-8 are replaced. `time` is the transport's own stamp
    (Docker's, journald's) in Unix seconds, None for files. `live` tells that it came while the log was being
    followed: what was read to catch up is not. `cut` counts the bytes left out of a very long line's end.
    """

    text: str
    time: float | None = None
    live: bool = True
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read in one go.

    `lines` are those that passed the prefilter, in the log's order; `read` counts all lines since the last
    batch, kept or not. Once the lines are handled, `cursor` is where to go on: resuming there neither repeats
    nor loses a kept line. A batch without lines moves the cursor over output that nobody waits for; there is
    at most one of them in a second, and none while the log is silent. The first item of a first start that
    holds a cursor comes at once and may hold no line: it says where the log was joined.
    """

    lines: tuple[LogLine, ...]
    read: int
    cursor: Cursor


MOST_LINES = 1000
"""Lines in one batch, and in one write of the state. Only lines that a rotating log swallowed may come as more."""


@dataclass(frozen=True, slots=True)
class Away:
    """The log cannot be followed just now: why, and what a person can do about it."""

    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Back:
    """The log is being followed (again)."""


Item: TypeAlias = Batch | Away | Back


class LogSource(Protocol):
    """A log that is followed for as long as it takes."""

    @property
    def name(self) -> str:
        """Return the spec that the source was opened with, such as `docker:naive-ollma-gpu`."""

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Follow the log from the cursor on (None: a first start); ends only after `close`.

        To be called once, and read by one thread.
        """

    def close(self) -> None:
        """End `items` at once; may be called from any thread, at any time, more than once."""


def keep_all(chunk: bytes) -> Iterator[Span]:
    """Keep every line: the prefilter of those who want them all."""
    start = 0
    while (end := chunk.find(b"\n", start)) >= 0:
        yield start, end
        start = end + 1


INTERVAL = 1.0
"""Seconds between two batches that hold no line: each is a state write for its receiver."""


class ProgressInterval:
    """Counts what was read since the last batch and says when the next one is due; `now` is monotonic."""

    def __init__(self, now: float) -> None:
        self._read = 0
        self._last = now - INTERVAL

    def add(self, lines: int) -> None:
        """Count lines that were read."""
        self._read += lines

    def due(self, now: float) -> bool:
        """Tell whether a batch without lines should be given now."""
        return self._read > 0 and now - self._last >= INTERVAL

    def left(self, now: float) -> float | None:
        """Return the seconds until one is due, None if nothing was read."""
        return max(0.0, self._last + INTERVAL - now) if self._read else None

    def batch(self, lines: tuple[LogLine, ...], cursor: Cursor, now: float) -> Batch:
        """Return the batch for everything read since the last one."""
        batch = Batch(lines, self._read, cursor)
        self._read, self._last = 0, now
        return batch
