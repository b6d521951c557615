"""`python3 -m generator panel`: shows the panel's days and their split, and makes a new split."""

import json
import os
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleet.config.load import find_config, load_settings
from fleet.config.schema import PanelSettings
from fleet.runtime.errors import ConfigError, GeneratorError
from fleet.runtime.home import ROOT, find_home
from generator.domain import Split
from generator.evaluators.local import open_panel
from generator.evaluators.panel_split import TO_KEEP, panel_name, replaces, split_of
from generator.pool.stored import stored_split
from generator.storage.read import database_location, database_url, open_database

if TYPE_CHECKING:
    from generator.backtest.panel import Panel


@dataclass(frozen=True, slots=True)
class ConfiguredPanel:
    """The settings of `[panel]`, and the database that keeps the split."""

    settings: PanelSettings
    database: Path | str

    def stored(self) -> Split | None:
        """Return the stored split."""
        with open_database(self.database) as rows:
            return None if rows is None else stored_split(rows, panel_name(self.settings))


def configured_panel(**given: Any) -> ConfiguredPanel:
    """Return the configured panel, its settings overridden by the options of the command line."""
    settings = load_settings(find_config(None, os.environ, ROOT), os.environ)
    options = {name: value for name, value in given.items() if value is not None}
    location = database_location(settings.generator.database, find_home(os.environ))
    return ConfiguredPanel(replace(settings.panel, **options), location)


@click.command()
@click.option("--panel", "path", help="Parquet or CSV. Default: [panel] path, else a synthetic panel.")
@click.option("--new-split", is_flag=True, help="Split the present days anew; the cost stands below.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def panel(path: str | None, *, new_split: bool, as_json: bool) -> None:
    """Show the panel's days and their split into train, validation and test.

    The split is made when the generator first reads the panel, and kept from then on. --new-split makes another of the
    present days. Days that become train or validation days are no longer unseen. All kept alphas and members of the
    pool are evaluated again.
    """
    configured = configured_panel(path=path)
    loaded = open_panel(configured.settings.path, gaps=configured.settings.gaps)
    before = configured.stored()
    split = split_of(loaded, configured.settings, before)
    cost = ""
    if new_split:
        split = _moved(configured, loaded)
        cost = _cost(loaded, before, split)
    row = _row(loaded, split, stored=before == split or new_split)
    if as_json:
        click.echo(json.dumps({**row, "cost": cost} if new_split else row))
        return
    click.echo("\n".join([*_lines(configured, row, split), *filter(None, [cost])]))


def _moved(configured: ConfiguredPanel, loaded: "Panel") -> Split:
    """Store a split of the present days and return it."""
    from generator.storage.pool import write_split  # noqa: PLC0415  # SQLAlchemy: only where a split is written
    from generator.storage.store import AlphaStore  # noqa: PLC0415

    settings = configured.settings
    if settings.validation_from is not None or settings.test_from is not None:
        raise ConfigError(
            "[panel] validation_from or test_from is set, so the split is not made of the days",
            hint="Change the dates there, or remove both and run this again.",
        )
    split = split_of(loaded, settings, None)
    if split is None:
        raise GeneratorError(unsplit(len(loaded.dates)), hint="Mine on; alphas are judged on all days.")
    with (
        closing(AlphaStore(database_url(configured.database), owner="panel")) as store,
        store.transaction() as connection,
    ):
        write_split(connection, panel_name(settings), split, time.time())
    return split


def unsplit(days: int) -> str:
    """Return why a panel of so many days has no split."""
    from generator.backtest.split import LEAST_DAYS  # noqa: PLC0415  # numpy; --help stays fast

    return f"the panel has {days} days, and a split takes {LEAST_DAYS}"


def _cost(loaded: "Panel", before: Split | None, split: Split) -> str:
    """Return the cost of a moved split, in words."""
    from generator.backtest.split import split_ends  # noqa: PLC0415  # as above

    if before is None or before == split:
        return "the split is that of the generator's first reading, and costs nothing"
    train, until_test = split_ends(split, loaded.dates)
    train_before, until_test_before = split_ends(before, loaded.dates)
    return (
        f"{max(0, train - train_before)} more days are train days and {max(0, until_test - until_test_before)} "
        f"fewer are test days; these days are no longer unseen. Kept alphas and members of the pool are "
        f"evaluated again; a running generator begins within a minute."
    )


def _row(loaded: "Panel", split: Split | None, *, stored: bool) -> dict[str, Any]:
    from generator.backtest.split import split_ends  # noqa: PLC0415  # as above

    days = len(loaded.dates)
    row: dict[str, Any] = {
        "source": loaded.source,
        "days": days,
        "instruments": len(loaded.symbols),
        "first_date": str(loaded.dates[0]) if days else None,
        "last_date": str(loaded.dates[-1]) if days else None,
        "split": None,
    }
    if split is None:
        return row
    train, until_test = split_ends(split, loaded.dates)
    counts = {"train": train, "validation": until_test - train, "test": days - until_test}
    return {**row, "split": {**split.as_json(), **counts, "stored": stored}}


def _lines(configured: ConfiguredPanel, row: dict[str, Any], split: Split | None) -> list[str]:
    head = (
        f"{panel_name(configured.settings)}: {row['days']} days x {row['instruments']} instruments, "
        f"{row['first_date']} to {row['last_date']}"
    )
    if split is None:
        return [head, f"no split: {unsplit(row['days'])}"]
    kept, shown = configured.stored(), row["split"]
    if kept == split:
        state = "kept in the database"
    elif kept is None or replaces(split, kept, configured.settings):
        state = f"kept from the generator's {'first' if kept is None else 'next'} reading on"
    else:
        state = f"of these days, which the kept one does not fit; {TO_KEEP}"
    return [
        head,
        f"train: {shown['train']} days",
        f"validation: {shown['validation']} days from {shown['validation_from']}",
        f"test: {shown['test']} days from {shown['test_from']}",
        f"the split is {state}",
    ]
