"""How often progress is told: at once where a line was kept, else once in a while."""

from monitor.sources.base import Batch, Cursor, LogLine

INTERVAL = 1.0
"""Seconds between two batches that hold no line: each is a state write for its receiver."""


class Pace:
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
