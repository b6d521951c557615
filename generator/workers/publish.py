"""Publisher: writes kept alphas of real markets to the hopeful file."""

import threading
from functools import partial
from typing import TYPE_CHECKING

from fleet.runtime.clock import Clock
from fleet.runtime.units import MEGABYTE, Bytes, Seconds
from generator.storage.hopeful import HopefulFile
from generator.workers.ingest import StoppingError, StorageRetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.storage.store import AlphaStore

_INTERVAL: Seconds = 10.0
# Each write copies the whole file. A large file is written less often, which bounds the disk's load.
_BYTES_PER_SECOND: Bytes = MEGABYTE
_POLL: Seconds = 0.5


class Publisher:
    """One thread: writes at most every ten seconds, and once more at the end.

    The database holds the alphas to be written, also after a crash.
    """

    def __init__(
        self,
        *,
        store: "Callable[[], AlphaStore]",
        hopeful: HopefulFile,
        retry: StorageRetry,
        clock: Clock,
        stopping: threading.Event,
    ) -> None:
        self._open = store
        self._hopeful = hopeful
        self._retry = retry
        self._clock = clock
        self._stopping = stopping
        self._wanted = threading.Event()
        self._wanted.set()  # the last run may have left some
        self._writing = threading.Lock()
        self._took: Seconds = 0.0

    def notify(self) -> None:
        """Write soon: an alpha was kept."""
        self._wanted.set()

    def run(self) -> None:
        """Write as notified until the program ends."""
        try:
            while not self._stopping.is_set():
                if self._wanted.wait(_POLL):
                    with self._writing:
                        self._publish()
                    self._clock.wait(self._stopping, max(_INTERVAL, self._hopeful.size / _BYTES_PER_SECOND))
        except StoppingError:
            pass

    def finish(self, timeout: Seconds) -> None:
        """Write the remaining alphas if `timeout` suffices; else the next start writes them."""
        if not self._wanted.is_set() or not self._writing.acquire(timeout=timeout):
            return
        try:
            if self._took < timeout:
                self._publish()
        except StoppingError:
            pass
        finally:
            self._writing.release()

    def _publish(self) -> None:
        self._wanted.clear()
        begun = self._clock.monotonic()
        store = self._open()
        for alphas in iter(lambda: self._retry(store.unpublished), []):
            if not self._hopeful.add(alphas):
                break
            done = [one.id for one in alphas if one.id is not None]
            self._retry(partial(store.mark_published, done))
        self._took = self._clock.monotonic() - begun
