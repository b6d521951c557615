"""What the threads of mining share: two queues, what they know together, and who tells of it."""

from dataclasses import dataclass, field

from fleet.runtime.clock import Clock
from generator.catalogue.available import Scope
from generator.domain import Candidate
from generator.llm.candidates import Finished
from generator.llm.feedback import Notebook
from generator.reporting.events import Narrator
from generator.reporting.stats import Scoreboard
from generator.work_queue import Handover


@dataclass(frozen=True, slots=True)
class Shared:
    """One of each; every part of it is safe for any thread."""

    clock: Clock
    scope: Scope
    narrator: Narrator
    finished: Handover[Finished] = field(default_factory=Handover)
    waiting: Handover[Candidate] = field(default_factory=Handover)
    notebook: Notebook = field(default_factory=Notebook)
    scoreboard: Scoreboard = field(default_factory=Scoreboard)
    most_calls: int = 16
    most_candidates: int = 16

    def room(self) -> bool:
        """Tell whether another call may begin: what it brings has to be stored and evaluated."""
        return self.finished.outstanding < self.most_calls and self.waiting.outstanding < self.most_candidates
