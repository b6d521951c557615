"""BRAIN's operators and data fields for the account: downloaded page by page, stored in a dated file."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from fleet.runtime.clock import Clock
from fleet.runtime.errors import GeneratorError
from fleet.runtime.home import Home, is_there
from fleet.runtime.units import Seconds
from generator.brain.api import BrainApi
from generator.catalogue import Catalogue, from_brain, load

FRESH_DAYS = 7
_PUT_OFF: Seconds = 86400.0
# The last row that BRAIN's paging reaches.
_MOST_FIELDS = 10_000


def listing_path(home: Home, settings: Mapping[str, Any]) -> Path:
    """Return the file of the listing for the settings' region, delay and universe."""
    names = (settings["region"], f"D{settings['delay']}", settings["universe"])
    return home.root() / f"catalogue-{'-'.join(map(str, names))}.json"


def kept_listing(path: Path) -> Catalogue | None:
    """Return the stored catalogue, None if it is missing, unreadable or empty."""
    if not is_there(path):
        return None
    try:
        found = load(path)
    except GeneratorError:
        return None
    return found if found.operators and found.fields else None


def is_fresh(catalogue: Catalogue | None, today: date) -> bool:
    """Return True if a stored catalogue is younger than FRESH_DAYS."""
    if catalogue is None:
        return False
    try:
        made = date.fromisoformat(catalogue.date)
    except ValueError:
        return False
    return 0 <= (today - made).days < FRESH_DAYS


class Listing:
    """Download of the listing, one request a step; `last` is the present one."""

    def __init__(self, api: BrainApi, clock: Clock, last: Catalogue | None = None) -> None:
        self._api = api
        self._clock = clock
        self._last = last
        self._not_before = float("-inf")
        self._operators: list[Any] | None = None
        self._fields: list[Any] = []

    @property
    def is_due(self) -> bool:
        """Return True if the present listing is not fresh, and the download not put off."""
        return self._clock.monotonic() >= self._not_before and not is_fresh(self._last, self.today())

    def put_off(self) -> None:
        """Begin the download anew tomorrow."""
        self._not_before = self._clock.monotonic() + _PUT_OFF
        self._operators, self._fields = None, []

    def step(self) -> Catalogue | None:
        """Request the next part; return the catalogue once it is complete.

        Raise BrainError if a part fails; the next step requests it again. Raise GeneratorError for an unusable listing.
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
            raise GeneratorError("BRAIN's listing has no readable operators or no readable fields")
        self._last, self._operators, self._fields = made, None, []
        return made

    def today(self) -> date:
        """Return today's date in UTC."""
        return datetime.fromtimestamp(self._clock.time(), UTC).date()

    @property
    def progress(self) -> str:
        """Return the progress as a text."""
        return f"{len(self._operators or [])} operators, {len(self._fields)} fields"
