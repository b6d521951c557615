"""`python -m tests.processes.claimer URL OWNER LEASE_SECONDS`: an evaluation worker whose evaluator only counts.

It claims the candidates of owners without a lease until SIGTERM. Its log on stdout has an event for each result.
"""

import logging
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleet.config.keep_rule import parse_keep
from fleet.runtime.clock import SystemClock
from fleet.runtime.logging import configure, fields
from generator.catalogue import Kind, load_catalogue
from generator.catalogue.available import Scope
from generator.context import Shared
from generator.domain import AlphaFigures, Candidate, Result, Ruleset, Source
from generator.reporting.events import MiningEvents
from generator.rules_in_force import RulesInForce
from generator.storage.hopeful import HopefulFile
from generator.storage.store import AlphaStore
from generator.workers.evaluate import EvaluationWorker
from generator.workers.ingest import StorageRetry
from generator.workers.lease import Lease
from generator.workers.publish import Publisher

RULES = Ruleset(Source.SYNTHETIC, {"panel": "none", "data": "0"})
BATCH = 50
_log = logging.getLogger("tests.claimer")


class CountingEvaluator:
    """Gives every candidate the same figures, and logs each one that it evaluates."""

    source = RULES.source
    settings: Mapping[str, Any] = RULES.settings
    fields: Mapping[str, Kind] | None = None

    def __init__(self) -> None:
        self._batch: list[Candidate] = []

    @property
    def free(self) -> int:
        return BATCH - len(self._batch)

    def submit(self, candidates: Sequence[Candidate]) -> None:
        self._batch += candidates

    def results(self, timeout: float) -> Sequence[tuple[Candidate, Result]]:
        batch, self._batch = self._batch, []
        for one in batch:
            _log.info("claimer.evaluated", extra=fields(digest=one.digest, claim=one.claim))
        return [(one, AlphaFigures(1.0, 0.2, 0.3, 0.1, 0.1, 0.1, 5.0, 5.0, 10)) for one in batch]

    def close(self) -> None:
        return


def main(url: str, owner: str, seconds: str) -> None:
    configure()
    clock, stopping = SystemClock(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    _log.info("claimer.began")
    store = AlphaStore(url, owner=owner)
    events = MiningEvents(model="m", standin=False, synthetic=True, clock=clock)
    shared = Shared(
        clock=clock, scope=Scope(load_catalogue(), None), events=events, rules=RulesInForce(RULES)
    )
    retry = StorageRetry(stopping, clock, events)
    lease = Lease(store=lambda: store, retry=retry, clock=clock, stopping=stopping, seconds=float(seconds))
    publisher = Publisher(
        store=lambda: store,
        hopeful=HopefulFile(Path("/nonexistent")),
        retry=retry,
        clock=clock,
        stopping=stopping,
    )
    threading.Thread(target=lease.run, daemon=True).start()
    EvaluationWorker(
        shared,
        evaluator=CountingEvaluator,
        store=lambda: store,
        keep=parse_keep("fitness > 0.5"),
        publisher=publisher,
        retry=retry,
        stopping=stopping,
        lease=lease,
    ).run()
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
