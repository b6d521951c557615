"""Evaluation: what is new is evaluated, stored, told, and published if it is kept."""

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
    Evaluated,
    Evaluator,
    ExpressionFault,
    Remembering,
    Result,
    Ruleset,
)
from generator.evaluators.brain import BrainPlan, Tools
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import Promotion
from generator.storage.hopeful import HopefulFile
from generator.workers.ingest import Patient, StoppingError
from generator.workers.sign_flip import opposite, turned_candidate

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore
if TYPE_CHECKING:
    from generator.storage.store import AlphaStore

MOST_FAILURES = 3


class Taken:
    """Used by one thread. After a failure candidates go in one by one, so that the one at fault shows."""

    def __init__(self) -> None:
        self._out: dict[str, Candidate] = {}
        self._again: deque[Candidate] = deque()
        self._hopeless: list[Candidate] = []
        self._failures: Counter[str] = Counter()

    def give(self, candidates: Sequence[Candidate]) -> None:
        """Note that the evaluator is given these."""
        self._out.update((one.digest, one) for one in candidates)

    def answered(self, candidate: Candidate) -> bool:
        """Note what became of one; return False if it was answered before."""
        self._failures.pop(candidate.digest, None)
        return self._out.pop(candidate.digest, None) is not None

    def take_back(self, *, blamed: bool) -> None:
        """Take back what the evaluator has, since it failed; `blamed`: whatever it has may be the cause."""
        out, self._out = list(self._out.values()), {}
        if blamed and len(out) == 1:
            self._failures[out[0].digest] += 1
            if self._failures[out[0].digest] >= MOST_FAILURES:
                self._hopeless += out
                return
        self._again.extend(out)

    @property
    def careful(self) -> bool:
        """Tell whether some wait to go in once more: nothing new goes in before."""
        return bool(self._again)

    def again(self) -> Sequence[Candidate]:
        """Return the next one to go in once more; nothing while the evaluator still has one."""
        return [] if self._out or not self._again else [self._again.popleft()]

    def hopeless(self) -> Candidate | None:
        """Return one that the evaluator failed at each time, alone; None if there is none."""
        return self._hopeless.pop() if self._hopeless else None


_T = TypeVar("_T")
_PATIENCE: Seconds = 0.5
_TRY_AGAIN: Seconds = 10.0
_REMINDED = 50

_log = logging.getLogger(__name__)


class Queue(Protocol):
    """Where candidates come from."""

    def get(self, patience: Seconds) -> Candidate | None:
        """Return the next one; None if none comes in time."""

    def put(self, candidate: Candidate) -> None:
        """Hand over one that came of another, and is a row already."""

    def done(self) -> None:
        """Say that one needs nothing more."""


class EvaluationWorker:
    """One thread: keeps the evaluator busy and stores what it finds.

    `queue` is where its candidates come from, if not from intake; only the evaluation of what intake brings
    says which fields are offered.
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
        patient: Patient,
        stopping: threading.Event,
        queue: Queue | None = None,
    ) -> None:
        self._shared = shared
        self._queue: Queue = shared.waiting if queue is None else queue
        self._offers = queue is None
        self._load = evaluator
        self._open = store
        self._rules = rules
        self._keep = keep
        self._hopeful = hopeful
        self._patient = patient
        self._stopping = stopping
        self._storing = threading.Lock()
        self._taken = Taken()

    def run(self) -> None:
        """Evaluate until the program ends; what is not done by then stays pending in the database."""
        try:
            while not self._stopping.is_set():
                evaluator = self._evaluator()
                if evaluator is not None:
                    self._use(evaluator)
        except StoppingError:
            pass

    def _use(self, evaluator: Evaluator) -> None:
        """Work with an evaluator until the program ends or it fails: the next one then goes on with what it had."""
        if self._offers:
            self._shared.scope.restrict(evaluator.fields)
        try:
            self._publish()
            self._trying(lambda: self._remind(evaluator))
            while not self._stopping.is_set() and self._trying(lambda: self._step(evaluator)):
                pass
        finally:
            evaluator.close()

    def settle(self, patience: Seconds) -> bool:
        """Let what is just being stored be stored, and nothing after it; return whether that is so in time.

        What is being evaluated is left where it is: its row is pending, and the next start takes it up.
        """
        return self._storing.acquire(timeout=patience)

    def _evaluator(self) -> Evaluator | None:
        """Set the evaluator up, as often as it takes; None if the program ends before."""
        evaluator = None
        while evaluator is None and not self._stopping.is_set():
            evaluator = self._trying(self._load)
        return evaluator

    def _trying(self, action: Callable[[], _T]) -> _T | None:
        """Return what the action returns; None, after a wait, if the evaluator failed at it."""
        try:
            return action()
        except StoppingError:
            raise
        except GeneratorError as error:
            self._shared.narrator.evaluator_away(error)
        except Exception:  # noqa: BLE001  # others' code on others' data: told, and tried again
            _log.exception("evaluator.failed")
        self._shared.clock.wait(self._stopping, _TRY_AGAIN)
        return None

    def _step(self, evaluator: Evaluator) -> bool:
        """Give the evaluator what it has room for and store what is done; what it has is kept if it fails."""
        try:
            self._give_up()
            batch = self._batch(evaluator.free)
            if batch:
                self._taken.give(batch)
                evaluator.submit(batch)
            for candidate, result in evaluator.results(_PATIENCE):
                self._store(evaluator, candidate, result)
        except Exception as error:
            self._taken.take_back(blamed=not isinstance(error, GeneratorError | StoppingError))
            raise
        return True

    def _store(self, evaluator: Evaluator, candidate: Candidate, result: Result) -> None:
        with self._storing:
            kept = self._finish(candidate, result)
        if self._taken.answered(candidate):
            self._queue.done()
        if kept and isinstance(evaluator, Remembering):
            evaluator.remember([candidate])

    def _give_up(self) -> None:
        """Store of what the evaluator failed at each time that it does, so that it holds up nothing else."""
        candidate = self._taken.hopeless()
        if candidate is not None:
            try:
                with self._storing:
                    self._finish(candidate, ExpressionFault("the evaluator failed on it each time"))
            finally:
                self._queue.done()

    def _batch(self, most: int) -> Sequence[Candidate]:
        """Return what waits, at most so many, after a moment's wait for the first."""
        if self._taken.careful:
            return self._taken.again() if most > 0 else []
        batch: list[Candidate] = []
        while len(batch) < most:
            candidate = self._queue.get(0.0 if batch else _PATIENCE)
            if candidate is None:
                break
            batch.append(candidate)
        return batch

    def _remind(self, evaluator: Evaluator) -> None:
        """Show the evaluator the best of what was kept before this start."""
        if isinstance(evaluator, Remembering):
            best = self._patient(lambda: self._open().best(self._rules, limit=_REMINDED))
            evaluator.remember([one.candidate for one in best if one.kept])

    def _finish(self, candidate: Candidate, result: Result) -> bool:
        """Store a result, and only then tell of it: what was told is in the database. Return whether it is kept."""
        performance = None if isinstance(result, ExpressionFault) else result
        if performance is not None and self._rules.source.real:
            self._turn(candidate, performance)
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
        evaluated = self._patient(lambda: store.finish(evaluated, self._rules))
        self._shared.notebook.note(evaluated)
        self._shared.scoreboard.count(evaluated=1, kept=int(evaluated.kept))
        self._shared.scoreboard.alpha(evaluated)
        self._shared.narrator.evaluated(evaluated)
        if evaluated.kept and evaluated.source.real:
            self._publish()
        return evaluated.kept

    def _keeps(self, performance: AlphaFigures) -> bool:
        """Return True if the figures mean something and `[generator] keep` admits them."""
        return not performance.reason and self._keep.holds(performance.figures())

    def _turn(self, candidate: Candidate, performance: AlphaFigures) -> None:
        """Let an alpha that would be kept with the opposite sign be tried so.

        It becomes a row before the first one is done, so that a crash in between loses nothing.
        """
        if not performance.fitness < 0 or not self._keeps(opposite(performance)):
            return
        turned = turned_candidate(candidate, self._shared.scope.catalogue)
        if turned is None:
            return
        from generator.storage.additions import add_candidate  # noqa: PLC0415  # SQLAlchemy, after the first call

        store, now = self._open(), self._shared.clock.time()
        if self._patient(lambda: add_candidate(store, turned, self._rules, now)):
            self._queue.put(turned)

    def _publish(self) -> None:
        """Bring the file of hopeful alphas up to the database; a crash in between is made up for here."""
        store = self._open()
        for alphas in iter(lambda: self._patient(store.unpublished), []):
            if not self._hopeful.add(alphas):
                return
            done = [one.id for one in alphas if one.id is not None]
            self._patient(lambda ids=done: store.mark_published(ids))  # type: ignore[misc]  # a bound default


def evaluations_of(
    setup: Setup,
    shared: Shared,
    *,
    store: "Callable[[], AlphaStore]",
    patient: Patient,
    stopping: threading.Event,
    chance: Random,
) -> Sequence[EvaluationWorker]:
    """Return what evaluates, not started; the first one takes what intake brings."""
    plan = setup.plan
    make = partial(
        EvaluationWorker,
        shared,
        store=store,
        keep=setup.keep,
        hopeful=HopefulFile(setup.home.hopeful),
        patient=patient,
        stopping=stopping,
    )
    if isinstance(plan, LocalPlan):
        return [make(evaluator=plan.load, rules=plan.rules)]
    tools = Tools(store, patient, shared.clock, chance, stopping, shared.scope, shared.scoreboard)
    if isinstance(plan, BrainPlan):
        return [make(evaluator=partial(plan.load, tools), rules=plan.rules)]
    return [
        make(evaluator=plan.local.load, rules=plan.local.rules),
        make(evaluator=partial(plan.brain.load, tools), rules=plan.brain.rules, queue=Promotion(plan, tools)),
    ]
