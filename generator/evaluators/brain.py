"""BRAIN evaluator: simulates candidates on WorldQuant BRAIN with the user's account.

The requests are in `generator.brain`. No alpha is submitted.
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
from fleet.runtime.logging import fields, with_sentence
from fleet.runtime.units import Seconds
from generator.brain.account_catalogue import Listing, kept_listing, listing_path
from generator.brain.credentials import DEFAULT_URL, URL_VARIABLE, CredentialSource
from generator.brain.event_data import EventFields
from generator.catalogue import Catalogue, Kind, load_catalogue, save
from generator.catalogue.available import Scope
from generator.domain import Candidate, ExpressionFault, Result, Ruleset, Source
from generator.rules_in_force import RulesInForce

if TYPE_CHECKING:
    from generator.brain.api import BrainApi
    from generator.brain.sign_in import SignInTurns
    from generator.brain.simulations import Retry, Simulator
    from generator.reporting.stats import RunStats
    from generator.storage.store import AlphaStore

_OUTCOMES = 2000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvaluatorContext:
    """Parts of the run for an evaluator with rows of its own.

    `store` opens the store at its first use: importing SQLAlchemy takes seconds on a busy machine.
    """

    store: "Callable[[], AlphaStore]"
    retry: "Retry"
    clock: Clock
    rng: Random
    stopping: threading.Event
    scope: Scope
    stats: "RunStats"
    rules: RulesInForce


@dataclass(frozen=True, slots=True)
class BrainPlan:
    """Plan of the BRAIN evaluator, made before the import of `requests` and the first request."""

    brain: BrainSettings
    settings: Mapping[str, Any]
    credentials: CredentialSource = field(repr=False)
    url: str
    home: Home

    @property
    def synthetic(self) -> bool:
        """Return False: BRAIN's figures describe a real market."""
        return False

    @property
    def rules(self) -> Ruleset:
        """Return the ruleset of evaluations."""
        return Ruleset(Source.BRAIN, self.settings)

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return None: BRAIN has all fields of the catalogue."""
        return None

    @property
    def listing(self) -> Catalogue | None:
        """Return BRAIN's last listing for this account, None without one."""
        return kept_listing(listing_path(self.home, self.settings))

    def connect(self, clock: Clock, turns: "SignInTurns | None" = None) -> "BrainApi":
        """Return the requests to BRAIN, not signed in yet. With `turns` one fleet of the account signs in at a time."""
        from generator.brain.api import BrainApi  # noqa: PLC0415  # requests, after the first call to Ollama
        from generator.brain.http import BrainHttp  # noqa: PLC0415
        from generator.brain.session import BrainSession, SessionFile  # noqa: PLC0415

        file = SessionFile(self.home.root() / "run" / "brain.json")
        return BrainApi(
            BrainSession(BrainHttp(self.url), self.credentials.read, file, clock, turns), clock, self.settings
        )

    def load(self, context: EvaluatorContext) -> "BrainEvaluator":
        """Return the evaluator with the resumed simulations of the last run."""
        from generator.brain.events import BrainEvents  # noqa: PLC0415
        from generator.brain.sign_in import SignInTurns  # noqa: PLC0415
        from generator.brain.simulations import Simulator  # noqa: PLC0415  # SQLAlchemy, as above
        from generator.storage.simulations import SimulationTable, brain_outcomes  # noqa: PLC0415

        if self.url != DEFAULT_URL:
            sentence = f"{URL_VARIABLE} is set: requests go to {self.url} instead of BRAIN"
            _log.warning("brain.elsewhere", extra=with_sentence(sentence, url=self.url))
        api = self.connect(context.clock, SignInTurns(context.store(), context.retry))
        simulator = Simulator(
            api,
            SimulationTable(context.store(), self.rules),
            retry=context.retry,
            clock=context.clock,
            rng=context.rng,
            slots=self.brain.slots,
            budget=self.brain.max_simulations_per_day,
            events=BrainEvents(),
        )
        event_fields = EventFields(self.listing or load_catalogue(higher=True), context.scope)
        event_fields.restore(context.retry(lambda: brain_outcomes(context.store(), limit=_OUTCOMES)))
        listing = Listing(api, context.clock, self.listing)
        return BrainEvaluator(self, simulator, context, listing, event_fields, disconnect=api.close)


class BrainEvaluator:
    """Keeps BRAIN's slots busy, and downloads BRAIN's listing again once it is old."""

    def __init__(
        self,
        plan: BrainPlan,
        simulator: "Simulator",
        context: EvaluatorContext,
        listing: Listing,
        event_fields: EventFields,
        *,
        disconnect: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._simulator = simulator
        self._context = context
        self._listing = listing
        self._event_fields = event_fields
        self._disconnect = disconnect

    @property
    def source(self) -> Source:
        """Return the origin of the figures."""
        return Source.BRAIN

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the settings of simulations."""
        return self._plan.settings

    @property
    def fields(self) -> Mapping[str, Kind] | None:
        """Return None: BRAIN has all fields of the catalogue."""
        return None

    @property
    def free(self) -> int:
        """Return how many candidates `submit` accepts now."""
        return self._simulator.free

    def submit(self, candidates: Sequence[Candidate]) -> None:
        """Queue candidates for simulation."""
        self._simulator.submit(candidates)

    def results(self, timeout: Seconds) -> Sequence[tuple[Candidate, Result]]:
        """Make due requests until a result is there or `timeout` ends; return the finished results."""
        clock, stopping = self._context.clock, self._context.stopping
        deadline = clock.monotonic() + timeout
        while not stopping.is_set():
            done = self._simulator.step()
            self._context.stats.brain(self._simulator.state())
            for candidate, result in done:
                self._event_fields.note(
                    candidate, result.reason if isinstance(result, ExpressionFault) else ""
                )
            if done:
                return done
            if self._simulator.healthy and self._listing.is_due:
                self._update_listing()
            left = min(self._simulator.next_due(), deadline) - clock.monotonic()
            if clock.monotonic() >= deadline:
                break
            clock.wait(stopping, max(left, 0.0))
        return []

    def _update_listing(self) -> None:
        """Download the next part of the listing; after a failure the old one stays in use until the next try."""
        try:
            made = self._listing.step()
        except GeneratorError as error:
            self._listing.put_off()
            _log.warning("brain.unlisted", extra=fields(error=error.message))
            return
        if made is None:
            return
        try:
            save(made, listing_path(self._plan.home, self._plan.settings))
        except OSError as error:
            _log.warning("brain.listing_unkept", extra=fields(error=error.strerror))
        self._context.scope.adopt(made)
        sentence = (
            f"BRAIN lists {len(made.operators)} operators and {len(made.fields)} fields for this account"
        )
        _log.info("brain.listed", extra=with_sentence(sentence, skipped=",".join(made.skipped) or None))

    def close(self) -> None:
        """Close the connections; simulations continue at BRAIN, and the next start resumes them."""
        self._disconnect()
