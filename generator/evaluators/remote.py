"""Tasks that the generator runs on a worker of `python3 -m generator worker`; dask imports them there by name."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.config.schema import PanelSettings
from fleet.runtime.errors import GeneratorError
from fleet.runtime.logging import fields
from generator.backtest.settings import ENGINE_VERSION
from generator.domain import Candidate, Ruleset, Source
from generator.evaluators.batch import Job, read_job, results_text
from generator.evaluators.local import LocalEvaluator, backtest_settings
from generator.evaluators.shelf import PanelShelf
from generator.language.canonical import CANONICAL_VERSION

PROTOCOL = 1
"""Version of the tasks. Increase it when they change."""
VERSIONS: Mapping[str, int] = {
    "engine": ENGINE_VERSION,
    "canonical": CANONICAL_VERSION,
    "protocol": PROTOCOL,
}
LACKS_PANEL = "lacks panel"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Bench:
    """A worker's panels, and the evaluator that it used last."""

    shelf: PanelShelf
    threads: int
    _job: tuple[Any, ...] = ()
    _evaluator: LocalEvaluator | None = field(default=None, repr=False)

    def evaluate(self, job: Job) -> str:
        """Return the results of a job as text; LACKS_PANEL if this worker has no such panel."""
        wanted = (job.panel, tuple(sorted(job.settings.items())), job.split)
        if self._evaluator is None or wanted != self._job:
            panel = self.shelf.find(job.panel)
            if panel is None:
                return LACKS_PANEL
            if self._evaluator is not None:
                self._evaluator.close()
            self._evaluator = LocalEvaluator(
                panel,
                backtest_settings(PanelSettings(**job.settings)),
                Ruleset(Source.PANEL, job.settings),
                split=job.split,
                threads=self.threads,
            )
            self._job = wanted
        self._evaluator.submit(
            [Candidate(str(place), text, text) for place, text in enumerate(job.expressions)]
        )
        return results_text([result for _, result in self._evaluator.results(0.0)])


_benches: list[Bench] = []


def serve_tasks(bench: Bench) -> None:
    """Let this process's tasks use the bench."""
    _benches[:] = [bench]


def _bench() -> Bench:
    if not _benches:
        raise GeneratorError("it was not started by `python3 -m generator worker`")
    return _benches[0]


def greet(panel: str) -> dict[str, Any]:
    """Return the worker's versions, and whether it has the panel."""
    return {**VERSIONS, "has_panel": _bench().shelf.find(panel) is not None}


def receive_part(panel: str, file: str, offset: int, data: bytes) -> None:
    """Receive a part of a panel."""
    _bench().shelf.receive(panel, file, offset, data)


def finish_panel(panel: str) -> None:
    """Put a received panel in place."""
    _bench().shelf.finish(panel)
    _log.info("worker.panel_received", extra=fields(panel=panel))


def evaluate_batch(job: str) -> str:
    """Evaluate a job."""
    return _bench().evaluate(read_job(job))
