"""Typed requests to BRAIN: simulate, read simulations and alphas, list operators and fields.

No request submits an alpha.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fleet.config.schema import BrainSettings, PanelSettings
from fleet.runtime.clock import Clock
from generator.brain.errors import BrainAwayError, BrainQuotaError
from generator.brain.responses import Progress, code_of, quota_error, read_simulation
from generator.domain import storable

if TYPE_CHECKING:
    from generator.brain.session import BrainSession

# Other settings have the account's defaults.
_FIXED: Mapping[str, object] = {
    "instrumentType": "EQUITY",
    "pasteurization": "ON",
    "unitHandling": "VERIFY",
    "nanHandling": "OFF",
    "language": "FASTEXPR",
    "visualization": False,
}


def simulation_settings(brain: BrainSettings, panel: PanelSettings) -> dict[str, Any]:
    """Return BRAIN's settings of a simulation; the same settings give the same figures."""
    neutralization = panel.neutralization if brain.neutralization is None else brain.neutralization
    return {
        **_FIXED,
        "region": brain.region,
        "universe": brain.universe,
        "delay": panel.delay if brain.delay is None else brain.delay,
        "decay": panel.decay if brain.decay is None else brain.decay,
        "neutralization": neutralization.upper(),
        "truncation": panel.truncation if brain.truncation is None else brain.truncation,
    }


def payload(expression: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of one simulation's request."""
    return {"type": "REGULAR", "settings": dict(settings), "regular": expression}


def same_code(left: str, right: str) -> bool:
    """Return True if two texts differ only by white space and a last semicolon."""
    return _without_spaces(left) == _without_spaces(right)


def _without_spaces(code: str) -> str:
    return "".join(code.split()).rstrip(";")


def same_settings(alpha: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Return True if an alpha was simulated under these settings; settings that BRAIN does not name are ignored."""
    return all(alpha[name] == value for name, value in settings.items() if name in alpha)


MULTI_SIMULATION = "MULTI_SIMULATION"
MOST_IN_MULTI = 10
PAGE = 50
_RECENT = 100


class BrainApi:
    """Typed requests over a session; each raises BrainError if it fails."""

    def __init__(self, session: "BrainSession", clock: Clock, settings: Mapping[str, Any]) -> None:
        self._session = session
        self._clock = clock
        self._settings = settings
        self._quota_used_up: BrainQuotaError | None = None

    @property
    def quota_used_up(self) -> BrainQuotaError | None:
        """Return the quota's error if the last accepted simulation used up the day's quota, else None."""
        return self._quota_used_up

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the settings of simulations."""
        return self._settings

    @property
    def per_simulation(self) -> int:
        """Return the most expressions in one simulation for this account."""
        return MOST_IN_MULTI if MULTI_SIMULATION in self._session.permissions else 1

    @property
    def account(self) -> str:
        """Return the account's key in the database, empty while the credentials cannot be read."""
        return self._session.account

    @property
    def signed_in(self) -> bool:
        """Return True if the session is signed in, as far as is known."""
        return self._session.signed_in

    def answers(self) -> bool:
        """Return True if BRAIN answers for its session: a failure elsewhere is one of that address."""
        return self._session.answers()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def sign_in(self) -> bool:
        """Sign in unless the session is signed in; return True if BRAIN was asked."""
        return self._session.ensure()

    def simulate(self, expressions: Sequence[str]) -> str:
        """Start one simulation, for several expressions a multi-simulation; return its location."""
        rows = [payload(expression, self._settings) for expression in expressions]
        answer = self._session.send("POST", "/simulations", document=rows[0] if len(rows) == 1 else rows)
        self._quota_used_up = quota_error(answer, self._clock.time())
        location = answer.headers.get("location", "")
        if not location:
            raise BrainAwayError("BRAIN accepted a simulation without a location")
        return storable(location[:1000])

    def simulation(self, location: str) -> Progress:
        """Return a simulation's progress, by its location or a child's id."""
        path = location if "/" in location else f"/simulations/{location}"
        return read_simulation(self._session.send("GET", path), self._clock.time())

    def alpha(self, name: str) -> Any:
        """Return an alpha's details."""
        return self._session.send("GET", f"/alphas/{quote(name, safe='')}").document

    def recent_alpha(self, expression: str) -> str | None:
        """Return the id of the newest alpha of the account with this expression and our settings, None without one."""
        query: dict[str, str | int] = {
            "limit": _RECENT,
            "offset": 0,
            "order": "-dateCreated",
            "hidden": "false",
        }
        document = self._session.send("GET", "/users/self/alphas", query=query).document
        for row in _results(document):
            settings = row.get("settings")
            known = isinstance(settings, Mapping) and same_settings(settings, self._settings)
            if known and same_code(code_of(row), expression) and row.get("id"):
                return str(row["id"])
        return None

    def operators(self) -> Sequence[Any]:
        """Return the rows of `/operators`."""
        document = self._session.send("GET", "/operators").document
        return document if isinstance(document, list) else _results(document)

    def data_fields(self, offset: int) -> tuple[Sequence[Mapping[str, Any]], int]:
        """Return a page of `/data-fields` for our region, delay and universe, and the total of rows."""
        query: dict[str, str | int] = {
            **{name: self._settings[name] for name in ("instrumentType", "region", "delay", "universe")},
            "limit": PAGE,
            "offset": offset,
        }
        document = self._session.send("GET", "/data-fields", query=query).document
        count = document.get("count") if isinstance(document, Mapping) else None
        rows = _results(document)
        return rows, count if isinstance(count, int) else offset + len(rows)


def _results(document: Any) -> Sequence[Mapping[str, Any]]:
    rows = document.get("results") if isinstance(document, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
