"""Log of mining: a line for every event, and a sentence for people for the important ones.

Sentences about a stand-in's output say *stand-in*, those about figures of the made-up panel *synthetic panel*.
Sentences about alphas are rate-limited; the log has a line for every alpha.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from fleet.runtime.clock import Clock
from fleet.runtime.errors import FleetError
from fleet.runtime.logging import fields, with_sentence
from fleet.runtime.units import Seconds, show_duration
from fleet.runtime.untrusted import printable
from generator.domain import CallRecord, CallVerdict, Evaluated, Reason, Source, Streak, Tally

_log = logging.getLogger(__name__)


_ALPHA_INTERVAL: Seconds = 1.0
_TEXT_LIMIT = 110


class MiningEvents:
    """Logs the events of a run; thread-safe."""

    def __init__(self, *, model: str, standin: bool, synthetic: bool, clock: Clock) -> None:
        self._model = model
        self._clock = clock
        self._standin = standin
        labels = ["stand-in"] * standin + ["synthetic panel"] * synthetic
        self._label = f"{', '.join(labels)}: " if labels else ""
        self._failing: CallVerdict | None = None
        self._unusable: Reason | None = None
        self._paused = False
        self._storage_failure: dict[str, Any] | None = None
        self._evaluator_failures: dict[object, dict[str, Any]] = {}
        self._unshown = 0
        self._next_alpha = float("-inf")
        self._lock = threading.Lock()

    def started(self, **values: object) -> None:
        """Report the start of mining."""
        server = "the stand-in (no real model)" if self._standin else f"Ollama at {values.get('url')}"
        _log.info(
            "generator.started", extra=with_sentence(f"mining with {self._model}, asking {server}", **values)
        )

    def call_ended(
        self, call: CallRecord, verdict: CallVerdict, *, failures: Callable[[], int], wait: Seconds
    ) -> None:
        """Log a finished call. Report each memory error, other failures when their kind changes, and their end.

        `failures` returns the number of failures in a row. It is called under the lock: threads may report calls in
        another order than their ends. A call that the number already includes is not reported.
        """
        values = {
            "id": call.id,
            "model": call.model,
            "status": call.status,
            "seconds": round(call.seconds, 3),
            "tokens": call.reply_tokens,
            "verdict": verdict.name.lower(),
            "error": call.error,
        }
        with self._lock:
            before, count = self._failing, failures()
            news = call.answered is (count == 0)
            if news:
                self._failing = None if call.answered else verdict
        if call.answered:
            sentence = f"{self._prefix}{call.model} answers again" if before and news else None
            _log.info(
                "call.answered", extra=with_sentence(sentence, **values) if sentence else fields(**values)
            )
            return
        sentence = self._failure_sentence(call, verdict, count, wait)
        news = verdict is CallVerdict.MEMORY or (news and verdict is not before)
        _log.warning("call.failed", extra=with_sentence(sentence, **values) if news else fields(**values))

    def call_cut(self, call: CallRecord) -> None:
        """Log a call that a pause has cut."""
        seconds = round(call.seconds, 3)
        _log.info("call.cut", extra=fields(id=call.id, model=call.model, seconds=seconds))

    def replies(self, current: Callable[[], Streak]) -> None:
        """Report a streak of unusable replies: when it is long enough, at each new kind of reason, and its end.

        `current` is called under the lock. A value read before the lock could be older than the one reported last.
        """
        with self._lock:
            streak = current()
            before, now = self._unusable, streak.reason if streak.several else None
            self._unusable = now
            if now is None:
                if before is not None:
                    sentence = f"{self._prefix}{self._model} gives usable replies again"
                    _log.info("replies.usable", extra=with_sentence(sentence, model=self._model))
            elif before is None or before.kind != now.kind:
                sentence = (
                    f"{self._prefix}{self._model} gave nothing usable {streak.calls} times in a row: {now.text}."
                    f" {now.mend} Calls become rarer until a reply is usable"
                )
                row = {"calls": streak.calls, "kind": now.kind, "reason": now.text, "mend": now.mend}
                _log.error("replies.unusable", extra=with_sentence(sentence, model=self._model, **row))

    def _failure_sentence(self, call: CallRecord, verdict: CallVerdict, failures: int, wait: Seconds) -> str:
        error = printable((call.error or "").partition("\n")[0], _TEXT_LIMIT)
        if verdict is CallVerdict.MEMORY:
            count = f", {failures} in a row" if failures > 1 else ""
            return (
                f"{self._prefix}{call.model} ran out of GPU memory{count}; next try in {show_duration(wait)}"
            )
        if verdict is CallVerdict.MISSING:
            return f"{self._prefix}{call.model} is not in Ollama; waiting for the monitor to fetch it or to switch"
        if verdict is CallVerdict.AWAY:
            return f"{self._prefix}{error}; trying again"
        return f"{self._prefix}{call.model} failed: {error}; trying again"

    @property
    def _prefix(self) -> str:
        return "stand-in: " if self._standin else ""

    def schemas_refused(self) -> None:
        """Report that the server refuses schemas, and that replies are plain text from now on."""
        sentence = f"{self._prefix}Ollama refuses JSON schemas; asking for plain text instead"
        _log.warning("call.schemas_refused", extra=with_sentence(sentence))

    def reply_read(self, call: CallRecord, tally: Tally) -> None:
        """Log a stored call with the counts of its reply."""
        values = fields(id=call.id, valid=tally.valid, invalid=tally.invalid, duplicates=tally.duplicates)
        _log.info("call.stored", extra=values)

    def evaluated(self, evaluated: Evaluated) -> None:
        """Log a stored evaluation, and report its alpha unless the last report is too recent."""
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
        _log.info("evaluation.done", extra=with_sentence(sentence, **row) if sentence else fields(**row))

    def _alpha_sentence(self, evaluated: Evaluated) -> str | None:
        """Return the sentence about an alpha, None if the last one is too recent."""
        now = self._clock.monotonic()
        with self._lock:
            if now < self._next_alpha:
                self._unshown += 1
                return None
            unshown, self._unshown = self._unshown, 0
            self._next_alpha = now + _ALPHA_INTERVAL
        figures = evaluated.performance.figures() if evaluated.performance else {}
        sharpe, fitness = figures.get("sharpe"), figures.get("fitness")
        numbers = f"Sharpe {_figure(sharpe)}, fitness {_figure(fitness)}"
        kept = ", kept" if evaluated.kept else ""
        if evaluated.performance is not None and evaluated.performance.reason:
            kept = f" ({evaluated.performance.reason})"
        more = f" (and {unshown} more)" if unshown else ""
        prefix = "BRAIN: " if evaluated.source is Source.BRAIN else self._label
        return f"{prefix}{numbers}{kept}: {evaluated.candidate.expression[:_TEXT_LIMIT]}{more}"

    def pause(self, why: str | None) -> None:
        """Report the start of a pause with its reason, and its end with None."""
        if (why is not None) == self._paused:
            return
        self._paused = why is not None
        if why is None:
            _log.info("generator.resumed", extra=with_sentence("mining resumes"))
        else:
            _log.info(
                "generator.paused", extra=with_sentence(f"mining pauses: {why or 'on request'}", why=why)
            )

    def storage(self, error: FleetError | None) -> None:
        """Report once that the database fails, and once that it works again (None)."""
        with self._lock:
            if (error is None) == (self._storage_failure is None):
                return
            self._storage_failure = None if error is None else self._failure(error)
        if error is None:
            _log.info("storage.back", extra=with_sentence("the database can be written again"))
        else:
            sentence = f"{error.message}. Finished calls wait in memory. {error.hint}"
            _log.error("storage.away", extra=with_sentence(sentence, error=error.message))

    @property
    def storage_failure(self) -> dict[str, Any] | None:
        """Return start, reason and hint of the database's failure, None while it works."""
        with self._lock:
            return self._storage_failure

    def rules_changed(self, count: int) -> None:
        """Report how many kept alphas are evaluated again, because the data or the settings changed."""
        sentence = f"{self._label}data or settings changed: {count} kept alpha(s) are evaluated again before new ones"
        _log.info("evaluations.again", extra=with_sentence(sentence, count=count))

    def evaluator(self, worker: object, error: FleetError | None) -> None:
        """Report each new reason why a worker's evaluator fails or cannot be set up, and once that it works (None)."""
        with self._lock:
            known = self._evaluator_failures.pop(worker, None)
            if error is not None:
                row = self._failure(error)
                self._evaluator_failures[worker] = {**row, "since": (known or row)["since"]}
        if error is not None and (known is None or known["reason"] != error.message):
            _log.error(
                "evaluator.away", extra=with_sentence(f"{error.message}. {error.hint}", error=error.message)
            )
        elif error is None and known is not None:
            _log.info("evaluator.back", extra=with_sentence("the evaluator works again"))

    @property
    def evaluator_failure(self) -> dict[str, Any] | None:
        """Return start, reason and hint of an evaluator's failure, None while all work."""
        with self._lock:
            return next(iter(self._evaluator_failures.values()), None)

    def _failure(self, error: FleetError) -> dict[str, Any]:
        return {"since": self._clock.time(), "reason": error.message, "hint": error.hint}

    def ended(self, **values: object) -> None:
        """Log the end of mining."""
        _log.info("generator.ended", extra=fields(**values))


def _figure(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "none"
