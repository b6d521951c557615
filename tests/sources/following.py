"""A source followed the way the monitor does it: by a thread of its own, its items looked at here."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from monitor.sources.base import Away, Back, Batch, Cursor, Item, LogLine, LogSource

PATIENCE = 20.0


class Following:
    """Runs a source until the `with` block ends; keeps what it gave."""

    def __init__(self, source: LogSource, cursor: Cursor | None = None) -> None:
        self.source = source
        self.items: list[Item] = []
        self.error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._pump, args=(cursor,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "close() did not end the source"
        if self.error is not None and kind is None:
            raise self.error

    @property
    def lines(self) -> list[LogLine]:
        with self._changed:
            return [line for item in self.items if isinstance(item, Batch) for line in item.lines]

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]

    @property
    def cursor(self) -> Cursor | None:
        with self._changed:
            found = [item.cursor for item in self.items if isinstance(item, Batch)]
        return found[-1] if found else None

    def count(self, kind: type[Item]) -> int:
        with self._changed:
            return sum(isinstance(item, kind) for item in self.items)

    def until(self, what: str, reached: Callable[[], bool]) -> None:
        """Wait until something holds; fail with what there is if it never does."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            with self._changed:
                self._changed.wait(0.005)
            if self.error is not None:
                raise self.error
            assert time.monotonic() < deadline, f"never {what}; there is {self._tail()}"

    def until_texts(self, expected: list[str]) -> None:
        """Wait until exactly these lines have come, in this order."""
        self.until(f"{len(expected)} lines", lambda: len(self.texts) >= len(expected))
        assert self.texts == expected

    def until_back(self, times: int = 1) -> None:
        self.until(f"back {times} times", lambda: self.count(Back) >= times)

    def until_away(self, times: int = 1) -> None:
        self.until(f"away {times} times", lambda: self.count(Away) >= times)

    def _tail(self) -> str:
        with self._changed:
            return "; ".join(str(item)[:300] for item in self.items[-8:]) or "nothing"

    def _pump(self, cursor: Cursor | None) -> None:
        try:
            for item in self.source.items(cursor):
                with self._changed:
                    self.items.append(item)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  # handed to the test's own thread
            self.error = error


def lines_of(items: list[Item]) -> list[str]:
    """Return the texts of all lines among the items."""
    return [line.text for item in items if isinstance(item, Batch) for line in item.lines]
