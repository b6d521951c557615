"""Objects that the mining threads share: two queues, the pool, the feedback for prompts, events and counts."""

from dataclasses import dataclass, field

from fleet.runtime.clock import Clock
from generator.catalogue.available import Scope
from generator.domain import Candidate
from generator.llm.candidates import FinishedCall
from generator.llm.feedback import Notebook
from generator.pool.model import CurrentPool
from generator.reporting.events import MiningEvents
from generator.reporting.stats import RunStats
from generator.rules_in_force import RulesInForce
from generator.work_queue import WorkQueue


@dataclass(frozen=True, slots=True)
class Shared:
    """One instance of each; all are thread-safe.

    `finished` holds calls to store, `waiting` candidates to evaluate. `most_calls` and `most_candidates` bound
    both together with the items in work.
    """

    clock: Clock
    scope: Scope
    events: MiningEvents
    rules: RulesInForce
    finished: WorkQueue[FinishedCall] = field(default_factory=WorkQueue)
    waiting: WorkQueue[Candidate] = field(default_factory=WorkQueue)
    notebook: Notebook = field(default_factory=Notebook)
    pool: CurrentPool = field(default_factory=CurrentPool)
    stats: RunStats = field(default_factory=RunStats)
    most_calls: int = 16
    most_candidates: int = 16

    def has_capacity(self) -> bool:
        """Return True if another call may begin: its reply has to be stored and evaluated."""
        return self.finished.outstanding < self.most_calls and self.waiting.outstanding < self.most_candidates
