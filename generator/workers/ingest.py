"""Intake: finished calls become rows, and what is new in their replies goes on to be evaluated."""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from fleet.runtime.clock import Clock
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from generator.context import Shared
from generator.domain import Ruleset
from generator.llm.candidates import Finished
from generator.reporting.events import Narrator

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore

_T = TypeVar("_T")
_RETRIES: tuple[Seconds, ...] = (0.2, 1.0, 5.0)
_CLEARED_EVERY: Seconds = 3600.0
_KEPT_TEXTS = 20_000
_KEPT_STANDINS = 50_000
_PATIENCE: Seconds = 60.0
_LEFT_OVER = 10_000
_BEST = 24

_log = logging.getLogger(__name__)


class StoppingError(Exception):
    """The program ends and the database could not take what was to be stored."""


class Patient:
    """Repeats what the database cannot take now until it can, or until the program ends."""

    def __init__(self, stopping: threading.Event, clock: Clock, narrator: Narrator) -> None:
        self._stopping = stopping
        self._clock = clock
        self._narrator = narrator

    def __call__(self, action: Callable[[], _T]) -> _T:
        """Return what the action returns once it succeeds; raise StoppingError if the program ends before."""
        from generator.storage.store import StorageError  # noqa: PLC0415  # SQLAlchemy, after the first call

        tries = 0
        while True:
            stopping = self._stopping.is_set()
            try:
                value = action()
            except StorageError as error:
                self._narrator.storage(error)
                if stopping:
                    raise StoppingError from error
                self._clock.wait(self._stopping, _RETRIES[min(tries, len(_RETRIES) - 1)])
                tries += 1
            else:
                self._narrator.storage(None)
                return value


class Intake:
    """One thread: stores calls, hands new candidates on. The database's first user."""

    def __init__(
        self,
        shared: Shared,
        *,
        store: "Callable[[], AlphaStore]",
        rules: Ruleset,
        patient: Patient,
        keep_calls: Seconds,
    ) -> None:
        self._shared = shared
        self._open = store
        self._rules = rules
        self._patient = patient
        self._keep_calls = keep_calls
        self._next_clearing = float("-inf")

    def run(self) -> None:
        """Take calls in until there are no more; what was finished is stored, unless the database is away."""
        try:
            store = self._open()
            self._patient(lambda: self._take_up(store))
            while not self._shared.finished.ended:
                finished = self._shared.finished.get(_PATIENCE)
                if finished is not None:
                    self._take(store, finished)
                    self._shared.finished.done()
                self._clear(store)
        except StoppingError:
            _log.error("intake.unstored", extra=fields(calls=self._shared.finished.outstanding))

    def _take_up(self, store: "AlphaStore") -> None:
        """Begin where the last run ended: what waits is evaluated first, what was best or failed is remembered."""
        for evaluated in store.best(self._rules, limit=_BEST):
            self._shared.notebook.note(evaluated)
        for expression, reason in reversed(store.failures(self._rules, limit=_BEST)):
            self._shared.notebook.failed(expression, reason)
        for candidate in store.pending(self._rules, limit=_LEFT_OVER):
            self._shared.waiting.put(candidate)

    def _take(self, store: "AlphaStore", finished: Finished) -> None:
        call, reply = finished.call, finished.reply
        fresh, tally = self._patient(
            lambda: store.record_call(
                call,
                reply.candidates,
                self._rules,
                invalid=len(reply.failures),
                repeated=reply.repeated,
            )
        )
        for failure in reply.failures:
            self._shared.notebook.failed(failure.expression, failure.reason)
        news = {candidate.digest for candidate in fresh}
        for candidate in reply.candidates:
            if candidate.digest not in news:
                self._shared.notebook.repeated(candidate.expression)
        self._shared.scoreboard.count(valid=tally.valid, invalid=tally.invalid, duplicates=tally.duplicates)
        self._shared.narrator.reply_read(call, tally)
        for candidate in fresh:
            self._shared.waiting.put(candidate)

    def _clear(self, store: "AlphaStore") -> None:
        """Once an hour, clear away what is old, in small batches."""
        now = self._shared.clock.monotonic()
        if now < self._next_clearing or self._shared.finished.outstanding:
            return
        cleared = self._patient(
            lambda: store.tidy(
                before=self._shared.clock.time() - self._keep_calls,
                texts=_KEPT_TEXTS,
                standins=_KEPT_STANDINS,
            )
        )
        if cleared == 0:
            self._next_clearing = now + _CLEARED_EVERY
