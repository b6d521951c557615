"""Local evaluator: backtests on the user's panel, or on a synthetic one.

The plan is made from the settings alone: the first request does not wait for numba.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.config.keep_rule import COUNTS, METRICS
from fleet.config.schema import PanelSettings
from fleet.runtime.errors import GeneratorError
from fleet.runtime.home import expanded, find_home
from fleet.runtime.logging import fields, with_sentence
from fleet.runtime.units import Seconds
from generator.catalogue import Catalogue, Kind, load_catalogue
from generator.catalogue.available import with_fields
from generator.domain import (
    AlphaFigures,
    Candidate,
    ExpressionFault,
    Result,
    Ruleset,
    Source,
    Split,
    Stretch,
)
from generator.evaluators.panel_fields import SYNTHETIC_FIELDS, keep_fields, known_fields, panel_fields
from generator.evaluators.panel_split import PanelSplit, SplitStore, panel_name
from generator.language import ExpressionError, Node, parse, show
from generator.language.canonical import CANONICAL_VERSION
from generator.pool.checks import softened

if TYPE_CHECKING:
    from generator.backtest.errors import EvaluationError
    from generator.backtest.panel import Panel
    from generator.backtest.result.evaluate import Evaluation
    from generator.backtest.result.metrics import Figures
    from generator.backtest.settings import AlphaSettings

_log = logging.getLogger(__name__)
# Candidates of one batch: enough to share subexpressions, few enough for frequent results.
BATCH = 8
# Different warnings of the engine that are logged in one run.
WARNINGS = 20
_GAPS = PanelSettings().gaps  # the default


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """Plan of the local evaluator, made before numba and polars are imported."""

    panel: PanelSettings
    source: Source
    dask: str = ""
    """Address of the scheduler whose workers evaluate, empty for the local engine alone."""

    @property
    def synthetic(self) -> bool:
        """Return True if the panel is the synthetic one."""
        return not self.panel.path

    @property
    def rules(self) -> Ruleset:
        """Return the ruleset of candidates until the panel is loaded; it has no figures.

        Its key differs from that of older versions, whose rulesets named no data.
        """
        settings: dict[str, Any] = {
            "panel": panel_name(self.panel),
            "delay": self.panel.delay,
            "decay": self.panel.decay,
            "neutralization": self.panel.neutralization,
            "truncation": self.panel.truncation,
            "data": None,
        }
        if self.panel.gaps != _GAPS:
            settings["gaps"] = self.panel.gaps
        return Ruleset(self.source, settings)

    def rules_on(self, panel: "Panel", split: Split | None = None) -> Ruleset:
        """Return the ruleset of evaluations on a panel: also its content, its split, and the neutralization really used."""
        from generator.backtest.settings import ENGINE_VERSION, Neutralization, usable_neutralization  # noqa: PLC0415

        wanted = Neutralization(self.panel.neutralization)
        known = {
            "neutralization": usable_neutralization(wanted, set(panel.groups)).value,
            "data": panel.content(),
            "last_date": str(panel.dates[-1]) if len(panel.dates) else None,
            "engine": ENGINE_VERSION,
            "canonical": CANONICAL_VERSION,
            **({} if split is None else split.as_json()),
        }
        return Ruleset(self.source, {**self.rules.settings, **known})

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return the synthetic panel's fields, or those of the user's panel at its last loading; None before the first."""
        return SYNTHETIC_FIELDS if self.synthetic else known_fields(self.panel.path)

    def load(self, splits: SplitStore | None = None) -> "LocalEvaluator":
        """Load the panel and return its evaluator; raise GeneratorError if the panel is unusable.

        `splits` keep the panel's split from its first reading on; without them it is made from the present days.
        """
        files = PanelFiles(self.panel.path)
        panel = open_panel(self.panel.path, gaps=self.panel.gaps)
        if not self.synthetic:
            keep_fields(self.panel.path, panel_fields(panel))
        for warning in panel.warnings:
            _log.warning(
                "panel.odd", extra=with_sentence(f"{self.panel.path}: {warning}", path=self.panel.path)
            )
        keeper = PanelSplit(self.panel, splits)
        split = keeper.of(panel)
        rules = self.rules_on(panel, split)
        return LocalEvaluator(
            panel, backtest_settings(self.panel), rules, split=split, files=files, moved=keeper.moved
        )


class PanelFiles:
    """Watch on the panel's file or folder, begun before it is read. An empty path never changes."""

    def __init__(self, path: str) -> None:
        self._path = expanded(path) if path else None
        self._read = self._seen = self._stamp()

    def changed(self) -> bool:
        """Return True if the files changed since the start, and not since the last call. A writer may be at work."""
        before, self._seen = self._seen, self._stamp()
        return self._seen is not None and self._seen == before != self._read

    def _stamp(self) -> list[int] | None:
        if self._path is None:
            return None
        from generator.backtest.loading.cache import stamp_of  # noqa: PLC0415  # numpy: not before it is needed

        try:
            return stamp_of(self._path)
        except OSError:
            return None


def open_panel(path: str, *, gaps: str = _GAPS, home: Path | None = None) -> "Panel":
    """Return the panel at a path, or the synthetic one for an empty path; raise GeneratorError if it is unusable.

    With `gaps` "skipped" no position earns the move of a close across days without one. A panel that was read once
    is cached in the home (`home`, else the environment's) and memory-mapped the next time.
    """
    try:
        if path:
            from generator.backtest.loading import load_panel  # noqa: PLC0415  # polars: slow to import
            from generator.backtest.panel import without_gaps  # noqa: PLC0415

            cache = (home or find_home(os.environ).root()) / "panels"
            panel = load_panel(expanded(path), cache=cache)
            return panel if gaps == _GAPS else without_gaps(panel)
        from generator.backtest.synthetic import synthetic_panel  # noqa: PLC0415

        return synthetic_panel()
    except ImportError as error:
        raise GeneratorError(
            f"the local evaluator is not installed: {error}",
            hint="Install Model Fleet with its extra: pip install '.[backtest]'",
        ) from error


def backtest_settings(panel: PanelSettings) -> "AlphaSettings":
    """Return the backtest's settings for `[panel]`."""
    from generator.backtest.settings import AlphaSettings, Neutralization  # noqa: PLC0415

    return AlphaSettings(
        delay=panel.delay,
        decay=panel.decay,
        neutralization=Neutralization(panel.neutralization),
        truncation=panel.truncation,
    )


class LocalEvaluator:
    """Backtests batches; subexpressions shared within a batch are computed once.

    A batch is one task of `executor`, whose workers must be threads of this process; kernels release the GIL.
    By default the executor is one thread of its own. A given executor is not shut down by `close`.
    """

    def __init__(
        self,
        panel: "Panel",
        settings: "AlphaSettings",
        rules: Ruleset,
        *,
        split: Split | None = None,
        executor: Executor | None = None,
        threads: int = 2,
        files: PanelFiles | None = None,
        moved: Callable[[], bool] = lambda: False,
    ) -> None:
        from generator.backtest.result import evaluate  # noqa: PLC0415  # numba: loaded by now

        self._backtest = evaluate
        self._panel = panel
        self._settings = settings
        self._rules = rules
        self._split = split
        self._moved = moved
        self._engine = evaluate.engine_for(panel, settings, threads=threads)
        self._own = executor is None
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="evaluator")
        self._catalogue = with_fields(load_catalogue(higher=True), self.fields)
        self._files = files or PanelFiles("")
        self._warned: set[str] = set()
        self._batch: list[Candidate] = []
        # The first batch is one candidate: kernels compile at their first use, and a user waits for the first alpha.
        self._batch_size = 1

    @property
    def panel(self) -> "Panel":
        """Return the panel."""
        return self._panel

    @property
    def split(self) -> Split | None:
        """Return the panel's split."""
        return self._split

    @property
    def source(self) -> Source:
        """Return the origin of the figures."""
        return self._rules.source

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the settings of the evaluation."""
        return self._rules.settings

    @property
    def fields(self) -> Mapping[str, Kind]:
        """Return the panel's fields and groupings."""
        return panel_fields(self._panel)

    @property
    def free(self) -> int:
        """Return how many candidates `submit` accepts now."""
        return self._batch_size - len(self._batch)

    def has_new_data(self) -> bool:
        """Return True if the split moved, or the files changed since their reading and not since the last call."""
        return self._files.changed() or self._moved()

    def submit(self, candidates: Sequence[Candidate]) -> None:
        """Add candidates to the next batch."""
        self._batch.extend(candidates)

    def results(self, timeout: Seconds) -> Sequence[tuple[Candidate, Result]]:  # noqa: ARG002  # no wait
        """Evaluate the batch and return its results."""
        batch, self._batch = self._batch, []
        read = [(candidate, tree_of(candidate, self._catalogue)) for candidate in batch]
        trees = [tree for _, tree in read if not isinstance(tree, ExpressionFault)]
        results = iter(self._evaluated(trees) if trees else [])
        return [(one, tree if isinstance(tree, ExpressionFault) else next(results)) for one, tree in read]

    def _evaluated(self, trees: Sequence[Node]) -> list[Result]:
        """Evaluate trees together; if the engine itself fails, one by one, to find the tree at fault."""
        try:
            outcomes = self._executor.submit(
                self._backtest.evaluate,
                trees,
                self._panel,
                self._settings,
                engine=self._engine,
                split=self._split,
            ).result()
        except Exception as error:  # noqa: BLE001  # a fault of the engine must not block the queue
            if len(trees) > 1:
                return [result for tree in trees for result in self._evaluated([tree])]
            _log.exception("evaluator.failed", extra=fields(expression=show(trees[0])))
            return [ExpressionFault(f"the evaluator failed on it ({type(error).__name__})")]
        self._batch_size = min(2 * self._batch_size, BATCH)
        self._warn(outcomes)
        return [_result(outcome, self._panel, self._split) for outcome in outcomes]

    def _warn(self, outcomes: "Sequence[Evaluation | EvaluationError]") -> None:
        """Log the engine's warnings, each one once. An alpha's own reason is logged with its evaluation."""
        for outcome in outcomes:
            if not isinstance(outcome, self._backtest.Evaluation):
                continue
            found = outcome.performance
            for warning in found.warnings:
                if warning != found.reason and warning not in self._warned and len(self._warned) < WARNINGS:
                    self._warned.add(warning)
                    _log.warning("evaluator.warning", extra=with_sentence(warning))

    def close(self) -> None:
        """Free the engine."""
        self._batch = []
        if self._own:
            self._executor.shutdown()
        self._engine.close()


def tree_of(candidate: Candidate, catalogue: Catalogue) -> Node | ExpressionFault:
    """Return a candidate's tree; a candidate read from the database is parsed again."""
    if candidate.tree is not None:
        return candidate.tree
    try:
        return parse(candidate.expression, catalogue)
    except ExpressionError as error:
        return ExpressionFault(str(error))


def _result(outcome: "Evaluation | EvaluationError", panel: "Panel", split: Split | None) -> Result:
    """Return an outcome in the domain's values: with a split, figures and checks are those of the train days."""
    import numpy as np  # noqa: PLC0415  # loaded by now

    from generator.backtest.errors import EvaluationError  # noqa: PLC0415
    from generator.backtest.result.metrics import daily_moments  # noqa: PLC0415

    if isinstance(outcome, EvaluationError):
        return ExpressionFault(f"{outcome.message} {outcome.hint}".rstrip())
    whole, stretches = outcome.performance, outcome.stretches
    judged = whole if stretches is None else stretches.train
    figures = judged.figures
    known = whole.pnl if split is None else whole.pnl[whole.dates < np.datetime64(split.test_from)]
    return AlphaFigures(
        **{name: getattr(figures, name) for name in (*METRICS, *COUNTS)},
        checks=softened([check.as_json() for check in judged.checks], symbols=len(panel.symbols)),
        grade=judged.grade,
        reason=judged.reason,
        validation=None if stretches is None else _stretch_of(stretches.validation),
        test=None if stretches is None else _stretch_of(stretches.test),
        moments=daily_moments(known),
        pnl=whole.pnl.astype(np.float32).tobytes(),
    )


def _stretch_of(figures: "Figures") -> Stretch:
    return Stretch(**{name: getattr(figures, name) for name in Stretch.__slots__})
