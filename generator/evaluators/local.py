"""Local evaluator: backtests on the user's panel, or on a synthetic one.

Its plan is made from the settings alone, so that the first request does not wait for numba.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.config.keep_rule import COUNTS, METRICS
from fleet.config.schema import PanelSettings
from fleet.runtime.errors import GeneratorError
from fleet.runtime.home import find_home
from fleet.runtime.logging import fields, with_sentence
from fleet.runtime.units import Seconds
from generator.catalogue import Catalogue, Kind, load_catalogue
from generator.catalogue.available import with_fields
from generator.domain import AlphaFigures, Candidate, ExpressionFault, Result, Ruleset, Source
from generator.language import ExpressionError, Node, parse, show
from generator.language.canonical import CANONICAL_VERSION

if TYPE_CHECKING:
    from generator.backtest.errors import EvaluationError
    from generator.backtest.panel import Panel
    from generator.backtest.result.evaluate import Evaluation
    from generator.backtest.result.metrics import Kept
    from generator.backtest.settings import AlphaSettings

_log = logging.getLogger(__name__)
# Candidates of one batch: enough to share subexpressions, few enough for frequent results.
BATCH = 8
# Kept alphas that each new one is compared with.
KEPT = 200
# Different warnings of the engine that are logged in one run.
WARNINGS = 20
_GAPS = PanelSettings().gaps  # the default
# Fields of the synthetic panel; a test compares them with the panel.
SYNTHETIC_FIELDS: Mapping[str, Kind] = {
    **dict.fromkeys(("open", "high", "low", "close", "volume", "vwap", "returns"), Kind.MATRIX),
    **dict.fromkeys(("adv20", "cap", "sharesout"), Kind.MATRIX),
    **dict.fromkeys(("market", "sector", "industry", "subindustry"), Kind.GROUP),
}


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """Plan of the local evaluator, made before numba and polars are imported."""

    panel: PanelSettings
    source: Source

    @property
    def synthetic(self) -> bool:
        """Return True if the panel is the synthetic one."""
        return not self.panel.path

    @property
    def rules(self) -> Ruleset:
        """Return the ruleset of candidates until the panel is loaded; it has no figures.

        Its key differs from the one of older versions, whose rulesets named no data.
        """
        settings: dict[str, Any] = {
            "panel": self.panel.path or "synthetic",
            "delay": self.panel.delay,
            "decay": self.panel.decay,
            "neutralization": self.panel.neutralization,
            "truncation": self.panel.truncation,
            "data": None,
        }
        if self.panel.gaps != _GAPS:
            settings["gaps"] = self.panel.gaps
        return Ruleset(self.source, settings)

    def rules_on(self, panel: "Panel") -> Ruleset:
        """Return the ruleset of evaluations on a panel: also its content, and the neutralization really used."""
        from generator.backtest.settings import ENGINE_VERSION, Neutralization, usable_neutralization  # noqa: PLC0415

        wanted = Neutralization(self.panel.neutralization)
        known = {
            "neutralization": usable_neutralization(wanted, set(panel.groups)).value,
            "data": panel.content(),
            "last_date": str(panel.dates[-1]) if len(panel.dates) else None,
            "engine": ENGINE_VERSION,
            "canonical": CANONICAL_VERSION,
        }
        return Ruleset(self.source, {**self.rules.settings, **known})

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return the synthetic panel's fields; None for a panel that is not loaded yet."""
        return SYNTHETIC_FIELDS if self.synthetic else None

    def load(self) -> "LocalEvaluator":
        """Load the panel and return its evaluator; raise GeneratorError if the panel is unusable."""
        files = PanelFiles(self.panel.path)
        panel = open_panel(self.panel.path, gaps=self.panel.gaps)
        for warning in panel.warnings:
            _log.warning(
                "panel.odd", extra=with_sentence(f"{self.panel.path}: {warning}", path=self.panel.path)
            )
        return LocalEvaluator(panel, backtest_settings(self.panel), self.rules_on(panel), files=files)


class PanelFiles:
    """Watch on the panel's file or folder, begun before it is read. An empty path never changes."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser() if path else None
        self._read = self._seen = self._stamp()

    def changed(self) -> bool:
        """Return True if the files changed since the start, and not since the last call: a writer may be at work."""
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

            cache = (home or find_home(os.environ).path) / "panels"
            panel = load_panel(Path(path).expanduser(), cache=cache)
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


def panel_fields(panel: "Panel") -> Mapping[str, Kind]:
    """Return a panel's fields and groupings with their kinds."""
    return {
        **dict.fromkeys(panel.fields, Kind.MATRIX),
        **dict.fromkeys(panel.group_sizes(), Kind.GROUP),
    }


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
        executor: Executor | None = None,
        files: PanelFiles | None = None,
    ) -> None:
        from generator.backtest.result import evaluate  # noqa: PLC0415  # numba: loaded by now

        self._backtest = evaluate
        self._panel = panel
        self._settings = settings
        self._rules = rules
        self._engine = evaluate.engine_for(panel, settings)
        self._own = executor is None
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="evaluator")
        self._catalogue = with_fields(load_catalogue(higher=True), self.fields)
        self._files = files or PanelFiles("")
        self._warned: set[str] = set()
        self._batch: list[Candidate] = []
        self._kept: dict[str, Kept] = {}
        self._recent: dict[str, Kept] = {}
        # The first batch is one candidate: kernels compile at their first use, and a user waits for the first alpha.
        self._batch_size = 1

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
        """Return True if the panel's files changed since they were read, and not since the last call."""
        return self._files.changed()

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

    def add_kept(self, candidates: Sequence[Candidate]) -> None:
        """Compare later alphas with these too; only the newest KEPT are compared.

        Alphas of the last batch are not evaluated again.
        """
        for candidate in candidates:
            tree = tree_of(candidate, self._catalogue)
            if isinstance(tree, ExpressionFault):
                continue
            name = show(tree)
            if name not in self._recent:
                self._evaluated([tree])
            if name in self._recent:
                self._kept[name] = self._recent[name]
        for name in list(self._kept)[:-KEPT]:
            del self._kept[name]

    def _evaluated(self, trees: Sequence[Node]) -> list[Result]:
        """Evaluate trees together; if the engine itself fails, one by one, to find the tree at fault."""
        try:
            outcomes = self._executor.submit(
                self._backtest.evaluate,
                trees,
                self._panel,
                self._settings,
                engine=self._engine,
                kept=list(self._kept.values()),
            ).result()
        except Exception as error:  # noqa: BLE001  # a fault of the engine must not block the queue
            if len(trees) > 1:
                return [result for tree in trees for result in self._evaluated([tree])]
            _log.exception("evaluator.failed", extra=fields(expression=show(trees[0])))
            return [ExpressionFault(f"the evaluator failed on it ({type(error).__name__})")]
        self._batch_size = min(2 * self._batch_size, BATCH)
        self._recent = dict(self._named(outcomes))
        self._warn(outcomes)
        return [_result(outcome) for outcome in outcomes]

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

    def _named(self, outcomes: "Sequence[Evaluation | EvaluationError]") -> "Iterator[tuple[str, Kept]]":
        """Yield the text and daily PnL of each alpha that has a PnL."""
        for outcome in outcomes:
            if isinstance(outcome, self._backtest.Evaluation) and outcome.performance.figures.days:
                name = show(outcome.tree)
                yield name, outcome.performance.as_kept(name)

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


def _result(outcome: "Evaluation | EvaluationError") -> Result:
    from generator.backtest.errors import EvaluationError  # noqa: PLC0415

    if isinstance(outcome, EvaluationError):
        return ExpressionFault(f"{outcome.message} {outcome.hint}".rstrip())
    performance = outcome.performance
    figures = performance.figures
    return AlphaFigures(
        **{name: getattr(figures, name) for name in (*METRICS, *COUNTS)},
        checks=[check.as_json() for check in performance.checks],
        grade=performance.grade,
        reason=performance.reason,
    )
