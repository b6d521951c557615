"""Evaluation worker: evaluates candidates, then stores, reports and publishes the results."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Protocol, TypeVar

from fleet.config.keep_rule import KeepRule
from fleet.runtime.errors import GeneratorError
from fleet.runtime.units import Seconds
from generator.config import Setup
from generator.context import Shared
from generator.domain import (
    AlphaFigures,
    Candidate,
    ComparesWithKept,
    Evaluated,
    Evaluator,
    ExpressionFault,
    Result,
    Ruleset,
)
from generator.evaluators.brain import BrainPlan, EvaluatorContext
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import Promotion
from generator.storage.hopeful import HopefulFile
from generator.workers.ingest import StoppingError, StorageRetry
from generator.workers.sign_flip import opposite, reversed_candidate

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore

MOST_FAILURES = 3


class SubmittedCandidates:
    """Candidates in the evaluator, and those to submit again after a failure; for one thread.

    After a failure candidates are submitted one by one, so that the one at fault is found.
    """

    def __init__(self) -> None:
        self._submitted: dict[str, Candidate] = {}
        self._resubmit: deque[Candidate] = deque()
        self._abandoned: list[Candidate] = []
        self._failures: Counter[str] = Counter()

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Record candidates that are submitted now."""
        self._submitted.update((one.digest, one) for one in candidates)

    def resolve(self, candidate: Candidate) -> bool:
        """Record a candidate's result; return False if it had one before."""
        self._failures.pop(candidate.digest, None)
        return self._submitted.pop(candidate.digest, None) is not None

    def requeue(self, *, blamed: bool) -> None:
        """Requeue all submitted candidates after a failure; with `blamed` they may be its cause."""
        submitted, self._submitted = list(self._submitted.values()), {}
        if blamed and len(submitted) == 1:
            digest = submitted[0].digest
            self._failures[digest] += 1
            if self._failures[digest] >= MOST_FAILURES:
                self._abandoned += submitted
                return
        self._resubmit.extend(submitted)

    @property
    def resubmitting(self) -> bool:
        """Return True if candidates wait to be submitted again; new ones have to wait."""
        return bool(self._resubmit)

    def next_again(self) -> Sequence[Candidate]:
        """Return the next candidate to submit again; nothing while the evaluator has one."""
        return [] if self._submitted or not self._resubmit else [self._resubmit.popleft()]

    def pop_abandoned(self) -> Candidate | None:
        """Return a candidate that failed alone MOST_FAILURES times; None if there is none."""
        return self._abandoned.pop() if self._abandoned else None


_T = TypeVar("_T")
_TIMEOUT: Seconds = 0.5
_RETRY_WAIT: Seconds = 10.0
_MOST_KEPT = 50

_log = logging.getLogger(__name__)


class CandidateQueue(Protocol):
    """Source of candidates."""

    def get(self, timeout: Seconds) -> Candidate | None:
        """Return the next candidate; None after `timeout`."""

    def put(self, candidate: Candidate) -> None:
        """Append a candidate derived from another one; its row exists."""

    def done(self) -> None:
        """Count a candidate as finished."""


class EvaluationWorker:
    """One thread: keeps the evaluator busy and stores its results.

    Candidates come from `queue`, by default from the ingest worker. Only the evaluator of the ingest worker's
    candidates decides which fields prompts offer.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        evaluator: Callable[[], Evaluator],
        store: "Callable[[], AlphaStore]",
        rules: Ruleset,
        keep: KeepRule,
        hopeful: HopefulFile,
        retry: StorageRetry,
        stopping: threading.Event,
        queue: CandidateQueue | None = None,
    ) -> None:
        self._shared = shared
        self._queue: CandidateQueue = shared.waiting if queue is None else queue
        self._decides_fields = queue is None
        self._load = evaluator
        self._open = store
        self._rules = rules
        self._keep = keep
        self._hopeful = hopeful
        self._retry = retry
        self._stopping = stopping
        self._storing = threading.Lock()
        self._submitted = SubmittedCandidates()

    def run(self) -> None:
        """Evaluate until the program ends; unfinished candidates stay pending in the database."""
        try:
            while not self._stopping.is_set():
                evaluator = self._evaluator()
                if evaluator is not None:
                    self._use(evaluator)
        except StoppingError:
            pass

    def _use(self, evaluator: Evaluator) -> None:
        """Use an evaluator until it fails or the program ends; the next one gets its unfinished candidates."""
        if self._decides_fields:
            self._shared.scope.restrict(evaluator.fields)
        try:
            self._publish()
            self._attempt(lambda: self._add_kept(evaluator))
            while not self._stopping.is_set() and self._attempt(lambda: self._step(evaluator)):
                pass
        finally:
            evaluator.close()

    def finish_writes(self, timeout: Seconds) -> bool:
        """Wait for the write in progress and allow no further one; return False after `timeout`.

        Candidates in the evaluator keep their pending rows; the next start evaluates them.
        """
        return self._storing.acquire(timeout=timeout)  # never released: no write begins after the stop

    def _evaluator(self) -> Evaluator | None:
        """Return the evaluator, after retries if needed; None if the program ends first."""
        evaluator = None
        while evaluator is None and not self._stopping.is_set():
            evaluator = self._attempt(self._load)
        return evaluator

    def _attempt(self, action: Callable[[], _T]) -> _T | None:
        """Return the action's result; None, after a wait, if the evaluator fails."""
        try:
            return action()
        except StoppingError:
            raise
        except GeneratorError as error:
            self._shared.events.evaluator_away(error)
        except Exception:  # noqa: BLE001  # foreign code on foreign data: logged and retried
            _log.exception("evaluator.failed")
        self._shared.clock.wait(self._stopping, _RETRY_WAIT)
        return None

    def _step(self, evaluator: Evaluator) -> bool:
        """Submit as many candidates as are accepted and store results; requeue all if the evaluator fails."""
        try:
            self._store_abandoned()
            batch = self._batch(evaluator.free)
            if batch:
                self._submitted.add(batch)
                evaluator.submit(batch)
            for candidate, result in evaluator.results(_TIMEOUT):
                self._store(evaluator, candidate, result)
        except Exception as error:
            self._submitted.requeue(blamed=not isinstance(error, GeneratorError | StoppingError))
            raise
        return True

    def _store(self, evaluator: Evaluator, candidate: Candidate, result: Result) -> None:
        with self._storing:
            kept = self._finish(candidate, result)
        if self._submitted.resolve(candidate):
            self._queue.done()
        if kept and isinstance(evaluator, ComparesWithKept):
            evaluator.add_kept([candidate])

    def _store_abandoned(self) -> None:
        """Store an abandoned candidate as failed, so that it blocks no other."""
        candidate = self._submitted.pop_abandoned()
        if candidate is not None:
            try:
                with self._storing:
                    self._finish(candidate, ExpressionFault("the evaluator failed on it each time"))
            finally:
                self._queue.done()

    def _batch(self, most: int) -> Sequence[Candidate]:
        """Return waiting candidates, at most `most`; wait briefly for the first."""
        if self._submitted.resubmitting:
            return self._submitted.next_again() if most > 0 else []
        batch: list[Candidate] = []
        while len(batch) < most:
            candidate = self._queue.get(0.0 if batch else _TIMEOUT)
            if candidate is None:
                break
            batch.append(candidate)
        return batch

    def _add_kept(self, evaluator: Evaluator) -> None:
        """Give the evaluator the best alphas kept before this start, to compare with."""
        if isinstance(evaluator, ComparesWithKept):
            best = self._retry(lambda: self._open().best(self._rules, limit=_MOST_KEPT))
            evaluator.add_kept([one.candidate for one in best if one.kept])

    def _finish(self, candidate: Candidate, result: Result) -> bool:
        """Store a result and then report it; return True if the alpha is kept.

        In this order every reported alpha is in the database.
        """
        performance = None if isinstance(result, ExpressionFault) else result
        if performance is not None and self._rules.source.real:
            self._try_opposite(candidate, performance)
        evaluated = Evaluated(
            candidate=candidate,
            source=self._rules.source,
            settings=self._rules.settings,
            performance=performance,
            error=result.reason if isinstance(result, ExpressionFault) else None,
            kept=performance is not None and self._keeps(performance),
            time=self._shared.clock.time(),
        )
        store = self._open()
        evaluated = self._retry(lambda: store.finish(evaluated, self._rules))
        self._shared.notebook.note(evaluated)
        self._shared.stats.count(evaluated=1, kept=int(evaluated.kept))
        self._shared.stats.alpha(evaluated)
        self._shared.events.evaluated(evaluated)
        if evaluated.kept and evaluated.source.real:
            self._publish()
        return evaluated.kept

    def _keeps(self, performance: AlphaFigures) -> bool:
        """Return True if the figures mean something and `[generator] keep` admits them."""
        return not performance.reason and self._keep.holds(performance.figures())

    def _try_opposite(self, candidate: Candidate, performance: AlphaFigures) -> None:
        """Queue the opposite sign of an alpha that would be kept with it.

        Its row is written before the alpha's own result, so that a crash in between loses nothing.
        """
        if not performance.fitness < 0 or not self._keeps(opposite(performance)):
            return
        opposed = reversed_candidate(candidate, self._shared.scope.catalogue)
        if opposed is None:
            return
        from generator.storage.additions import add_candidate  # noqa: PLC0415  # SQLAlchemy, after the first call

        store, now = self._open(), self._shared.clock.time()
        if self._retry(lambda: add_candidate(store, opposed, self._rules, now)):
            self._queue.put(opposed)

    def _publish(self) -> None:
        """Add unpublished alphas of the database to the hopeful file, also those left by a crash."""
        store = self._open()
        for alphas in iter(lambda: self._retry(store.unpublished), []):
            if not self._hopeful.add(alphas):
                return
            done = [one.id for one in alphas if one.id is not None]
            self._retry(lambda ids=done: store.mark_published(ids))  # type: ignore[misc]  # a bound default


def evaluation_workers(
    setup: Setup,
    shared: Shared,
    *,
    store: "Callable[[], AlphaStore]",
    retry: StorageRetry,
    stopping: threading.Event,
    rng: Random,
) -> Sequence[EvaluationWorker]:
    """Return the evaluation workers, not started; the first evaluates the ingest worker's candidates."""
    plan = setup.plan
    make = partial(
        EvaluationWorker,
        shared,
        store=store,
        keep=setup.keep,
        hopeful=HopefulFile(setup.home.hopeful),
        retry=retry,
        stopping=stopping,
    )
    if isinstance(plan, LocalPlan):
        return [make(evaluator=plan.load, rules=plan.rules)]
    context = EvaluatorContext(store, retry, shared.clock, rng, stopping, shared.scope, shared.stats)
    if isinstance(plan, BrainPlan):
        return [make(evaluator=partial(plan.load, context), rules=plan.rules)]
    return [
        make(evaluator=plan.local.load, rules=plan.local.rules),
        make(
            evaluator=partial(plan.brain.load, context),
            rules=plan.brain.rules,
            queue=Promotion(plan, context),
        ),
    ]
