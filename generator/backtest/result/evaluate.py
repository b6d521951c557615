"""Complete backtests: from expressions to figures and checks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from generator.backtest.errors import EvaluationError
from generator.backtest.kernels.portfolio import LARGEST, LONGS, PART_PNL, PNL, SHORTS, TRADED
from generator.backtest.panel import Matrix, Panel
from generator.backtest.plan.compiler import Compiler
from generator.backtest.result.metrics import (
    LEAST_HELD,
    Book,
    Check,
    Figures,
    Kept,
    checks,
    figures,
    grade_of,
    sharpe_of,
)
from generator.backtest.result.portfolio import SUB_UNIVERSE, daily, positions
from generator.backtest.result.reasons import reason_of
from generator.backtest.run.engine import Engine
from generator.backtest.settings import AlphaSettings, Neutralization, usable_neutralization
from generator.backtest.split import split_ends
from generator.domain import Split
from generator.language.ast import Field, Node

_VALUES = "<values>"


@dataclass(frozen=True, slots=True)
class Performance:
    """The result of a backtest.

    `dates` and `pnl` begin with the first day on which positions earn; `pnl` is a share of the book. `yearly` has the
    figures of each calendar year. `warnings` are sentences for a person. `reason` explains figures that mean nothing,
    and is empty otherwise.
    """

    figures: Figures
    yearly: tuple[tuple[int, Figures], ...]
    checks: tuple[Check, ...]
    dates: npt.NDArray[np.datetime64]
    pnl: npt.NDArray[np.float64]
    source: str
    settings: AlphaSettings
    grade: str
    warnings: tuple[str, ...] = ()
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values: reason (if any), settings, source, figures, grade, checks, yearly figures."""
        return {
            **({"reason": self.reason} if self.reason else {}),
            "settings": self.settings.as_json(),
            "source": self.source,
            **self.figures.as_json(),
            "grade": self.grade,
            "checks": [check.as_json() for check in self.checks],
            "yearly": [{"year": year, **row.as_json()} for year, row in self.yearly],
        }

    def as_kept(self, name: str) -> Kept:
        """Return the daily PnL that later alphas are compared with."""
        return Kept(name, self.dates, self.pnl, self.figures.sharpe)


@dataclass(frozen=True, slots=True)
class Stretches:
    """Results on the stretches of a split. `train` is the backtest of a panel that ends with the last train day."""

    train: Performance
    validation: Figures
    test: Figures


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An expression tree and its backtest on all days; `stretches` has the results on a split's stretches, if any."""

    tree: Node
    performance: Performance
    stretches: Stretches | None = None


def evaluate(
    trees: Sequence[Node],
    panel: Panel,
    settings: AlphaSettings,
    *,
    engine: Engine | None = None,
    kept: Sequence[Kept] = (),
    split: Split | None = None,
) -> list[Evaluation | EvaluationError]:
    """Return the backtest of each tree on the panel; a tree that cannot be evaluated gives its EvaluationError.

    `engine` must come from `engine_for` with these settings; without `engine` one is made and closed. Common
    subexpressions are computed once. `kept` are the alphas that the self-correlation check compares with.
    """
    own = engine is None
    engine = engine or engine_for(panel, settings)
    try:
        return _evaluate(trees, panel, settings, engine, kept, split)
    finally:
        if own:
            engine.close()


def engine_for(
    panel: Panel, settings: AlphaSettings, *, dtype: npt.DTypeLike | None = None, threads: int = 2
) -> Engine:
    """Return an engine with the semantics of the settings. The caller closes it."""
    engine = Engine(panel, dtype=dtype, threads=threads, pasteurize=settings.pasteurization)
    engine.semantics = replace(engine.semantics, nan_handling=settings.nan_handling)
    return engine


def _evaluate(
    trees: Sequence[Node],
    panel: Panel,
    settings: AlphaSettings,
    engine: Engine,
    kept: Sequence[Kept],
    split: Split | None,
) -> list[Evaluation | EvaluationError]:
    compiler = engine.compiler()
    neutralization, remarks = _neutralization(settings, panel)
    settings = replace(settings, neutralization=neutralization)  # report the neutralization that was applied
    jobs: list[_Job | EvaluationError] = []
    for tree in trees:
        try:
            jobs.append(_job(compiler, compiler.matrix(tree), panel, settings, neutralization))
        except EvaluationError as error:
            jobs.append(error)
    tables = _tables(engine, compiler, [job for job in jobs if isinstance(job, _Job)], panel)
    results: list[Evaluation | EvaluationError] = []
    for tree, job in zip(trees, jobs, strict=True):
        if isinstance(job, EvaluationError):
            results.append(job)
            continue
        explain = partial(_explained, tree=tree, settings=settings, engine=engine)
        performance = explain(_performance(panel, settings, tables[job], kept, remarks))
        stretches = None if split is None else _stretches(panel, settings, tables[job], split, explain)
        results.append(Evaluation(tree, performance, stretches))
    return results


def _stretches(
    panel: Panel,
    settings: AlphaSettings,
    table: Matrix,
    split: Split,
    explain: Callable[..., Performance],
) -> Stretches:
    """Return the results on the stretches: a day's position earns on the next day, whose stretch it counts to."""
    train, before_test = split_ends(split, panel.dates)
    until = explain(_performance(panel, settings, table[:train], (), (), of="the {} train days"), days=train)
    later = [table[train - 1 : before_test - 1].T, table[before_test - 1 : len(table) - 1].T]
    validation, test = (_figures(np.ascontiguousarray(series)) for series in later)
    return Stretches(until, validation, test)


def backtest(
    values: Matrix, panel: Panel, settings: AlphaSettings, *, kept: Sequence[Kept] = ()
) -> Performance:
    """Return the backtest of a matrix of values (dates x instruments), as if an expression had returned it.

    Raises ValueError for a matrix of another shape, EvaluationError where the panel cannot evaluate it.
    """
    if values.shape != panel.shape:
        raise ValueError(f"values are {values.shape}, the panel is {panel.shape}")
    fields = {**panel.fields, _VALUES: np.ascontiguousarray(values, dtype=np.float64)}
    widened = replace(panel, fields=fields)
    with_values = engine_for(
        widened, replace(settings, pasteurization=settings.pasteurization), dtype=np.float64
    )
    [result] = evaluate([Field(_VALUES)], widened, settings, engine=with_values, kept=kept)
    with_values.close()
    if isinstance(result, EvaluationError):
        raise result
    return result.performance


def _neutralization(settings: AlphaSettings, panel: Panel) -> tuple[Neutralization, tuple[str, ...]]:
    used = usable_neutralization(settings.neutralization, set(panel.groups))
    if used is settings.neutralization:
        return used, ()
    wanted = settings.neutralization.value
    return used, (f"the panel has no {wanted} groups: neutralized by {used.value} instead",)


@dataclass(frozen=True, slots=True)
class _Job:
    """The step of an alpha's daily figures, and the step of its positions if the panel has gaps."""

    daily: int
    positions: int | None


def _job(
    compiler: Compiler, values: int, panel: Panel, settings: AlphaSettings, neutralization: Neutralization
) -> _Job:
    """Return the steps of an alpha; raise EvaluationError if the panel has no returns."""
    if "returns" not in panel.fields:
        raise EvaluationError(
            "the panel has neither close nor returns, so positions earn nothing", position=0
        )
    held = positions(compiler, values, settings, neutralization) if len(panel.gaps) else None
    return _Job(daily(compiler, values, settings, neutralization, panel.fields), held)


def _earned_across_gaps(positions: Matrix, panel: Panel) -> npt.NDArray[np.float64]:
    """Return the correction of each day's PnL: the position before a gap earns its move."""
    last, after, instrument = panel.gaps.T
    move = panel.fields["returns"][after, instrument].astype(np.float64)
    # The day before the next close earned the move with its own position, not with the one before the gap.
    held = positions[last, instrument].astype(np.float64) - positions[after - 1, instrument]
    earned = np.where(np.isfinite(move), held * move, 0.0)
    result = np.zeros(len(panel.dates))
    np.add.at(result, after - 1, earned)
    return result


def _tables(engine: Engine, compiler: Compiler, jobs: Sequence[_Job], panel: Panel) -> dict[_Job, Matrix]:
    """Return the table of each job's daily figures."""
    held = {job.positions for job in jobs if job.positions is not None}
    tables: dict[int, Matrix] = {}
    for root, matrix in engine.run(compiler.graph, [*(job.daily for job in jobs), *held]):
        tables[root] = _earned_across_gaps(matrix, panel) if root in held else matrix.copy()
    for daily_step, positions_step in {(job.daily, job.positions) for job in jobs}:
        if positions_step is not None:
            tables[daily_step][:, PNL] += tables[positions_step]
    return {job: tables[job.daily] for job in jobs}


def _performance(
    panel: Panel,
    settings: AlphaSettings,
    table: Matrix,
    kept: Sequence[Kept],
    remarks: tuple[str, ...],
    *,
    of: str = "the panel's {} days",
) -> Performance:
    days = _earning_days(table)
    series = np.ascontiguousarray(table[days].T)
    has_part = {"close", "volume"} <= panel.fields.keys()
    all_dates = panel.dates[: len(table)]
    dates = all_dates[1:][days[:-1]] if len(all_dates) > 1 else all_dates[:0]
    whole = _figures(series)
    held = int(np.count_nonzero(table[:, LONGS] + table[:, SHORTS] > 0))
    return Performance(
        figures=whole,
        yearly=tuple(_yearly(series, dates)),
        checks=checks(
            whole,
            delay=settings.delay,
            book=Book(all_dates[days], series[LONGS], series[SHORTS], series[LARGEST]),
            held_share=held / len(table) if len(table) else 0.0,
            sub_sharpe=sharpe_of(series[PART_PNL]) if has_part else None,
            sub_share=SUB_UNIVERSE,
            dates=dates,
            pnl=series[PNL],
            kept=kept,
        ),
        dates=dates,
        pnl=series[PNL].copy(),
        source=panel.source,
        settings=settings,
        grade=grade_of(whole.fitness, settings.delay),
        warnings=remarks,
        reason=_too_few(held, len(table), of),
    )


def _explained(
    performance: Performance, *, tree: Node, settings: AlphaSettings, engine: Engine, days: int | None = None
) -> Performance:
    """Return the performance with its reason completed, and the reason added to its warnings.

    `days` is the number of days that the figures are of; all by default.
    """
    cause = reason_of(tree, performance.figures, performance.pnl, settings, engine, days=days)
    reason = "; ".join(filter(None, (performance.reason, cause)))
    return replace(performance, reason=reason, warnings=(*performance.warnings, *filter(None, [reason])))


def _too_few(held: int, days: int, of: str) -> str:
    """Return why figures of so few days with positions mean nothing; empty if there are enough days."""
    if held and held >= LEAST_HELD * days:
        return ""
    return f"it holds positions on {held} of {of.format(days)}, fewer than half: its figures mean nothing"


def _earning_days(table: Matrix) -> npt.NDArray[np.bool_]:
    """Return a mask of the days that count.

    These days run from the first with positions to the last but one, whose positions earn on the last.
    """
    days = np.zeros(len(table), dtype=np.bool_)
    held = np.flatnonzero(table[:, LONGS] + table[:, SHORTS] > 0)
    if len(held):
        days[held[0] : len(table) - 1] = True
    return days


def _figures(series: Matrix) -> Figures:
    return figures(series[PNL], series[TRADED], series[LONGS], series[SHORTS])


def _yearly(series: Matrix, dates: npt.NDArray[np.datetime64]) -> Iterator[tuple[int, Figures]]:
    """Yield each year with its figures. `dates` must ascend."""
    years = dates.astype("datetime64[Y]").astype(int) + 1970
    for year, days in zip(*np.unique(years, return_counts=True), strict=True):
        first = int(np.searchsorted(years, year))
        yield int(year), _figures(series[:, first : first + days])
