"""What happens between us and BRAIN, as log lines."""

import logging
from collections.abc import Sequence

from fleet.runtime.logging import fields, tell
from fleet.runtime.units import Seconds, show_duration
from generator.brain.errors import (
    BrainAwayError,
    BrainError,
    BrainLimitError,
    BrainQuotaError,
    PersonaError,
)
from generator.brain.jobs import Job

_log = logging.getLogger(__name__)


class BrainEvents:
    """Tells of trouble when it begins, changes and ends, and logs every simulation."""

    def __init__(self) -> None:
        self._trouble = ""
        self._budget_told = False

    @property
    def trouble(self) -> str:
        """Return the trouble that there is, nothing if there is none."""
        return self._trouble

    def troubled(self, error: BrainError, wait: Seconds, failures: int) -> None:
        """Tell of trouble, unless it is the one that was told already, or may be over at the next try."""
        values = {"error": error.message, "wait_s": round(wait, 3)}
        passing = isinstance(error, BrainAwayError | BrainLimitError) and failures == 1
        known = self._trouble
        self._trouble = known if passing else error.message
        if passing or known == error.message:
            _log.info("brain.trouble", extra=fields(**values))
            return
        sentence = f"{error.message}. {error.hint or f'Next try in {show_duration(wait)}.'}"
        event = "brain.persona" if isinstance(error, PersonaError) else "brain.trouble"
        _log.warning(event, extra=tell(sentence, **values))

    def passed_over(self, error: BrainError, wait: Seconds) -> None:
        """Log that BRAIN fails at one simulation or alpha, while it answers for others."""
        _log.info("brain.passed_over", extra=fields(error=error.message, wait_s=round(wait, 3)))

    def limited(self, error: BrainError, wait: Seconds, *, running: int) -> None:
        """Log that BRAIN takes no more simulations now; a whole day's end is told."""
        values = {"error": error.message, "wait_s": round(wait, 3), "running": running}
        if isinstance(error, BrainQuotaError):
            sentence = f"{error.message}; going on in {show_duration(wait)}"
            _log.warning("brain.quota", extra=tell(sentence, **values))
        else:
            _log.info("brain.limited", extra=fields(**values))

    def well(self) -> None:
        """Tell that BRAIN answers again, if it did not."""
        if self._trouble:
            self._trouble = ""
            _log.info("brain.well", extra=tell("BRAIN answers again"))

    def budget(self, left: int | None) -> None:
        """Tell once when the day's own budget is used up, and once when there is some again."""
        used_up = left == 0
        if used_up != self._budget_told:
            self._budget_told = used_up
            sentence = (
                "the day's budget of BRAIN simulations is used up" if used_up else "there is budget again"
            )
            _log.info("brain.budget", extra=tell(sentence, left=left))

    def resumed(self, count: int) -> None:
        """Tell of simulations that the last run left on their way."""
        if count:
            sentence = f"picking up {count} BRAIN simulation(s) of the last run"
            _log.info("brain.resumed", extra=tell(sentence, count=count))

    def sent(self, jobs: Sequence[Job], location: str) -> None:
        """Log that BRAIN took a simulation."""
        for job in jobs:
            values = fields(id=job.row, location=location, expression=job.candidate.expression)
            _log.info("simulation.sent", extra=values)

    def ended(self, job: Job, status: str, message: str) -> None:
        """Log how a simulation ended."""
        values = fields(id=job.row, status=status, alpha=job.alpha or None, message=message or None)
        _log.info("simulation.ended", extra=values)

    def lost(self, job: Job) -> None:
        """Log that a request whose answer nobody saw left no trace on BRAIN."""
        _log.warning("simulation.lost", extra=fields(id=job.row, expression=job.candidate.expression))
