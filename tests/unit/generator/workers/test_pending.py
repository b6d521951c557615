"""Candidates claimed from an owner without a lease: what BRAIN simulates already comes first, with no slot free too."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from generator.domain import CallRecord, Candidate, Ruleset, Source
from generator.reporting.events import MiningEvents
from generator.storage.simulations import SimulationTable
from generator.storage.store import AlphaStore
from generator.work_queue import WorkQueue
from generator.workers.ingest import StorageRetry
from generator.workers.lease import Lease
from generator.workers.pending import PendingCandidates
from generator.workers.submitted import SubmittedCandidates
from tests.reference.manual_clock import StillClock

BRAIN = Ruleset(Source.BRAIN, {"region": "USA"})
PANEL = Ruleset(Source.PANEL, {"panel": "mine.csv"})


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[AlphaStore, AlphaStore]]:
    both = [AlphaStore(f"sqlite:///{tmp_path}/alphas.db", owner=name) for name in ("here", "gone")]
    yield both[0], both[1]
    for one in both:
        one.close()


class Claiming:
    """This fleet's part, beside another that has no lease; `candidates` are its own, queued."""

    def __init__(self, here: AlphaStore, *candidates: str) -> None:
        self.clock = clock = StillClock()
        stopping = threading.Event()
        events = MiningEvents(model="m", standin=False, synthetic=False, clock=clock)
        retry = StorageRetry(stopping, clock, events)
        lease = Lease(store=lambda: here, retry=retry, clock=clock, stopping=stopping)
        self.interval = lease.interval
        self.queue: WorkQueue[Candidate] = WorkQueue()
        for one in candidates:
            self.queue.put(Candidate(one, one, one))
        self.pending = PendingCandidates(
            self.queue,
            SubmittedCandidates(),
            store=lambda: here,
            retry=retry,
            lease=lease,
            clock=clock,
        )

    def claimed(self, rules: Ruleset, most: int) -> list[str]:
        """Claim; return what is queued then."""
        self.pending.claim(rules, most)
        found = iter(lambda: self.queue.get(0.0), None)
        return [one.digest for one in found]


def leave(gone: AlphaStore, rules: Ruleset, *names: str, sent: str = "") -> None:
    """Write pending candidates of an owner that is gone; one of them was sent to BRAIN."""
    call = CallRecord("call", 1.0, 2.0, "m", 0, 0, "p", 200)
    candidates = [Candidate(one, one, one, call.id) for one in names]
    gone.record_call(call, candidates, rules)
    if sent:
        table = SimulationTable(gone, rules)
        table.submit([one for one in candidates if one.digest == sent], 5.0)
        table.send(table.open(), account="me", slots=1, budget=0, now=10.0)


def test_with_all_slots_held_by_an_owner_that_is_gone_its_simulations_are_taken_up_first(
    stores: tuple[AlphaStore, AlphaStore],
) -> None:
    here, gone = stores
    leave(gone, BRAIN, "unsent", "sent", sent="sent")
    assert Claiming(here, "mine").claimed(BRAIN, 0) == ["sent", "mine"]
    assert [one.digest for one in SimulationTable(here, BRAIN).open()] == ["sent"]


@pytest.mark.parametrize("rules", [BRAIN, PANEL])
def test_without_room_nothing_new_is_claimed_and_with_room_at_once(
    stores: tuple[AlphaStore, AlphaStore], rules: Ruleset
) -> None:
    here, gone = stores
    leave(gone, rules, "a", "b", "c")
    claiming = Claiming(here)
    assert claiming.claimed(rules, 0) == []
    assert claiming.claimed(rules, 2) == ["a", "b"]
    assert claiming.pending.more
    assert claiming.claimed(rules, 0) == []
    assert claiming.pending.more
    assert claiming.claimed(rules, 2) == ["c"]
    assert claiming.claimed(rules, 2) == []
    assert not claiming.pending.more


def test_candidates_of_the_gone_are_looked_for_again_though_variants_could_be_made(
    stores: tuple[AlphaStore, AlphaStore],
) -> None:
    here, gone = stores
    claiming = Claiming(here)
    assert claiming.pending.more
    assert claiming.claimed(PANEL, 2) == []
    assert not claiming.pending.more
    leave(gone, PANEL, "a")
    claiming.clock.now += claiming.interval
    assert claiming.pending.more
    assert claiming.claimed(PANEL, 2) == ["a"]
