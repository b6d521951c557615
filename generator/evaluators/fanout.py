"""Evaluator whose batches go to the workers of a dask scheduler, and to the local engine while there are none.

A candidate's row waits in the database until its result is stored. The local engine evaluates the candidates that a
worker or the scheduler lost. A second result of a candidate is dropped.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any

from fleet.config.schema import PanelSettings
from fleet.runtime.clock import Clock
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from generator.catalogue import Kind
from generator.domain import Candidate, ClusterState, Result, Source
from generator.evaluators.batch import Job, read_results
from generator.evaluators.cluster import Cluster, cause_in_words
from generator.evaluators.local import BATCH, LocalEvaluator, LocalPlan
from generator.evaluators.panel_split import SplitStore

_BATCHES_EACH = 2
"""Batches under way for each worker: at the end of one, the next is already there."""
_SETTINGS = ("delay", "decay", "neutralization", "truncation")

_log = logging.getLogger(__name__)


class FanoutEvaluator:
    """Sends batches to the cluster; for one thread."""

    def __init__(
        self,
        local: LocalEvaluator,
        cluster: Cluster,
        *,
        panel: PanelSettings,
    ) -> None:
        self._local = local
        self._cluster = cluster
        self._content = str(local.settings["data"])
        self._panel = {name: getattr(panel, name) for name in _SETTINGS}
        self._sent: dict[Future[str], Sequence[Candidate]] = {}
        self._away: dict[str, Candidate] = {}
        self._here: list[Candidate] = []

    @property
    def source(self) -> Source:
        """Return the origin of the figures."""
        return self._local.source

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the settings of the evaluation."""
        return self._local.settings

    @property
    def fields(self) -> Mapping[str, Kind]:
        """Return the panel's fields and groupings."""
        return self._local.fields

    @property
    def free(self) -> int:
        """Return how many candidates `submit` accepts now."""
        workers = self._cluster.state.workers
        room = _BATCHES_EACH * BATCH * workers if workers else self._local.free
        return max(0, room - len(self._away) - len(self._here))

    def has_new_data(self) -> bool:
        """Return True if the panel's files or its split changed since they were read, and not since the last call."""
        return self._local.has_new_data()

    def submit(self, candidates: Sequence[Candidate]) -> None:
        """Send candidates to the workers, or queue them for the local engine while there is none.

        A candidate under way is not sent again: its result is that of the newest submission.
        """
        fresh = [one for one in candidates if one.digest not in self._away]
        if not self._cluster.state.workers:
            self._here += fresh
            return
        self._away.update((one.digest, one) for one in candidates)
        for begin in range(0, len(fresh), BATCH):
            batch = fresh[begin : begin + BATCH]
            job = Job(self._content, self._panel, self._local.split, [one.expression for one in batch])
            self._sent[self._cluster.submit(job.as_text())] = batch

    def results(self, timeout: Seconds) -> Sequence[tuple[Candidate, Result]]:
        """Return finished results of the workers; wait about `timeout` for the first. Evaluate lost candidates here."""
        found: list[tuple[Candidate, Result]] = []
        done, _ = wait(self._sent, 0.0 if self._here else timeout, FIRST_COMPLETED)
        for future in done:
            found += self._answer(future, self._sent.pop(future))
        if self._here:
            now, self._here = self._here[: self._local.free], self._here[self._local.free :]
            self._local.submit(now)
            found += self._local.results(0.0)
        return found

    def _answer(self, future: "Future[str]", batch: Sequence[Candidate]) -> list[tuple[Candidate, Result]]:
        """Return a batch's results; a failed batch is left to the local engine."""
        newest = [self._away.pop(one.digest) for one in batch]
        try:
            return list(zip(newest, read_results(future.result(), len(batch)), strict=True))
        except (CancelledError, Exception) as error:  # noqa: BLE001  # another machine's failure, of any kind
            _log.warning("dask.batch_lost", extra=fields(variants=len(batch), reason=cause_in_words(error)))
            self._here += newest
            return []

    def close(self) -> None:
        """End the connection and free the engine."""
        self._cluster.close()
        self._sent.clear()
        self._away.clear()
        self._here.clear()
        self._local.close()


def load_evaluator(
    plan: LocalPlan, splits: SplitStore, clock: Clock, report: Callable[[ClusterState], None]
) -> LocalEvaluator | FanoutEvaluator:
    """Load the panel and return its evaluator: with [generator] dask one that uses the scheduler's workers."""
    local = plan.load(splits)
    if not plan.dask:
        return local
    content = str(local.settings["data"])
    cluster = Cluster(plan.dask, content, local.panel, clock=clock, report=report)
    return FanoutEvaluator(local, cluster, panel=plan.panel)
