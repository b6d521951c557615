"""Evaluation: what is new is evaluated, stored, told, and published if it is kept."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from fleet.errors import GeneratorError
from fleet.units import Seconds
from generator.evaluators.base import Evaluator, Fault, Result
from generator.hopeful import HopefulFile
from generator.intake import Patient, StoppingError
from generator.keep import KeepRule
from generator.records import Candidate, Evaluated, Ruleset
from generator.shared import Shared

if TYPE_CHECKING:
    from generator.storage.store import Store

_T = TypeVar("_T")
_PATIENCE: Seconds = 0.5
_TRY_AGAIN: Seconds = 10.0

_log = logging.getLogger(__name__)


class Evaluation:
    """One thread: keeps the evaluator busy and stores what it finds."""

    def __init__(
        self,
        shared: Shared,
        *,
        evaluator: Callable[[], Evaluator],
        store: "Callable[[], Store]",
        rules: Ruleset,
        keep: KeepRule,
        hopeful: HopefulFile,
        patient: Patient,
        stopping: threading.Event,
    ) -> None:
        self._shared = shared
        self._load = evaluator
        self._open = store
        self._rules = rules
        self._keep = keep
        self._hopeful = hopeful
        self._patient = patient
        self._stopping = stopping
        self._storing = threading.Lock()

    def run(self) -> None:
        """Evaluate until the program ends; what is not done by then stays pending in the database."""
        evaluator = self._evaluator()
        if evaluator is None:
            return
        self._shared.scope.restrict(evaluator.fields)
        try:
            self._publish()
            while not self._stopping.is_set():
                self._trying(lambda: self._step(evaluator))
        except StoppingError:
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
        """Return what the action returns; None, after a wait, if the evaluator failed at it.

        What it had taken is still pending in the database, and is taken up at the next start.
        """
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

    def _step(self, evaluator: Evaluator) -> None:
        batch = self._batch(evaluator.free)
        if batch:
            evaluator.submit(batch)
        for candidate, result in evaluator.results(_PATIENCE):
            with self._storing:
                self._finish(candidate, result)
            self._shared.waiting.done()

    def _batch(self, most: int) -> Sequence[Candidate]:
        """Return what waits, at most so many, after a moment's wait for the first."""
        batch: list[Candidate] = []
        while len(batch) < most:
            candidate = self._shared.waiting.get(0.0 if batch else _PATIENCE)
            if candidate is None:
                break
            batch.append(candidate)
        return batch

    def _finish(self, candidate: Candidate, result: Result) -> None:
        """Store a result, and only then tell of it: what was told is in the database."""
        performance = None if isinstance(result, Fault) else result
        evaluated = Evaluated(
            candidate=candidate,
            source=self._rules.source,
            settings=self._rules.settings,
            performance=performance,
            error=result.reason if isinstance(result, Fault) else None,
            kept=performance is not None and self._keep.holds(performance.figures()),
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

    def _publish(self) -> None:
        """Bring the file of hopeful alphas up to the database; a crash in between is made up for here."""
        store = self._open()
        for alphas in iter(lambda: self._patient(store.unpublished), []):
            if not self._hopeful.add(alphas):
                return
            done = [one.id for one in alphas if one.id is not None]
            self._patient(lambda ids=done: store.mark_published(ids))  # type: ignore[misc]  # a bound default
