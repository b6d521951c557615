"""BRAIN's lists of operators and data fields, fetched a page a time and kept on disk with their date."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from fleet.runtime.clock import Clock
from fleet.runtime.errors import GeneratorError
from fleet.runtime.home import Home
from generator.brain.api import BrainApi
from generator.catalogue import Catalogue, from_brain, load

FRESH_DAYS = 7
# As far as BRAIN lets anybody page.
_MOST_FIELDS = 10_000


def listing_path(home: Home, settings: Mapping[str, Any]) -> Path:
    """Return the file of what BRAIN listed for a region, delay and universe."""
    names = (settings["region"], f"D{settings['delay']}", settings["universe"])
    return home.path / f"catalogue-{'-'.join(map(str, names))}.json"


def kept_listing(path: Path) -> Catalogue | None:
    """Return the catalogue that was kept, None if there is none that can be read."""
    if not path.exists():
        return None
    try:
        found = load(path)
    except GeneratorError:
        return None
    return found if found.operators and found.fields else None


def is_fresh(catalogue: Catalogue | None, today: date) -> bool:
    """Tell whether a kept catalogue is young enough not to be asked for again."""
    if catalogue is None:
        return False
    try:
        made = date.fromisoformat(catalogue.date)
    except ValueError:
        return False
    return 0 <= (today - made).days < FRESH_DAYS


class Listing:
    """One refresh, a request a step."""

    def __init__(self, api: BrainApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._operators: list[Any] | None = None
        self._fields: list[Any] = []

    def step(self) -> Catalogue | None:
        """Ask for the next part; return the catalogue once it is whole, raise BrainError where a part fails.

        A part that failed can be asked for again by another step.
        """
        if self._operators is None:
            self._operators = list(self._api.operators())
            return None
        rows, count = self._api.data_fields(len(self._fields))
        self._fields += rows
        if rows and len(self._fields) < min(count, _MOST_FIELDS):
            return None
        made = from_brain(self._operators, self._fields, date=self.today().isoformat())
        if not made.operators or not made.fields:
            raise GeneratorError("BRAIN listed no operators or no fields that can be understood")
        return made

    def today(self) -> date:
        """Return the date in UTC."""
        return datetime.fromtimestamp(self._clock.time(), UTC).date()

    @property
    def progress(self) -> str:
        """Return how far it is, for a person."""
        return f"{len(self._operators or [])} operators, {len(self._fields)} fields"
