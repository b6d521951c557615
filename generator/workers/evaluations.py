"""The evaluations of a run, by its plan: one, or in a screen two that stand one behind the other."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from generator.config import Setup
from generator.context import Shared
from generator.evaluators.brain import BrainPlan, Tools
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import Promotion
from generator.storage.hopeful import HopefulFile
from generator.workers.evaluate import Evaluation
from generator.workers.ingest import Patient

if TYPE_CHECKING:
    from generator.storage.store import Store


def evaluations_of(
    setup: Setup,
    shared: Shared,
    *,
    store: "Callable[[], Store]",
    patient: Patient,
    stopping: threading.Event,
    chance: Random,
) -> Sequence[Evaluation]:
    """Return what evaluates, not started; the first one takes what intake brings."""
    plan = setup.plan
    make = partial(
        Evaluation,
        shared,
        store=store,
        keep=setup.keep,
        hopeful=HopefulFile(setup.home.hopeful),
        patient=patient,
        stopping=stopping,
    )
    if isinstance(plan, LocalPlan):
        return [make(evaluator=plan.load, rules=plan.rules)]
    tools = Tools(store, patient, shared.clock, chance, stopping, shared.scope, shared.scoreboard)
    if isinstance(plan, BrainPlan):
        return [make(evaluator=partial(plan.load, tools), rules=plan.rules)]
    return [
        make(evaluator=plan.local.load, rules=plan.local.rules),
        make(evaluator=partial(plan.brain.load, tools), rules=plan.brain.rules, queue=Promotion(plan, tools)),
    ]
