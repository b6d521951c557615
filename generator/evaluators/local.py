"""The local evaluator: the backtest of `generator.backtest` on the user's panel or a made-up one.

Its plan is light, so that the first request need not wait for numba: what it evaluates under follows from the
settings alone.
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
from fleet.runtime.logging import fields, tell
from fleet.runtime.units import Seconds
from generator.catalogue import Catalogue, Kind, load_catalogue
from generator.catalogue.available import with_fields
from generator.domain import AlphaFigures, Candidate, ExpressionFault, Result, Ruleset, Source
from generator.language import ExpressionError, Node, parse, show

if TYPE_CHECKING:
    from generator.backtest.errors import EvaluationError
    from generator.backtest.panel import Panel
    from generator.backtest.result.checks import Kept
    from generator.backtest.result.evaluate import Evaluation
    from generator.backtest.settings import Settings

_log = logging.getLogger(__name__)
# Candidates that are evaluated at once: enough to share subexpressions, few enough to see alphas come.
BATCH = 8
# Kept alphas that new ones are compared with.
KEPT = 200
# What the made-up panel has; a test holds this to the panel itself.
SYNTHETIC_FIELDS: Mapping[str, Kind] = {
    **dict.fromkeys(("open", "high", "low", "close", "volume", "vwap", "returns"), Kind.MATRIX),
    **dict.fromkeys(("adv20", "cap", "sharesout"), Kind.MATRIX),
    **dict.fromkeys(("market", "sector", "industry", "subindustry"), Kind.GROUP),
}


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """What will evaluate, before anything heavy is imported."""

    panel: PanelSettings
    source: Source

    @property
    def synthetic(self) -> bool:
        """Tell whether the panel is made up."""
        return not self.panel.path

    @property
    def rules(self) -> Ruleset:
        """Return what evaluations are made under."""
        settings = {
            "panel": self.panel.path or "synthetic",
            "delay": self.panel.delay,
            "decay": self.panel.decay,
            "neutralization": self.panel.neutralization,
            "truncation": self.panel.truncation,
        }
        return Ruleset(self.source, settings)

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return the fields that are certainly there; None where only the panel can tell."""
        return SYNTHETIC_FIELDS if self.synthetic else None

    def load(self) -> "LocalEvaluator":
        """Return the evaluator with its panel; raise GeneratorError if there is none to be had."""
        panel = open_panel(self.panel.path)
        for warning in panel.warnings:
            _log.warning("panel.odd", extra=tell(f"{self.panel.path}: {warning}", path=self.panel.path))
        return LocalEvaluator(panel, backtest_settings(self.panel), self.rules)


def open_panel(path: str, *, home: Path | None = None) -> "Panel":
    """Return the panel at a path, the made-up one where the path is empty; raise GeneratorError.

    A panel that was read is kept in the home (that of the environment unless one is given), and only mapped next time.
    """
    try:
        if path:
            from generator.backtest.loading import load_panel  # noqa: PLC0415  # polars: not before it is needed

            shelf = (home or find_home(os.environ).path) / "panels"
            return load_panel(Path(path).expanduser(), shelf=shelf)
        from generator.backtest.synthetic import synthetic_panel  # noqa: PLC0415

        return synthetic_panel()
    except ImportError as error:
        raise GeneratorError(
            f"the local evaluator is not installed: {error}",
            hint="Install Model Fleet with its extra: pip install '.[backtest]'",
        ) from error


def backtest_settings(panel: PanelSettings) -> "Settings":
    """Return the engine's settings that `[panel]` means."""
    from generator.backtest.settings import Neutralization, Settings  # noqa: PLC0415

    return Settings(
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
    """Backtests batches; subexpressions that a batch shares are computed once.

    A batch is one task of an executor, a thread of its own unless another is given (kernels let go of the GIL). Its
    workers have to share this process's memory; one that is given is not shut down.
    """

    def __init__(
        self, panel: "Panel", settings: "Settings", rules: Ruleset, *, executor: Executor | None = None
    ) -> None:
        from generator.backtest.result import evaluate  # noqa: PLC0415  # loaded by now, with numba

        self._backtest = evaluate
        self._panel = panel
        self._settings = settings
        self._rules = rules
        self._engine = evaluate.engine_for(panel, settings)
        self._own = executor is None
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="evaluator")
        self._catalogue = with_fields(load_catalogue(higher=True), self.fields)
        self._batch: list[Candidate] = []
        self._kept: dict[str, Kept] = {}
        self._recent: dict[str, Kept] = {}
        # The first ones go alone: kernels are compiled at their very first use, and somebody waits to see.
        self._size = 1

    @property
    def source(self) -> Source:
        """Return what its figures are about."""
        return self._rules.source

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what it evaluates under."""
        return self._rules.settings

    @property
    def fields(self) -> Mapping[str, Kind]:
        """Return the panel's fields and groupings."""
        return panel_fields(self._panel)

    @property
    def free(self) -> int:
        """Return how many candidates it takes now."""
        return self._size - len(self._batch)

    def submit(self, candidates: Sequence[Candidate]) -> None:
        """Take candidates in."""
        self._batch.extend(candidates)

    def results(self, patience: Seconds) -> Sequence[tuple[Candidate, Result]]:  # noqa: ARG002  # it never waits
        """Evaluate what was taken in."""
        batch, self._batch = self._batch, []
        read = [(candidate, tree_of(candidate, self._catalogue)) for candidate in batch]
        trees = [tree for _, tree in read if not isinstance(tree, ExpressionFault)]
        results = iter(self._evaluated(trees) if trees else [])
        return [(one, tree if isinstance(tree, ExpressionFault) else next(results)) for one, tree in read]

    def remember(self, candidates: Sequence[Candidate]) -> None:
        """Compare later alphas with these too, the newest KEPT of them; what was just evaluated is not evaluated again."""
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
        """Evaluate trees together; where the engine itself fails, one by one, to find whose fault it is."""
        try:
            outcomes = self._executor.submit(
                self._backtest.evaluate,
                trees,
                self._panel,
                self._settings,
                engine=self._engine,
                kept=list(self._kept.values()),
            ).result()
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not hold up what waits behind it
            if len(trees) > 1:
                return [result for tree in trees for result in self._evaluated([tree])]
            _log.exception("evaluator.failed", extra=fields(expression=show(trees[0])))
            return [ExpressionFault(f"the evaluator failed on it ({type(error).__name__})")]
        self._size = min(2 * self._size, BATCH)
        self._recent = dict(self._named(outcomes))
        return [_result(outcome) for outcome in outcomes]

    def _named(self, outcomes: "Sequence[Evaluation | EvaluationError]") -> "Iterator[tuple[str, Kept]]":
        """Yield the daily PnL of each alpha that has one, by its text."""
        for outcome in outcomes:
            if isinstance(outcome, self._backtest.Evaluation) and outcome.performance.figures.days:
                name = show(outcome.tree)
                yield name, outcome.performance.as_kept(name)

    def close(self) -> None:
        """Let go of the engine."""
        self._batch = []
        if self._own:
            self._executor.shutdown()
        self._engine.close()


def tree_of(candidate: Candidate, catalogue: Catalogue) -> Node | ExpressionFault:
    """Return a candidate's tree, read again where it came from the database."""
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
