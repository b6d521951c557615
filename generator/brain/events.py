"""Log of BRAIN: simulations, limits and failures."""

import logging

from fleet.runtime.logging import fields, with_sentence
from fleet.runtime.units import Seconds, show_duration
from generator.brain.errors import (
    BrainAwayError,
    BrainError,
    BrainLimitError,
    BrainQuotaError,
    PersonaError,
)
from generator.brain.responses import Ended

_log = logging.getLogger(__name__)


class BrainEvents:
    """Reports a failure of BRAIN when it begins, changes and ends, and logs every simulation."""

    def __init__(self) -> None:
        self._trouble = self._mend = ""
        self._budget_used_up = False

    @property
    def trouble(self) -> str:
        """Return the present failure's message, empty if BRAIN works."""
        return self._trouble

    @property
    def mend(self) -> str:
        """Return the remedy of the present failure, empty if there is none to name."""
        return self._mend

    def failed(self, error: BrainError, wait: Seconds, failures: int) -> None:
        """Report a failure, unless it is reported already or may be over at the next try."""
        values = {"error": error.message, "wait_s": round(wait, 3)}
        passing = isinstance(error, BrainAwayError | BrainLimitError) and failures == 1
        known = self._trouble
        if not passing:
            self._trouble, self._mend = error.message, error.hint
        if passing or known == error.message:
            _log.info("brain.trouble", extra=fields(**values))
            return
        sentence = f"{error.message}. {error.hint or f'Next try in {show_duration(wait)}.'}"
        event = "brain.persona" if isinstance(error, PersonaError) else "brain.trouble"
        _log.warning(event, extra=with_sentence(sentence, **values))

    def skipped(self, error: BrainError) -> None:
        """Log a failure at the address of one simulation or alpha."""
        _log.info("brain.passed_over", extra=fields(error=error.message))

    def limited(self, error: BrainError, wait: Seconds, *, running: int) -> None:
        """Log that BRAIN accepts no more simulations now; report a used-up quota."""
        values = {"error": error.message, "wait_s": round(wait, 3), "running": running}
        if isinstance(error, BrainQuotaError):
            sentence = f"{error.message}; next try in {show_duration(wait)}"
            _log.warning("brain.quota", extra=with_sentence(sentence, **values))
        else:
            _log.info("brain.limited", extra=fields(**values))

    def recovered(self) -> None:
        """Report that BRAIN answers again, if it failed before."""
        if self._trouble:
            self._trouble = self._mend = ""
            _log.info("brain.well", extra=with_sentence("BRAIN answers again"))

    def budget(self, left: int | None) -> None:
        """Report once when our own daily budget is used up, and once when some of it is free again."""
        used_up = left == 0
        if used_up != self._budget_used_up:
            self._budget_used_up = used_up
            sentence = (
                "the daily budget of BRAIN simulations is used up"
                if used_up
                else "the daily budget allows BRAIN simulations again"
            )
            _log.info("brain.budget", extra=with_sentence(sentence, left=left))

    def resumed(self, count: int) -> None:
        """Report how many simulations of the last run are resumed."""
        if count:
            sentence = f"resuming {count} BRAIN simulation(s) of the last run"
            _log.info("brain.resumed", extra=with_sentence(sentence, count=count))

    def sent(self, row: int, location: str, expression: str) -> None:
        """Log that BRAIN accepted a simulation."""
        _log.info("simulation.sent", extra=fields(id=row, location=location, expression=expression))

    def ended(self, row: int, ended: Ended) -> None:
        """Log the end of a simulation."""
        values = {
            "status": ended.status.value,
            "alpha": ended.alpha or None,
            "message": ended.message or None,
        }
        _log.info("simulation.ended", extra=fields(id=row, **values))

    def lost(self, row: int, expression: str) -> None:
        """Log that a request without an answer left no trace on BRAIN."""
        _log.warning("simulation.lost", extra=fields(id=row, expression=expression))
