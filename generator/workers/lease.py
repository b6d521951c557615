"""The lease on this owner's candidates, renewed at a third of its length. After a loss the workers load them anew."""

import logging
import threading
from typing import TYPE_CHECKING

from fleet.runtime.clock import Clock
from fleet.runtime.logging import with_sentence
from fleet.runtime.units import Seconds
from generator.workers.ingest import StoppingError, StorageRetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.storage.store import AlphaStore

LEASE: Seconds = 60.0
_log = logging.getLogger(__name__)


class Lease:
    """Renews the owner's lease; thread-safe.

    `losses` counts the times that it ran out while the program was running.
    """

    def __init__(
        self,
        *,
        store: "Callable[[], AlphaStore]",
        retry: StorageRetry,
        clock: Clock,
        stopping: threading.Event,
        seconds: Seconds = LEASE,
    ) -> None:
        self._store = store
        self._retry = retry
        self._clock = clock
        self._stopping = stopping
        self._seconds = seconds
        self._held = False
        self._lock = threading.Lock()
        self.losses = 0

    @property
    def interval(self) -> Seconds:
        """Return the time between two renewals."""
        return self._seconds / 3.0

    def run(self) -> None:
        """Renew until the program ends. The lease then runs out by itself, unless the next start renews it."""
        try:
            while not self._stopping.is_set():
                self.renew()
                self._clock.wait(self._stopping, self.interval)
        except StoppingError:
            pass

    def renew(self) -> None:
        """Renew the lease; count a loss."""
        from generator.storage.leases import renew  # noqa: PLC0415  # SQLAlchemy, after the first call

        with self._lock:
            kept = self._retry(lambda: renew(self._store(), self._seconds))
            if self._held and not kept:
                self.losses += 1
                sentence = "the lease on the pending candidates ran out: they are loaded anew"
                _log.warning("lease.lost", extra=with_sentence(sentence, losses=self.losses))
            self._held = True
