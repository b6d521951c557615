"""A few threads that share out the blocks of a phase."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

Block = tuple[int, int]


class Team:
    """`threads` workers, the calling thread among them; threads start at the first use."""

    def __init__(self, threads: int) -> None:
        self._helpers = max(0, threads - 1)
        self._pool: ThreadPoolExecutor | None = None

    def run(self, blocks: Sequence[Block], task: Callable[[int, int], None]) -> None:
        """Call `task` for every block, each once, and return when all are done; raise the first failure."""
        shared = _Shared(iter(blocks))
        if self._helpers and len(blocks) > 1:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._helpers, thread_name_prefix="backtest")
            helpers = [self._pool.submit(_drain, shared, task) for _ in range(self._helpers)]
            try:
                _drain(shared, task)
            finally:
                shared.stop()
                for helper in helpers:
                    helper.result()
        else:
            _drain(shared, task)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


class _Shared:
    """An iterator that several threads may draw from."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._lock = threading.Lock()

    def next(self) -> Block | None:
        with self._lock:
            return next(self._blocks, None)

    def stop(self) -> None:
        with self._lock:
            self._blocks = iter(())


def _drain(shared: _Shared, task: Callable[[int, int], None]) -> None:
    try:
        while (block := shared.next()) is not None:
            task(*block)
    except BaseException:
        shared.stop()
        raise
