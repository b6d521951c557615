"""Ingest worker: stores finished calls and queues their new candidates for evaluation."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from fleet.runtime.backoff import backoff_step
from fleet.runtime.clock import Clock
from fleet.runtime.errors import GeneratorError
from fleet.runtime.logging import fields, with_sentence
from fleet.runtime.units import Seconds
from generator.context import Shared
from generator.domain import CallRecord, Candidate, Ruleset, Tally
from generator.llm.candidates import FinishedCall, read_reply
from generator.reporting.events import MiningEvents
from generator.storage.errors import RefusedRowError, StorageError
from generator.workers.unstored import UnstoredCalls

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore
    from generator.workers.breeding import Breeder

_T = TypeVar("_T")
_RETRIES: tuple[Seconds, ...] = (0.2, 1.0, 5.0)
# Longer than a server keeps the locks of a process that is stopped within a transaction.
_SILENCE: Seconds = 30.0
_CLEANUP_INTERVAL: Seconds = 3600.0
_KEPT_TEXTS = 20_000
_KEPT_STANDINS = 50_000
_KEPT_BRED = 100_000
_TIMEOUT: Seconds = 60.0

_log = logging.getLogger(__name__)


class StoppingError(Exception):
    """The program ends, and the database did not accept a last write."""


class StorageRetry:
    """Retries a database action until it succeeds or the program ends."""

    def __init__(self, stopping: threading.Event, clock: Clock, events: MiningEvents) -> None:
        self._stopping = stopping
        self._clock = clock
        self._events = events
        self._lock = threading.Lock()
        self._failing: set[object] = set()
        self._waiting = 0
        self._heard = 0.0

    def look(self) -> None:
        """Report a database without an answer for long: a frozen server gives no error."""
        with self._lock:
            silence = self._clock.monotonic() - self._heard if self._waiting else 0.0
        if silence > _SILENCE:
            hint = "Check its server and the way there; mining resumes by itself."
            self._events.storage(
                GeneratorError(f"the database gives no answer for {_SILENCE:.0f} s", hint=hint)
            )

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Record the time of the database's last answer, or of the first request."""
        with self._lock:
            self._heard = self._heard if self._waiting else self._clock.monotonic()
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._heard = self._clock.monotonic()
                self._waiting -= 1

    def __call__(self, action: Callable[[], _T]) -> _T:
        """Return the action's result once it succeeds; raise StoppingError if the program ends first.

        The database is back once no action fails: it may allow some actions and refuse others. A RefusedRowError of the
        action is raised at once.
        """
        this = object()
        try:
            value = self._tried(action, this)
        finally:
            self._failing.discard(this)
        if not self._failing:
            self._events.storage(None)
        return value

    def _tried(self, action: Callable[[], _T], this: object) -> _T:
        failures = 0
        while True:
            stopping = self._stopping.is_set()  # read first: one try is made after the stop
            try:
                with self._asking():
                    return action()
            except StorageError as error:
                self._failing.add(this)
                self._events.storage(error)
                if stopping:
                    raise StoppingError from error
                failures += 1
                self._clock.wait(self._stopping, backoff_step(_RETRIES, failures))


class IngestWorker:
    """One thread: stores calls and queues new candidates. The first user of the database."""

    def __init__(
        self,
        shared: Shared,
        *,
        store: "Callable[[], AlphaStore]",
        retry: StorageRetry,
        keep_calls: Seconds,
        breeder: "Breeder | None" = None,
        unstored: UnstoredCalls | None = None,
    ) -> None:
        self._shared = shared
        self._open = store
        self._retry = retry
        self._keep_calls = keep_calls
        self._breeder = breeder
        self._unstored = unstored
        self._current: FinishedCall | None = None
        self._next_cleanup = float("-inf")

    def run(self) -> None:
        """Store calls until the queue is closed and empty; first those that an earlier program left."""
        try:
            store = self._open()
            self._store_left(store)
            while not self._shared.finished.ended:
                self._current = finished = self._shared.finished.get(_TIMEOUT)
                if finished is not None:
                    self._store(store, finished)
                    self._current = None
                    self._shared.finished.done()
                self._clean_up(store)
        except StoppingError:
            _log.error("intake.unstored", extra=fields(calls=self._shared.finished.outstanding))

    @property
    def current(self) -> FinishedCall | None:
        """Return the call that is being stored, None between two calls."""
        return self._current

    def _store_left(self, store: "AlphaStore") -> None:
        from generator.storage.additions import has_call  # noqa: PLC0415  # SQLAlchemy, after the first call

        for call in () if self._unstored is None else self._unstored.read():
            try:
                known = self._retry(partial(has_call, store, call.id))
            except RefusedRowError as error:
                _report_refused(call, error, "It is left out.")
                continue
            if not known:
                self._store(store, FinishedCall(call, read_reply(call, self._shared.scope.catalogue)))
        if self._unstored is not None:
            self._unstored.clear()

    def _store(self, store: "AlphaStore", finished: FinishedCall) -> None:
        call, reply = finished.call, finished.reply
        self._shared.notebook.wrote(call)
        with self._shared.rules.held() as rules:
            fresh, tally = self._recorded(store, finished, rules)
            for candidate in fresh:
                self._shared.waiting.put(candidate)
        if self._breeder is not None:
            self._breeder.wrote(len(fresh))
        for failure in reply.failures:
            self._shared.notebook.failed(failure.expression, failure.reason)
        new = {candidate.digest for candidate in fresh}
        for candidate in reply.candidates:
            if candidate.digest not in new:
                self._shared.notebook.repeated(candidate.expression)
        self._shared.stats.reply(call.model, tally)
        self._shared.events.reply_read(call, tally)

    def _recorded(
        self, store: "AlphaStore", finished: FinishedCall, rules: Ruleset
    ) -> tuple[Sequence[Candidate], Tally]:
        """Store a call; if the database refuses it, without its texts, and if it refuses that too, not at all."""
        call, reply = finished.call, finished.reply
        invalid, repeated = len(reply.failures), reply.repeated
        for form, left in (
            (call, "It is stored without its texts."),
            (_without_texts(call), "It is left out."),
        ):
            try:
                return self._retry(
                    partial(
                        store.record_call, form, reply.candidates, rules, invalid=invalid, repeated=repeated
                    )
                )
            except RefusedRowError as error:
                _report_refused(call, error, left)
        return (), Tally()

    def _clean_up(self, store: "AlphaStore") -> None:
        """Clean up old rows once an hour, in small batches while no call waits."""
        now = self._shared.clock.monotonic()
        if now < self._next_cleanup or self._shared.finished.outstanding:
            return
        cleaned = self._retry(
            lambda: store.clean_up(
                before=self._shared.clock.time() - self._keep_calls,
                texts=_KEPT_TEXTS,
                standins=_KEPT_STANDINS,
                bred=_KEPT_BRED,
            )
        )
        if cleaned == 0:
            self._next_cleanup = now + _CLEANUP_INTERVAL


def _without_texts(call: CallRecord) -> CallRecord:
    """Return the call without prompt and reply; a failed one stays failed."""
    return replace(call, prompt="", reply="", error=None if call.error is None else "not stored")


def _report_refused(call: CallRecord, error: RefusedRowError, left: str) -> None:
    sentence = f"call {call.id}: {error.message}. {left} Prompt and reply are in log/calls.log."
    _log.error("intake.refused", extra=with_sentence(sentence, id=call.id, error=error.message))
