"""What mining says of itself: a log line for each thing that happened, a sentence for who watches.

Whatever a real model did not produce is called *stand-in*, and figures of the made-up panel *synthetic*. The
sentences come at a bounded rate; the log has them all.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from fleet.runtime.clock import Clock
from fleet.runtime.errors import FleetError
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
from generator.domain import CallRecord, Evaluated, Source, Tally
from generator.llm.throttle import CallVerdict, Pace, Reason, Streak

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


_ALPHAS_PER_SECOND = 1.0
_SHOWN = 110


class Narrator:
    """Turns what happens into log lines; safe for any thread."""

    def __init__(self, *, model: str, standin: bool, synthetic: bool, clock: Clock) -> None:
        self._model = model
        self._clock = clock
        self._standin = standin
        labels = ["stand-in"] * standin + ["synthetic panel"] * synthetic
        self._label = f"{', '.join(labels)}: " if labels else ""
        self._trouble: CallVerdict | None = None
        self._unusable: Reason | None = None
        self._paused = False
        self._storage_away: dict[str, Any] | None = None
        self._silent = 0
        self._next_alpha = float("-inf")
        self._lock = threading.Lock()

    def started(self, **values: object) -> None:
        """Tell that mining begins."""
        what = "the stand-in (no real model)" if self._standin else f"Ollama at {values.get('url')}"
        _log.info("generator.started", extra=tell(f"mining with {self._model}, asking {what}", **values))

    def call_ended(self, call: CallRecord, verdict: CallVerdict, pace: Pace, wait: float) -> None:
        """Tell of a finished call; of trouble once, of each memory failure."""
        values = {
            "id": call.id,
            "model": call.model,
            "status": call.status,
            "seconds": round(call.ended - call.started, 3),
            "tokens": call.reply_tokens,
            "verdict": verdict.name.lower(),
            "error": call.error,
        }
        with self._lock:
            before, self._trouble = self._trouble, None if call.answered else verdict
        if call.answered:
            sentence = f"{self._who}{call.model} answers again" if before else None
            _log.info("call.answered", extra=tell(sentence, **values) if sentence else fields(**values))
            return
        sentence = self._trouble_sentence(call, verdict, pace, wait)
        new = verdict is CallVerdict.MEMORY or verdict is not before
        _log.warning("call.failed", extra=tell(sentence, **values) if new else fields(**values))

    def replies(self, current: Callable[[], Streak]) -> None:
        """Report unusable replies: once they are several, at each new kind of reason, and at their end.

        The streak is asked for under the lock: a thread that comes late does not report an older one.
        """
        with self._lock:
            streak = current()
            before, now = self._unusable, streak.reason if streak.several else None
            self._unusable = now
            if now is None:
                if before is not None:
                    sentence = f"{self._who}{self._model} gives usable replies again"
                    _log.info("replies.usable", extra=tell(sentence, model=self._model))
            elif before is None or before.kind != now.kind:
                sentence = (
                    f"{self._who}{self._model} gave nothing usable {streak.calls} times in a row: {now.text}."
                    f" {now.mend} It is asked ever less often until a reply is usable"
                )
                row = {"calls": streak.calls, "kind": now.kind, "reason": now.text, "mend": now.mend}
                _log.error("replies.unusable", extra=tell(sentence, model=self._model, **row))

    def _trouble_sentence(self, call: CallRecord, verdict: CallVerdict, pace: Pace, wait: float) -> str:
        error = (call.error or "").splitlines()[0][:_SHOWN] if call.error else ""
        if verdict is CallVerdict.MEMORY:
            count = f", {pace.failures} in a row" if pace.failures > 1 else ""
            return f"{self._who}{call.model} ran out of GPU memory{count}; next try in {show_duration(wait)}"
        if verdict is CallVerdict.MISSING:
            return (
                f"{self._who}{call.model} is not in Ollama; waiting for the monitor to fetch it or to switch"
            )
        if verdict is CallVerdict.AWAY:
            return f"{self._who}{error}; trying again"
        return f"{self._who}{call.model} failed: {error}; trying again"

    @property
    def _who(self) -> str:
        return "stand-in: " if self._standin else ""

    def schemas_refused(self) -> None:
        """Tell that the server takes no schema, so that free text is asked for."""
        sentence = f"{self._who}this Ollama takes no JSON schema as format; asking for plain text instead"
        _log.warning("call.schemas_refused", extra=tell(sentence))

    def reply_read(self, call: CallRecord, tally: Tally) -> None:
        """Log that a call is stored."""
        values = fields(id=call.id, valid=tally.valid, invalid=tally.invalid, duplicates=tally.duplicates)
        _log.info("call.stored", extra=values)

    def evaluated(self, evaluated: Evaluated) -> None:
        """Tell of an evaluation that is stored."""
        one = evaluated.candidate
        if evaluated.performance is None:
            values = fields(id=evaluated.id, expression=one.expression, error=evaluated.error)
            _log.info("evaluation.failed", extra=values)
            return
        figures = evaluated.performance.figures()
        row = {
            "id": evaluated.id,
            "digest": one.digest,
            "source": evaluated.source.value,
            "sharpe": figures["sharpe"],
            "fitness": figures["fitness"],
            "turnover": figures["turnover"],
            "kept": evaluated.kept,
            "expression": one.expression,
            "reason": evaluated.performance.reason or None,
        }
        sentence = self._alpha_sentence(evaluated)
        _log.info("evaluation.done", extra=tell(sentence, **row) if sentence else fields(**row))

    def _alpha_sentence(self, evaluated: Evaluated) -> str | None:
        """Return the sentence of an alpha, None where the last one is too recent."""
        now = self._clock.monotonic()
        with self._lock:
            if now < self._next_alpha:
                self._silent += 1
                return None
            silent, self._silent = self._silent, 0
            self._next_alpha = now + 1.0 / _ALPHAS_PER_SECOND
        figures = evaluated.performance.figures() if evaluated.performance else {}
        sharpe, fitness = figures.get("sharpe"), figures.get("fitness")
        numbers = f"Sharpe {_figure(sharpe)}, fitness {_figure(fitness)}"
        kept = ", kept" if evaluated.kept else ""
        if evaluated.performance is not None and evaluated.performance.reason:
            kept = f" ({evaluated.performance.reason})"
        more = f" (and {silent} more)" if silent else ""
        who = "BRAIN: " if evaluated.source is Source.BRAIN else self._label
        return f"{who}{numbers}{kept}: {evaluated.candidate.expression[:_SHOWN]}{more}"

    def pause(self, why: str | None) -> None:
        """Tell when a pause begins (with its reason) and when it ends (None)."""
        if (why is not None) == self._paused:
            return
        self._paused = why is not None
        if why is None:
            _log.info("generator.resumed", extra=tell("mining goes on"))
        else:
            _log.info("generator.paused", extra=tell(f"mining pauses: {why or 'asked to'}", why=why))

    def storage(self, error: FleetError | None) -> None:
        """Tell once that the database cannot be used, and once that it can again."""
        with self._lock:
            if (error is None) == (self._storage_away is None):
                return
            self._storage_away = (
                None
                if error is None
                else {"since": self._clock.time(), "reason": error.message, "hint": error.hint}
            )
        if error is None:
            _log.info("storage.back", extra=tell("the database can be written again"))
        else:
            sentence = f"{error.message}. What is finished is kept in memory. {error.hint}"
            _log.error("storage.away", extra=tell(sentence, error=error.message))

    @property
    def storage_away(self) -> dict[str, Any] | None:
        """Return since when and why the database cannot be used, None while it can."""
        with self._lock:
            return self._storage_away

    def evaluator_away(self, error: FleetError) -> None:
        """Tell that the evaluator cannot be set up now."""
        _log.error("evaluator.away", extra=tell(f"{error.message}. {error.hint}", error=error.message))

    def ended(self, **values: object) -> None:
        """Log that mining has ended."""
        _log.info("generator.ended", extra=fields(**values))


def _figure(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "none"
