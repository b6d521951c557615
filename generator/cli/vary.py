"""`python3 -m generator vary`: searches around an alpha by its constants and settings, and stores the results."""

import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleet.config.keep_rule import COUNTS, METRICS, KeepRule, parse_keep
from fleet.config.load import config_path, load_settings
from fleet.config.schema import PanelSettings, Settings
from fleet.runtime.clock import SystemClock
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import Home, find_home, read_fleet_file
from generator.catalogue import Catalogue
from generator.catalogue.available import with_fields
from generator.cli.account_lists import account_lists
from generator.cli.expression_text import ExpressionCommand, error_row, error_sentence
from generator.config import database_owner
from generator.domain import AlphaFigures, Candidate, Evaluated, Origin, Result, Ruleset, Source
from generator.evaluators.local import LocalEvaluator, LocalPlan, open_panel
from generator.evaluators.panel_fields import panel_fields
from generator.language import ExpressionError, read, show
from generator.variation import AlphaChoices, Trial, Variant, ranked, search
from generator.workers.pool import StoredSplits

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class _Bench:
    """Evaluates variants on the panel, and stores each result."""

    panel: PanelSettings
    source: Source
    catalogue: Catalogue
    keep: KeepRule
    store: "AlphaStore"

    def evaluate(self, variants: Sequence[Variant]) -> list[Trial]:
        """Return the variants' trials, in order; those with the same settings share an evaluator."""
        grouped: defaultdict[AlphaChoices, list[Variant]] = defaultdict(list)
        for variant in variants:
            grouped[variant.choices].append(variant)
        found: dict[Variant, Trial] = {}
        for choices, group in grouped.items():
            plan = LocalPlan(replace(self.panel, **asdict(choices)), self.source)
            splits = StoredSplits(lambda: self.store, lambda action: action(), SystemClock())
            with closing(plan.load(splits)) as evaluator:
                found |= self._evaluated(evaluator, group)
        return [found[variant] for variant in variants]

    def _evaluated(self, evaluator: LocalEvaluator, group: Sequence[Variant]) -> dict[Variant, Trial]:
        evaluator.submit([self.candidate(variant) for variant in group])
        rules = Ruleset(evaluator.source, evaluator.settings)
        trials = {}
        for variant, (candidate, result) in zip(group, evaluator.results(0.0), strict=True):
            figures = result.figures() if isinstance(result, AlphaFigures) and not result.reason else None
            self.add(candidate, rules)
            self.finish(candidate, rules, result)
            trials[variant] = Trial(variant, result, None if figures is None else figures["fitness"])
        return trials

    def candidate(self, variant: Variant) -> Candidate:
        """Return a variant's candidate."""
        return Candidate(
            digest=variant.digest,
            expression=show(variant.tree),
            canonical=read(show(variant.tree), self.catalogue).expression,
            tree=variant.tree,
            origin=Origin.VARIED,
            parents=(variant.parent,) if variant.parent else (),
        )

    def add(self, candidate: Candidate, rules: Ruleset) -> None:
        """Add a candidate's row, unless the ruleset has one."""
        from generator.storage.additions import add_candidate  # noqa: PLC0415  # SQLAlchemy: --help stays fast

        add_candidate(self.store, candidate, rules, time.time())

    def finish(self, candidate: Candidate, rules: Ruleset, result: Result) -> None:
        """Store a result; a result that the ruleset has already stays unchanged."""
        performance = result if isinstance(result, AlphaFigures) else None
        error = None if isinstance(result, AlphaFigures) else result.reason
        means = performance is not None and not performance.reason
        evaluated = Evaluated(
            candidate,
            rules.source,
            rules.settings,
            performance,
            error,
            kept=performance is not None and means and self.keep.holds(performance.figures()),
            time=time.time(),
        )
        self.store.finish(evaluated, rules)


@click.command(cls=ExpressionCommand)
@click.argument("expression", metavar="EXPR")
@click.option(
    "--panel",
    type=click.Path(path_type=Path),
    help="Parquet or CSV. Default: [panel] path, else a synthetic panel.",
)
@click.option(
    "--budget",
    default=60,
    show_default=True,
    type=click.IntRange(2, 10_000),
    help="Most backtests. Each counts as a trial.",
)
@click.option("--brain", is_flag=True, help="Then simulate the best on BRAIN, one for each of its slots.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: the alpha, then its variants.")
@click.pass_context
def vary(
    ctx: click.Context, expression: str, *, panel: Path | None, budget: int, brain: bool, as_json: bool
) -> None:
    """Search around an alpha: its constants, decay, truncation, neutralization and delay.

    One change at a time, by successive halving: half of the remaining budget goes to changes of the fittest. The
    fittest are fewer in each round. All results are stored, with the origin `varied`. An expression that begins with
    `-` must follow `--`.
    """
    home = find_home(os.environ)
    settings = load_settings(config_path(read_fleet_file(home), os.environ), os.environ)
    chosen = settings.panel if panel is None else replace(settings.panel, path=str(panel))
    choices = AlphaChoices(chosen.delay, chosen.decay, chosen.neutralization, chosen.truncation)
    if brain:
        _require_brain(settings, home, chosen, choices)
    loaded = open_panel(chosen.path, gaps=chosen.gaps)
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    # Each round loads the panel again for new settings, and would repeat the warnings.
    logging.getLogger("generator.evaluators").setLevel(logging.ERROR)
    lists = account_lists()
    lists.report()
    catalogue = with_fields(lists.readable, panel_fields(loaded))
    try:
        alpha = read(expression, catalogue)
    except ExpressionError as error:
        row = error_row(error)
        click.echo(
            json.dumps({"expression": expression, "error": row})
            if as_json
            else error_sentence(expression, row)
        )
        ctx.exit(1)
    first = Variant(alpha.tree, alpha.digest, choices)
    groups = ("none", *(name for name in loaded.group_sizes() if name in _GROUPINGS))
    from generator.storage.read import database_location, database_url  # noqa: PLC0415  # SQLAlchemy, as above
    from generator.storage.store import AlphaStore  # noqa: PLC0415

    url = database_url(database_location(settings.generator.database, home))
    store = AlphaStore(url, owner=database_owner(home.owner_file, os.environ.get("FLEET_LANE") or "default"))
    bench = _Bench(
        panel=chosen,
        source=Source.PANEL if chosen.path else Source.SYNTHETIC,
        catalogue=catalogue,
        keep=parse_keep(settings.generator.keep),
        store=store,
    )
    with closing(store):
        trials = search(first, catalogue, groups, budget=budget, evaluate=bench.evaluate)
        _print(trials, bench.source, as_json=as_json)
        if brain:
            from generator.cli.vary_on_brain import BrainBench  # noqa: PLC0415  # requests, as above

            on_brain = BrainBench(settings, home, store, bench.candidate, bench.add, bench.finish)
            best = [one.variant for one in ranked(trials) if (one.fitness or 0.0) > 0]
            _print(on_brain.simulate(best[: settings.brain.slots]), Source.BRAIN, as_json=as_json)


def _require_brain(settings: Settings, home: Home, panel: PanelSettings, choices: AlphaChoices) -> None:
    """Raise ConfigError where BRAIN would refuse the best variants, before the search spends its budget."""
    from generator.cli.vary_on_brain import variants_plan  # noqa: PLC0415  # requests: --help stays fast

    if not panel.path:
        raise ConfigError(
            "--brain needs a panel of your own: figures of a synthetic panel choose nothing for BRAIN",
            hint="Name it by --panel, or set [panel] path.",
        )
    variants_plan(settings, home, choices)


_GROUPINGS = ("market", "sector", "industry", "subindustry")


def _print(trials: Sequence[Trial], source: Source, *, as_json: bool) -> None:
    for trial in trials if as_json else trials[: 1 + _SHOWN]:
        click.echo(json.dumps(_row(trial, source)) if as_json else _sentence(trial, source))
    click.echo(f"{len(trials)} evaluated ({source.value}); each counts as a trial", err=True)


def _row(trial: Trial, source: Source) -> dict[str, Any]:
    variant, result = trial.variant, trial.result
    row: dict[str, Any] = {
        "expression": show(variant.tree),
        "digest": variant.digest,
        "parent": variant.parent or None,
        "settings": asdict(variant.choices),
        "source": source.value,
    }
    if not isinstance(result, AlphaFigures):
        return {**row, "error": result.reason}
    figures = result.figures()
    reason = {"reason": result.reason} if result.reason else {}
    return {
        **row,
        **{name: figures[name] for name in (*METRICS, *COUNTS)},
        "checks": list(result.checks),
        **reason,
    }


def _sentence(trial: Trial, source: Source) -> str:
    row = _row(trial, source)
    settings = "  ".join(f"{name} {value}" for name, value in row["settings"].items())
    if "error" in row:
        return f"{row['expression']}\n  {settings}\n  error: {row['error']}"
    figures = "  ".join(f"{name} {_number(row[name])}" for name in METRICS)
    reason = f"\n  no figures: {row['reason']}" if "reason" in row else ""
    return f"{row['expression']}\n  {settings}\n  {figures}{reason}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
