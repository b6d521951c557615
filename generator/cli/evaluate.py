"""`python3 -m generator evaluate`: backtests expressions on a panel and prints their figures."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleet.config.keep_rule import COUNTS, METRICS
from fleet.config.schema import PanelSettings
from fleet.runtime.errors import FleetError
from generator.catalogue.available import with_fields
from generator.cli.account_lists import Lists, account_lists
from generator.cli.expression_text import ExpressionCommand, error_row, error_sentence, expressions_of
from generator.cli.finite_range import FiniteRange
from generator.cli.panel import ConfiguredPanel, configured_panel, unsplit
from generator.domain import Split
from generator.evaluators.local import backtest_settings, open_panel
from generator.evaluators.panel_fields import panel_fields
from generator.evaluators.panel_split import split_of
from generator.language import ExpressionError, Node, read

if TYPE_CHECKING:
    from generator.backtest.panel import Matrix, Panel
    from generator.backtest.result.evaluate import Performance, Stretches
    from generator.backtest.run.engine import Engine

FILE = click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Read expressions from a file, too.",
)
_GROUPINGS = ("none", "market", "sector", "industry", "subindustry")


@dataclass(frozen=True, slots=True)
class EvaluateOutcome:
    """Outcome of one expression: tree and performance, or an error's row; a failed backtest has tree and error."""

    expression: str
    tree: Node | None = None
    performance: "Performance | None" = None
    stretches: "Stretches | None" = None
    error: dict[str, Any] | None = None

    def row(self) -> dict[str, Any]:
        """Return the outcome as one JSON object with keys in the documented order."""
        if self.performance is None:
            return {"expression": self.expression, "error": self.error}
        found = self.performance.as_json()
        names = ("settings", "source", *METRICS, *COUNTS, "checks")
        reason = {"reason": found["reason"]} if "reason" in found else {}
        row = {"expression": self.expression, **{name: found[name] for name in names}, **reason}
        return row if self.stretches is None else {**row, **_stretch_rows(self.stretches)}


def _stretch_rows(stretches: "Stretches") -> dict[str, Any]:
    """Return the figures of train, validation and test."""
    parts = {
        "train": stretches.train.figures,
        "validation": stretches.validation,
        "test": stretches.test,
    }
    rows = {name: figures.as_json() for name, figures in parts.items()}
    return {name: {key: row[key] for key in (*METRICS, *COUNTS)} for name, row in rows.items()}


@click.command(cls=ExpressionCommand)
@click.argument("expressions", nargs=-1, metavar="EXPR...")
@FILE
@click.option(
    "--panel",
    type=click.Path(path_type=Path),
    help="Parquet or CSV. Default: [panel] path, else a synthetic panel.",
)
@click.option("--delay", type=click.IntRange(0, 1), help="Days between data and position.")
@click.option("--decay", type=click.IntRange(0, 512), help="Days of the linear decay of positions.")
@click.option("--neutralization", type=click.Choice(_GROUPINGS), help="Groups with positions of sum zero.")
@click.option("--truncation", type=FiniteRange(0, 1), help="Largest share of one position; 0: unlimited.")
@click.option(
    "--split", "with_split", is_flag=True, help="Add the figures of train, validation and test days."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--values", type=click.Path(path_type=Path), help="Write the expressions' matrices as .npz.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write the running PnL as a PNG picture.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    expressions: Sequence[str],
    *,
    files: Sequence[Path],
    panel: Path | None,
    delay: int | None,
    decay: int | None,
    neutralization: str | None,
    truncation: float | None,
    with_split: bool,
    as_json: bool,
    values: Path | None,
    plot: Path | None,
) -> None:
    """Backtest expressions; `-` reads standard input.

    In standard input and files, an alpha may take several lines; a `;` or an empty line ends it. An expression
    that begins with `-` must follow `--`. Defaults of the options are in [panel] of fleet.toml. The figures are those
    of all days, also where mining splits them.
    """
    texts = list(expressions_of(expressions, files=files))
    configured = configured_panel(
        path=None if panel is None else str(panel),
        delay=delay,
        decay=decay,
        neutralization=neutralization,
        truncation=truncation,
    )
    settings = configured.settings
    loaded = open_panel(settings.path, gaps=settings.gaps)
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    lists = account_lists()
    lists.report()
    split = _split(loaded, configured) if with_split else None
    outcomes, engine = _evaluated([_read(text, loaded, lists) for text in texts], loaded, settings, split)
    for outcome in outcomes:
        click.echo(json.dumps(outcome.row()) if as_json else _sentence(outcome))
    _warn(outcomes)
    if values is not None:
        _write_values(values, outcomes, loaded, engine)
    if plot is not None:
        _write_plot(plot, outcomes)
    ctx.exit(1 if any(outcome.error for outcome in outcomes) else 0)


def _split(panel: "Panel", configured: ConfiguredPanel) -> Split | None:
    """Return the panel's split; say so if it has none."""
    split = split_of(panel, configured.settings, configured.stored())
    if split is None:
        click.echo(f"Warning: no split: {unsplit(len(panel.dates))}", err=True)
    return split


def _evaluated(
    outcomes: list[EvaluateOutcome], panel: "Panel", settings: PanelSettings, split: Split | None
) -> "tuple[list[EvaluateOutcome], Engine]":
    """Return the outcomes with performances or errors of the backtest, and the engine, which can compute values."""
    from generator.backtest.errors import EvaluationError  # noqa: PLC0415  # imports numba; --help stays fast
    from generator.backtest.result.evaluate import engine_for  # noqa: PLC0415
    from generator.backtest.result.evaluate import evaluate as backtest  # noqa: PLC0415

    chosen = backtest_settings(settings)
    engine = engine_for(panel, chosen)
    trees = [outcome.tree for outcome in outcomes if outcome.tree is not None]
    results = iter(backtest(trees, panel, chosen, engine=engine, split=split) if trees else [])
    for place, outcome in enumerate(outcomes):
        if outcome.tree is None:
            continue
        result = next(results)
        if isinstance(result, EvaluationError):
            row = {"position": result.position, "reason": result.message, "hint": result.hint}
            outcomes[place] = replace(outcome, error=row)
        else:
            outcomes[place] = replace(outcome, performance=result.performance, stretches=result.stretches)
    return outcomes, engine


def _read(text: str, panel: "Panel", lists: Lists) -> EvaluateOutcome:
    """Read an expression with the panel's fields and the account's operators; without an account, all known ones."""
    try:
        return EvaluateOutcome(text, tree=read(text, with_fields(lists.readable, panel_fields(panel))).tree)
    except ExpressionError as error:
        row = error_row(error)
        if lists.of_account and _is_alpha(text, lists):
            row["hint"] = "your account has it on BRAIN, this panel does not"
        return EvaluateOutcome(text, error=row)


def _is_alpha(text: str, lists: Lists) -> bool:
    try:
        read(text, lists.catalogue)
    except ExpressionError:
        return False
    return True


def _sentence(outcome: EvaluateOutcome) -> str:
    if outcome.performance is None:
        return error_sentence(outcome.expression, outcome.error or {})
    row = outcome.row()
    figures = _figures(row)
    checks = "  ".join(map(_check, row["checks"]))
    if "reason" in row and row["sharpe"] is None:
        figures += f"\n  no figures: {row['reason']}"
    label = " (synthetic panel)" if row["source"] == "synthetic" else ""
    parts = [f"{name}: {_figures(row[name])}" for name in ("train", "validation", "test") if name in row]
    return "\n  ".join([f"{outcome.expression}{label}", figures, *parts, checks])


def _figures(row: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {_number(row[name])}" for name in (*METRICS, *COUNTS))


def _check(check: Mapping[str, Any]) -> str:
    reason = f" ({check['reason']})" if "reason" in check else ""
    return f"{check['name']} {check['result']}{reason}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _warn(outcomes: Sequence[EvaluateOutcome]) -> None:
    warnings = [line for one in outcomes if one.performance is not None for line in one.performance.warnings]
    for warning in dict.fromkeys(warnings):
        click.echo(f"Warning: {warning}", err=True)


def _write_values(path: Path, outcomes: Sequence[EvaluateOutcome], panel: "Panel", engine: "Engine") -> None:
    import numpy as np  # noqa: PLC0415

    good = {place: one.tree for place, one in enumerate(outcomes) if one.tree is not None}
    arrays: dict[str, Any] = {f"values_{place}": matrix for place, matrix in _matrices(good, engine)}
    try:
        with path.open("wb") as stream:  # savez would add .npz to a name that has another ending
            np.savez(stream, dates=panel.dates, symbols=np.array(panel.symbols, dtype=np.str_), **arrays)
    except OSError as error:
        raise FleetError(f"{path} cannot be written: {error.strerror}", hint="Name another file.") from error


def _matrices(trees: Mapping[int, Node], engine: "Engine") -> "Iterator[tuple[int, Matrix]]":
    """Yield the matrix of each tree that has one, even if its backtest has no figures."""
    from generator.backtest.errors import EvaluationError  # noqa: PLC0415

    try:
        yield from zip(trees, engine.values(list(trees.values())), strict=True)
    except EvaluationError:
        for place, tree in trees.items():
            with contextlib.suppress(EvaluationError):
                yield place, engine.values([tree])[0]


def _write_plot(path: Path, outcomes: Sequence[EvaluateOutcome]) -> None:
    from generator.backtest.result.plot import draw  # noqa: PLC0415  # matplotlib imports slowly

    lines = [(one.expression, one.performance) for one in outcomes if one.performance is not None]
    try:
        draw(path, lines)
    except OSError as error:
        raise FleetError(f"{path} cannot be written: {error.strerror}", hint="Name another file.") from error
