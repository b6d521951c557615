"""The end of a run: what was answered is stored, however late its thread queues it."""

import threading
import time
from pathlib import Path
from random import Random

from fleet.config.schema import PanelSettings
from fleet.runtime.clock import SystemClock
from generator.catalogue import load_catalogue
from generator.catalogue.available import Scope
from generator.context import Shared
from generator.domain import CallRecord, CallVerdict, Source
from generator.evaluators.local import LocalPlan
from generator.llm.candidates import FinishedCall, Reply
from generator.llm.throttle import Throttle
from generator.reporting.events import MiningEvents
from generator.rules_in_force import RulesInForce
from generator.service import Pipeline


def test_an_answer_whose_thread_is_slow_is_stored_at_the_end(tmp_path: Path) -> None:
    clock = SystemClock()
    shared = Shared(
        clock=clock,
        scope=Scope(load_catalogue(), None),
        events=MiningEvents(model="m", standin=False, synthetic=True, clock=clock),
        rules=RulesInForce(LocalPlan(PanelSettings(), Source.SYNTHETIC).rules),
    )
    throttle = Throttle(clock=clock, most=1, pause_file=tmp_path / "pause.json", rng=Random(0))
    pipeline = Pipeline(shared, throttle=throttle, stopping=threading.Event(), wake=lambda: None)
    flight = throttle.enter()
    assert flight is not None
    stored: list[str] = []

    def call() -> None:
        time.sleep(0.5)  # reading a reply on a busy machine, or asking the server's version
        shared.finished.put(FinishedCall(CallRecord("c1", 1.0, 2.0, "m", 0, 0, "p", 200), Reply()))
        throttle.leave(flight, CallVerdict.ANSWERED)

    def ingest() -> None:
        while not shared.finished.ended:
            if (finished := shared.finished.get(5.0)) is not None:
                stored.append(finished.call.id)
                shared.finished.done()

    for run in (call, ingest):
        pipeline.start(run.__name__, run)
    assert pipeline.stop(1.7, keep=lambda: False)
    assert stored == ["c1"]
