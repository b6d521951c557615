"""Evaluation worker: evaluates candidates, then stores, reports and publishes the results."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, TypeVar

from fleet.config.keep_rule import KeepRule
from fleet.runtime.errors import GeneratorError
from fleet.runtime.logging import fields, with_sentence
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import printable
from generator.config import Setup
from generator.context import Shared
from generator.domain import (
    AlphaFigures,
    Candidate,
    Evaluated,
    Evaluator,
    ExpressionFault,
    NoticesNewData,
    Result,
    Ruleset,
    Source,
)
from generator.evaluators.brain import BrainPlan, EvaluatorContext
from generator.evaluators.fanout import load_evaluator
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import Promotion
from generator.pool.checks import known_correlation
from generator.storage.errors import RefusedRowError
from generator.workers.breeding import Breeder
from generator.workers.ingest import StoppingError, StorageRetry
from generator.workers.lease import Lease
from generator.workers.pending import CandidateQueue, PendingCandidates
from generator.workers.pool import Judgement, PoolKeeper, StoredSplits
from generator.workers.publish import Publisher
from generator.workers.sign_flip import opposite, reversed_candidate
from generator.workers.submitted import SubmittedCandidates

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore

_T = TypeVar("_T")
_TIMEOUT: Seconds = 0.5
_RETRY_WAIT: Seconds = 10.0
_FAILURES = 24
_RESULTS = 1000
_DATA_INTERVAL: Seconds = 60.0

_log = logging.getLogger(__name__)


class EvaluationWorker:
    """One thread: keeps the evaluator busy and stores its results.

    Candidates come from `queue`, by default from the ingest worker. Only the evaluator of the ingest worker's
    candidates decides on the fields in prompts and the ruleset of new candidates.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        evaluator: Callable[[], Evaluator],
        store: "Callable[[], AlphaStore]",
        keep: KeepRule,
        publisher: Publisher,
        retry: StorageRetry,
        stopping: threading.Event,
        lease: Lease,
        queue: CandidateQueue | None = None,
        breeder: Breeder | None = None,
    ) -> None:
        self._shared = shared
        self._queue: CandidateQueue = shared.waiting if queue is None else queue
        self._decides = queue is None
        self._next = self._queue.get if breeder is None else breeder.get
        self._load = evaluator
        self._open = store
        self._rules: Ruleset | None = None
        self._keep = keep
        self._publisher = publisher
        self._retry = retry
        self._stopping = stopping
        self._storing = threading.Lock()
        self._submitted = SubmittedCandidates()
        self._pool = PoolKeeper(
            shared.pool,
            store=store,
            retry=retry,
            clock=shared.clock,
            catalogue=lambda: shared.scope.catalogue,
        )
        self._pending = PendingCandidates(
            self._queue, self._submitted, store=store, retry=retry, lease=lease, clock=shared.clock
        )
        self._next_look = 0.0

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
        try:
            going = self._attempt(lambda: self._begin(evaluator))
            while going and not self._stopping.is_set():
                going = self._attempt(lambda: self._step(evaluator)) and not self._has_new_data(evaluator)
        finally:
            evaluator.close()

    def _begin(self, evaluator: Evaluator) -> bool:
        """Prepare for an evaluator: its fields, its ruleset and the ruleset's pool come into force."""
        rules = _rules_of(evaluator)
        if self._decides:
            self._shared.scope.restrict(evaluator.fields)
            if rules != self._rules:
                self._take_over(rules)
        self._rules = rules
        self._next_look = self._shared.clock.monotonic() + _DATA_INTERVAL
        return True

    def _take_over(self, rules: Ruleset) -> None:
        """Put a ruleset in force: queue its pending candidates, and fill the notebook from its results.

        On a panel, candidates and kept alphas of older rulesets become its candidates. BRAIN's are left alone,
        because simulations are counted.
        """
        from generator.storage.rulesets import adopt  # noqa: PLC0415  # SQLAlchemy, after the first call

        store, again = self._open(), 0
        with self._shared.rules.replacing(rules):
            if rules.source is not Source.BRAIN:
                now = self._shared.clock.time()
                dropped, again = self._retry(lambda: adopt(store, rules, now))
                self._shared.stats.count(duplicates=dropped)
            self._pending.load(rules)
        if again:
            self._shared.events.rules_changed(again)
        self._pool.begin(rules)
        notebook = self._shared.notebook
        notebook.show(self._shared.pool.pool)
        notebook.restore_results(self._retry(lambda: store.theme_results(rules, limit=_RESULTS)))
        for expression, reason in reversed(self._retry(lambda: store.failures(rules, limit=_FAILURES))):
            notebook.failed(expression, reason)

    def _load_anew(self, rules: Ruleset) -> None:
        """Load the pending candidates after the lease ran out, as a restart does."""
        with self._shared.rules.replacing(rules) if self._decides else nullcontext():
            self._pending.load(rules)

    def _has_new_data(self, evaluator: Evaluator) -> bool:
        """Return True if the evaluator's data changed, checked once a minute."""
        if not isinstance(evaluator, NoticesNewData) or self._shared.clock.monotonic() < self._next_look:
            return False
        self._next_look = self._shared.clock.monotonic() + _DATA_INTERVAL
        return evaluator.has_new_data()

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
            self._shared.events.evaluator(self, error)
        except Exception as error:  # noqa: BLE001  # foreign code on foreign data: logged and retried
            _log.exception("evaluator.failed")
            reason = f"the evaluator failed: {printable(f'{type(error).__name__}: {error}')}"
            self._shared.events.evaluator(self, GeneratorError(reason, hint="See log/generator.log."))
        self._shared.clock.wait(self._stopping, _RETRY_WAIT)
        return None

    def _step(self, evaluator: Evaluator) -> bool:
        """Submit as many candidates as are accepted and store results; requeue all if the evaluator fails."""
        try:
            rules, free = _rules_of(evaluator), evaluator.free
            if self._pending.lost:
                self._load_anew(rules)
            if self._decides and self._pool.look():
                self._shared.notebook.show(self._shared.pool.pool)
            self._store_abandoned(rules)
            batch = self._batch(free)
            if not batch:
                self._pending.claim(rules, free)
            else:
                self._submitted.add(batch)
                evaluator.submit(batch)
            for candidate, result in evaluator.results(_TIMEOUT):
                self._store(evaluator, candidate, result)
            self._shared.events.evaluator(self, None)
        except Exception as error:
            self._submitted.requeue(blamed=not isinstance(error, GeneratorError | StoppingError))
            raise
        return True

    def _store(self, evaluator: Evaluator, candidate: Candidate, result: Result) -> None:
        with self._storing:
            self._settle(_rules_of(evaluator), candidate, result)
        if self._submitted.resolve(candidate):
            self._queue.done()

    def _store_abandoned(self, rules: Ruleset) -> None:
        """Store an abandoned candidate as failed: it then blocks no other."""
        candidate = self._submitted.pop_abandoned()
        if candidate is not None:
            try:
                with self._storing:
                    self._settle(rules, candidate, ExpressionFault("the evaluator failed on it each time"))
            finally:
                self._queue.done()

    def _batch(self, most: int) -> Sequence[Candidate]:
        """Return waiting candidates, at most `most`; wait briefly for the first."""
        if self._submitted.resubmitting:
            return self._submitted.next_again() if most > 0 else []
        batch: list[Candidate] = []
        while len(batch) < most:
            # Rows that wait in the database come before variants.
            take = self._queue.get if self._pending.more else self._next
            candidate = take(0.0 if batch or self._pending.more else _TIMEOUT)
            if candidate is None:
                break
            batch.append(candidate)
        return batch

    def _settle(self, rules: Ruleset, candidate: Candidate, result: Result) -> None:
        """Finish a candidate: with a fault if the database refuses its result, without a row if it refuses both."""
        for outcome, left in (
            (result, "It is stored as failed."),
            (ExpressionFault("the database refuses its result"), "It is left out."),
        ):
            try:
                self._finish(rules, candidate, outcome)
            except RefusedRowError as error:
                sentence = f"an evaluated expression: {error.message}. {left}"
                values = {"expression": candidate.expression, "error": error.message}
                _log.error("evaluation.refused", extra=with_sentence(sentence, **values))
            else:
                return

    def _finish(self, rules: Ruleset, candidate: Candidate, result: Result) -> None:
        """Store a result and then report it: every reported alpha is in the database."""
        if not isinstance(result, ExpressionFault) and rules.source.real:
            self._try_opposite(rules, candidate, result)
        evaluated = self._stored(rules, candidate, result)
        if evaluated is None:
            _log.info("evaluation.superseded", extra=fields(expression=candidate.expression))
            return
        if self._decides:
            self._pool.settle(evaluated)
            self._shared.notebook.show(self._shared.pool.pool)
        self._shared.notebook.note(evaluated)
        self._shared.stats.alpha(evaluated)
        self._shared.events.evaluated(evaluated)
        if evaluated.kept and evaluated.source.real:
            self._publisher.notify()

    def _stored(self, rules: Ruleset, candidate: Candidate, result: Result) -> Evaluated | None:
        """Judge and store a result; judge it again if others changed the pool meanwhile. Return None for a refused one."""
        from generator.storage.pool import PoolMovedError  # noqa: PLC0415  # SQLAlchemy, after the first call

        store = self._open()
        while True:
            evaluated = self._evaluated(rules, candidate, result)
            members = self._pool.known if self._decides else None
            try:
                return self._retry(lambda: store.finish(evaluated, rules, members=members))  # noqa: B023  # called at once
            except PoolMovedError:
                self._pool.begin(rules)

    def _evaluated(self, rules: Ruleset, candidate: Candidate, result: Result) -> Evaluated:
        """Return a candidate's result, judged by the pool and by `[generator] keep`.

        Only the evaluator of the ingest worker's candidates has a pool. In a screen, BRAIN confirms the members of the
        panel's pool.
        """
        blank = Evaluated(candidate, rules.source, rules.settings, time=self._shared.clock.time())
        if isinstance(result, ExpressionFault):
            return replace(blank, error=result.reason)
        judged = (
            self._pool.judge(candidate, result)
            if self._decides
            else Judgement(result, self_correlation=known_correlation(result.checks))
        )
        admission = judged.admission
        close = admission is not None and bool(admission.rival)
        return replace(
            blank,
            performance=judged.figures,
            kept=not result.reason and not close and self._keep.holds(self._pool.metrics(judged)),
            admission=admission,
            self_correlation=judged.self_correlation,
            correlations=judged.correlations,
        )

    def _try_opposite(self, rules: Ruleset, candidate: Candidate, performance: AlphaFigures) -> None:
        """Queue the opposite sign of an alpha that may be kept with it.

        Only the train figures of the opposite are known; each other metric of `keep` may turn out good. Its row is
        written before the alpha's own result: a crash in between loses nothing.
        """
        if performance.reason or not performance.fitness < 0:
            return
        if not self._keep.holds(opposite(performance).figures(), unknown=True):
            return
        opposed = reversed_candidate(candidate, self._shared.scope.catalogue)
        if opposed is None:
            return
        from generator.storage.additions import add_candidate  # noqa: PLC0415  # SQLAlchemy, after the first call

        store, now = self._open(), self._shared.clock.time()
        if self._retry(lambda: add_candidate(store, opposed, rules, now)):
            self._queue.put(opposed)


def _rules_of(evaluator: Evaluator) -> Ruleset:
    return Ruleset(evaluator.source, evaluator.settings)


def evaluation_workers(
    setup: Setup,
    shared: Shared,
    *,
    store: "Callable[[], AlphaStore]",
    publisher: Publisher,
    retry: StorageRetry,
    stopping: threading.Event,
    rng: Random,
    breeder: Breeder,
    lease: Lease,
) -> Sequence[EvaluationWorker]:
    """Return the evaluation workers, not started; the first evaluates the ingest worker's candidates, and variants."""
    plan = setup.plan
    make = partial(
        EvaluationWorker,
        shared,
        store=store,
        keep=setup.keep,
        publisher=publisher,
        retry=retry,
        stopping=stopping,
        lease=lease,
    )
    splits = StoredSplits(store, retry, shared.clock)
    load = partial(load_evaluator, splits=splits, clock=shared.clock, report=shared.stats.cluster)
    if isinstance(plan, LocalPlan):
        return [make(evaluator=partial(load, plan), breeder=breeder)]
    context = EvaluatorContext(
        store, retry, shared.clock, rng, stopping, shared.scope, shared.stats, shared.rules
    )
    if isinstance(plan, BrainPlan):
        return [make(evaluator=partial(plan.load, context))]
    return [
        make(evaluator=partial(load, plan.local), breeder=breeder),
        make(evaluator=partial(plan.brain.load, context), queue=Promotion(plan, context)),
    ]
