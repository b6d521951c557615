"""The pending candidates of an evaluation worker: loaded at the start and after a lost lease, claimed from dead owners."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from fleet.runtime.clock import Clock
from fleet.runtime.units import Seconds
from generator.domain import Candidate, Ruleset, Source
from generator.workers.ingest import StorageRetry
from generator.workers.lease import Lease
from generator.workers.submitted import SubmittedCandidates

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.storage.store import AlphaStore

_MOST_PENDING = 10_000


class CandidateQueue(Protocol):
    """Source of candidates."""

    def get(self, timeout: Seconds) -> Candidate | None:
        """Return the next candidate; None after `timeout`."""

    def put(self, candidate: Candidate) -> None:
        """Append a candidate derived from another one; its row exists."""

    def put_first(self, candidates: Sequence[Candidate]) -> None:
        """Queue candidates before all others; their rows exist."""

    def reload(self, items: Iterable[Candidate]) -> None:
        """Replace the queued candidates."""

    def done(self) -> None:
        """Count a candidate as finished."""


class PendingCandidates:
    """Fills a worker's queue from the database; for one thread."""

    def __init__(
        self,
        queue: CandidateQueue,
        submitted: SubmittedCandidates,
        *,
        store: "Callable[[], AlphaStore]",
        retry: StorageRetry,
        lease: Lease,
        clock: Clock,
    ) -> None:
        self._queue = queue
        self._submitted = submitted
        self._open = store
        self._retry = retry
        self._lease = lease
        self._clock = clock
        self._losses = 0
        self._next_claim = self._next_look = float("-inf")

    @property
    def more(self) -> bool:
        """Return True if owners without a lease may have candidates: the last claim found some, or is an interval old."""
        return self._clock.monotonic() >= self._next_claim

    @property
    def lost(self) -> bool:
        """Return True if the lease ran out since the last load: others may have claimed queued candidates."""
        return self._losses != self._lease.losses

    def load(self, rules: Ruleset) -> None:
        """Queue this owner's pending candidates.

        Waiting and submitted ones are among them, or belong to another owner by now.
        """
        self._lease.renew()
        self._losses = self._lease.losses
        pending = self._retry(lambda: self._open().pending(rules, limit=_MOST_PENDING))
        for _ in range(self._submitted.drop()):
            self._queue.done()
        self._queue.reload(pending)

    def claim(self, rules: Ruleset, most: int) -> None:
        """Queue candidates of owners without a lease; after an empty claim, claim again at the next renewal.

        At most `most` of them are new. Those that BRAIN simulates already come first, beyond `most`.
        """
        from generator.storage.leases import claim  # noqa: PLC0415  # SQLAlchemy, after the first call

        now, room = self._clock.monotonic(), most > 0
        if now < (self._next_claim if room else self._next_look) or not (
            room or rules.source is Source.BRAIN
        ):
            return
        found = self._retry(lambda: claim(self._open(), rules, limit=max(0, most)))
        self._queue.put_first(found)
        if not found:
            self._next_look = now + self._lease.interval
            # Without room no new ones were claimed: claim them once there is room.
            self._next_claim = self._next_look if room else self._next_claim
