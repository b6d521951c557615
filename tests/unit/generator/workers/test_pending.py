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


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[AlphaStore, AlphaStore]]:
    both = [AlphaStore(f"sqlite:///{tmp_path}/alphas.db", owner=name) for name in ("here", "gone")]
    yield both[0], both[1]
    for one in both:
        one.close()


def test_with_all_slots_held_by_an_owner_that_is_gone_its_simulations_are_taken_up_first(
    stores: tuple[AlphaStore, AlphaStore],
) -> None:
    here, gone = stores
    call = CallRecord("call", 1.0, 2.0, "m", 0, 0, "p", 200)
    candidates = [Candidate(one, one, one, call.id) for one in ("unsent", "sent")]
    gone.record_call(call, candidates, BRAIN)
    table = SimulationTable(gone, BRAIN)
    table.submit(candidates[1:], 5.0)
    table.send(table.open(), account="me", slots=1, budget=0, now=10.0)

    clock, stopping = StillClock(), threading.Event()
    retry = StorageRetry(
        stopping, clock, MiningEvents(model="m", standin=False, synthetic=False, clock=clock)
    )
    queue: WorkQueue[Candidate] = WorkQueue()
    queue.put(Candidate("mine", "mine", "mine"))
    pending = PendingCandidates(
        queue,
        SubmittedCandidates(),
        store=lambda: here,
        retry=retry,
        lease=Lease(store=lambda: here, retry=retry, clock=clock, stopping=stopping),
        clock=clock,
    )
    pending.claim(BRAIN, 0)
    assert queue.outstanding == 2
    assert [one.digest for one in (queue.get(0.0), queue.get(0.0)) if one] == ["sent", "mine"]
    assert [one.digest for one in SimulationTable(here, BRAIN).open()] == ["sent"]
