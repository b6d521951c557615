"""The operators and fields of the commands: BRAIN's lists for the home's account, else the bundled catalogue."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from fleet.config.load import config_path, load_settings
from fleet.runtime.home import Home, find_home, is_there, read_fleet_file
from generator.brain.account_catalogue import kept_listing, listing_path
from generator.brain.api import simulation_settings
from generator.catalogue import Catalogue, load_catalogue


@dataclass(frozen=True, slots=True)
class Lists:
    """A catalogue with a description of its origin; `of_account`: from BRAIN's lists for the home's account."""

    catalogue: Catalogue
    origin: str
    of_account: bool = False

    @property
    def readable(self) -> Catalogue:
        """Return the catalogue for reading expressions: the account's, else all known operators and fields."""
        return self.catalogue if self.of_account else load_catalogue(higher=True)

    def report(self) -> None:
        """Print the origin of the lists to standard error."""
        click.echo(f"Lists: {self.origin}", err=True)


def account_lists(environ: Mapping[str, str] = os.environ) -> Lists:
    """Return the lists that `refresh` saved for the configured region, delay and universe, else the bundled ones.

    Raises ConfigError for a configuration that cannot be read.
    """
    home = find_home(environ)
    shipped = load_catalogue()
    origin = f"bundled, of {shipped.date}; `refresh` fetches your account's"
    if not any(home.root().glob("catalogue-*.json")):
        return Lists(shipped, origin)
    path = _path(home, environ)
    kept = kept_listing(path)
    if kept is None:
        fault = f"{path} cannot be read" if is_there(path) else f"there is no {path.name} in {home.root()}"
        return Lists(shipped, f"{origin} ({fault})")
    return Lists(kept, f"your account's of {kept.date}, {path}", of_account=True)


def _path(home: Home, environ: Mapping[str, str]) -> Path:
    settings = load_settings(config_path(read_fleet_file(home), environ), environ)
    return listing_path(home, simulation_settings(settings.brain, settings.panel))
