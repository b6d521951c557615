"""When the database counts as away: it is silent, or refuses a part of what is asked."""

import threading

from generator.reporting.events import MiningEvents
from generator.storage.errors import StorageError
from generator.workers.ingest import StorageRetry
from tests.reference.manual_clock import StillClock


def test_a_silent_database_is_reported_until_it_answers() -> None:
    clock = StillClock()
    events = MiningEvents(model="m", standin=False, synthetic=False, clock=clock)
    retry = StorageRetry(threading.Event(), clock, events)
    asked, answer = threading.Event(), threading.Event()

    def action() -> None:
        asked.set()
        answer.wait(60)

    clock.now += 1000.0  # nothing is asked, and nothing is missed
    retry.look()
    worker = threading.Thread(target=lambda: retry(action))
    worker.start()
    assert asked.wait(60)
    clock.now += 20.0
    retry(lambda: None)  # another thread's answer counts
    clock.now += 20.0
    retry.look()
    assert events.storage_failure is None
    clock.now += 20.0
    retry.look()
    failure = events.storage_failure
    assert failure is not None
    assert "no answer for 30 s" in failure["reason"]
    answer.set()
    worker.join(60)
    retry.look()
    assert events.storage_failure is None


def test_a_database_is_away_until_no_action_fails() -> None:
    clock = StillClock()
    events = MiningEvents(model="m", standin=False, synthetic=False, clock=clock)
    retry = StorageRetry(threading.Event(), clock, events)
    refused, allowed = threading.Event(), threading.Event()

    def write() -> None:
        if not refused.is_set():
            refused.set()
            raise StorageError("permission denied")
        allowed.wait(60)

    writer = threading.Thread(target=lambda: retry(write))
    writer.start()
    assert refused.wait(60)
    while events.storage_failure is None:
        writer.join(0.01)
    retry(lambda: None)  # another thread reads
    assert events.storage_failure is not None
    allowed.set()
    writer.join(60)
    assert events.storage_failure is None
