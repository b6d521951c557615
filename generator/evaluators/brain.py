"""The BRAIN evaluator: candidates are simulated on WorldQuant BRAIN with the user's account.

What it does with them stands in `generator.brain`. It submits nothing.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from fleet.config.schema import BrainSettings
from fleet.runtime.clock import Clock
from fleet.runtime.errors import GeneratorError
from fleet.runtime.home import Home
from fleet.runtime.logging import fields, tell
from fleet.runtime.units import Seconds
from generator.brain.account_catalogue import Listing, is_fresh, kept_listing, listing_path
from generator.brain.credentials import CredentialSource
from generator.brain.http import DEFAULT_URL, URL_VARIABLE
from generator.catalogue import Catalogue, Kind, save
from generator.catalogue.available import Scope
from generator.domain import Candidate, Result, Ruleset, Source

if TYPE_CHECKING:
    from generator.brain.api import BrainApi
    from generator.brain.jobs import Keeper
    from generator.brain.simulations import Simulator
    from generator.reporting.stats import Scoreboard
    from generator.storage.store import AlphaStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tools:
    """What a run lends to an evaluator that works elsewhere and keeps rows of its own.

    `store` makes the store at its first use: importing what it needs would hold up whoever is asked to end.
    """

    store: "Callable[[], AlphaStore]"
    keep: "Keeper"
    clock: Clock
    chance: Random
    stopping: threading.Event
    scope: Scope
    scoreboard: "Scoreboard"


@dataclass(frozen=True, slots=True)
class BrainPlan:
    """What will evaluate, before `requests` is imported and before anything is sent."""

    brain: BrainSettings
    settings: Mapping[str, Any]
    credentials: CredentialSource = field(repr=False)
    url: str
    home: Home

    @property
    def synthetic(self) -> bool:
        """Tell whether the figures are about a made-up market."""
        return False

    @property
    def rules(self) -> Ruleset:
        """Return what evaluations are made under."""
        return Ruleset(Source.BRAIN, self.settings)

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return None: BRAIN has all of the catalogue's fields."""
        return None

    @property
    def listing(self) -> Catalogue | None:
        """Return what BRAIN listed for this account last, None if it was never asked."""
        return kept_listing(listing_path(self.home, self.settings))

    def connect(self, clock: Clock) -> "BrainApi":
        """Return BRAIN's requests, not signed in yet."""
        from generator.brain.api import BrainApi  # noqa: PLC0415  # requests, after the first call to Ollama
        from generator.brain.http import BrainHttp  # noqa: PLC0415
        from generator.brain.session import BrainSession, SessionFile  # noqa: PLC0415

        file = SessionFile(self.home.run / "brain.json")
        return BrainApi(
            BrainSession(BrainHttp(self.url), self.credentials.read, file, clock), clock, self.settings
        )

    def load(self, tools: Tools) -> "BrainEvaluator":
        """Return the evaluator, with what the last run left on its way."""
        from generator.brain.simulations import Simulator  # noqa: PLC0415  # SQLAlchemy, as above
        from generator.reporting.events import BrainEvents  # noqa: PLC0415
        from generator.storage.simulations import SimulationTable  # noqa: PLC0415

        if self.url != DEFAULT_URL:
            sentence = f"{URL_VARIABLE} is set: {self.url} is asked in BRAIN's place"
            _log.warning("brain.elsewhere", extra=tell(sentence, url=self.url))
        api = self.connect(tools.clock)
        simulator = Simulator(
            api,
            SimulationTable(tools.store(), self.rules),
            keep=tools.keep,
            clock=tools.clock,
            chance=tools.chance,
            slots=self.brain.slots,
            budget=self.brain.max_simulations_per_day,
            teller=BrainEvents(),
        )
        listing = Listing(api, tools.clock)
        wanted = None if is_fresh(self.listing, listing.today()) else listing
        return BrainEvaluator(self, simulator, tools, wanted, hang_up=api.close)


class BrainEvaluator:
    """Keeps BRAIN's slots busy; beside that it fetches BRAIN's lists anew when they are old."""

    def __init__(
        self,
        plan: BrainPlan,
        simulator: "Simulator",
        tools: Tools,
        listing: Listing | None,
        *,
        hang_up: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._simulator = simulator
        self._tools = tools
        self._listing = listing
        self._hang_up = hang_up

    @property
    def source(self) -> Source:
        """Return what its figures are about."""
        return Source.BRAIN

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what it evaluates under."""
        return self._plan.settings

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return None: it has all of the catalogue's fields."""
        return None

    @property
    def free(self) -> int:
        """Return how many candidates it takes now."""
        return self._simulator.free

    def submit(self, candidates: Sequence[Candidate]) -> None:
        """Take candidates in."""
        self._simulator.submit(candidates)

    def results(self, patience: Seconds) -> Sequence[tuple[Candidate, Result]]:
        """Do what is due until something is done or patience ends, and return what is done."""
        clock, stopping = self._tools.clock, self._tools.stopping
        deadline = clock.monotonic() + patience
        while not stopping.is_set():
            done = self._simulator.step()
            self._tools.scoreboard.brain(self._simulator.view())
            if done:
                return done
            if self._listing is not None and self._simulator.well:
                self._list(self._listing)
            left = min(self._simulator.next_due(), deadline) - clock.monotonic()
            if clock.monotonic() >= deadline:
                break
            clock.wait(stopping, max(left, 0.0))
        return []

    def _list(self, listing: Listing) -> None:
        """Take one step of fetching BRAIN's lists; where it fails they are left as they are until next time."""
        try:
            made = listing.step()
        except GeneratorError as error:
            self._listing = None
            _log.warning("brain.unlisted", extra=fields(error=error.message))
            return
        if made is None:
            return
        self._listing = None
        try:
            save(made, listing_path(self._plan.home, self._plan.settings))
        except OSError as error:
            _log.warning("brain.listing_unkept", extra=fields(error=error.strerror))
        self._tools.scope.adopt(made)
        sentence = (
            f"BRAIN lists {len(made.operators)} operators and {len(made.fields)} fields for this account"
        )
        _log.info("brain.listed", extra=tell(sentence, skipped=",".join(made.skipped) or None))

    def close(self) -> None:
        """Let go; what BRAIN is simulating goes on there, and is picked up at the next start."""
        self._hang_up()
