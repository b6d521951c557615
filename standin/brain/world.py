"""The state of a stand-in BRAIN: sessions, simulations, alphas, requests. No HTTP here."""

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from standin.brain import figures
from standin.brain.faults import Board, BrainFaultKind
from standin.brain.settings import BrainStandinSettings

_DAY = 86400.0


@dataclass(slots=True)
class StandinSimulation:
    """One simulation; a multi-simulation has children and no code."""

    id: str
    code: str
    settings: dict[str, Any]
    began: float
    length: float
    status: str = "COMPLETE"
    message: str = ""
    location: dict[str, int] | None = None
    children: list[str] = field(default_factory=list)
    parent: str = ""

    def left(self, now: float) -> float:
        """Return how long it still takes."""
        return max(0.0, self.began + self.length - now)


class World:
    """One account's side of BRAIN; `clock` gives monotonic seconds. Safe for any thread."""

    def __init__(self, settings: BrainStandinSettings, board: Board, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.board = board
        self.clock = clock
        self.simulations: dict[str, StandinSimulation] = {}
        self._running: list[StandinSimulation] = []
        self.alphas: dict[str, dict[str, Any]] = {}
        self.taken: list[str] = []
        """The expression of every simulation, in order: an expression that is there twice was paid twice."""
        self.sign_ins = 0
        self.wrong = 0
        self.opened = not settings.persona
        self.inquiry = f"inq_{secrets.token_hex(6)}"
        self.operators = figures.operator_rows()
        self.fields = figures.field_rows()
        self._operators = frozenset(row["name"] for row in self.operators)
        self._fields = frozenset(row["id"] for row in self.fields)
        self._sessions: dict[str, float] = {}
        self._times: list[float] = []
        self._blank: dict[str, int] = {}
        self.lock = threading.RLock()

    # --- sessions

    def open_session(self) -> str:
        """Return the token of a new session."""
        token = secrets.token_urlsafe(24)
        self._sessions[token] = self.clock() + self.settings.session
        self.sign_ins += 1
        return token

    def session_left(self, token: str) -> float | None:
        """Return how long a session lasts, None if there is none."""
        left = self._sessions.get(token, 0.0) - self.clock()
        return left if token in self._sessions and left > 0 else None

    def end_sessions(self) -> None:
        """End all sessions."""
        self._sessions.clear()

    # --- simulations

    def running(self) -> int:
        """Return the number of slots in use."""
        now = self.clock()
        return sum(not one.parent and one.left(now) > 0 for one in self._running)

    def quota_left(self) -> int | None:
        """Return the number of simulations that the day still allows, None without a bound."""
        if not self.settings.quota:
            return None
        now = self.clock()
        self._times = [at for at in self._times if at > now - _DAY]
        return max(0, self.settings.quota - len(self._times))

    def quota_reset(self) -> float:
        """Return the time until the quota grows again."""
        return max(0.0, self._times[0] + _DAY - self.clock()) if self._times else 0.0

    def take(self, rows: Sequence[dict[str, Any]]) -> StandinSimulation:
        """Begin a simulation, of several rows a multi-simulation."""
        made = [self._begin(row) for row in rows]
        if len(made) == 1:
            return made[0]
        parent = StandinSimulation(
            secrets.token_hex(8), "", {}, self.clock(), max(one.length for one in made)
        )
        parent.children = [one.id for one in made]
        for one in made:
            one.parent = parent.id
        if self.settings.cancels_siblings and any(one.status == "ERROR" for one in made):
            for one in made:
                if one.status != "ERROR":
                    one.status, one.message = "CANCELLED", ""
        self._add(parent)
        return parent

    def _add(self, one: StandinSimulation) -> None:
        self.simulations[one.id] = one
        self._running.append(one)

    def _begin(self, row: dict[str, Any]) -> StandinSimulation:
        code = str(row["regular"])
        self.taken.append(code)
        self._times.append(self.clock())
        one = StandinSimulation(
            secrets.token_hex(8), code, row["settings"], self.clock(), self.settings.seconds
        )
        mistake = figures.mistake_in(code, self._operators, self._fields)
        outcome = self.board.take(BrainFaultKind.OUTCOME)
        if mistake is not None:
            one.status, one.message = "ERROR", mistake.message
            one.location = {"line": 1, "start": mistake.start, "end": mistake.end}
        elif outcome is not None:
            one.status, one.message = outcome.status_text, outcome.text
        self._add(one)
        return one

    def row(self, one: StandinSimulation) -> dict[str, Any]:
        """Return the row of an ended simulation."""
        if one.children:
            return {"id": one.id, "type": "REGULAR", "children": one.children, "status": "COMPLETE"}
        shown: dict[str, Any] = {
            "id": one.id,
            "type": "REGULAR",
            "settings": one.settings,
            "regular": one.code,
            "status": one.status,
        }
        if one.message:
            shown["message"] = one.message
        if one.location:
            shown["location"] = one.location
        if one.status in {"COMPLETE", "WARNING"}:
            shown["alpha"] = self._alpha(one)
        return shown

    def settle(self) -> None:
        """Turn simulations that have ended into alphas; BRAIN does this without a request."""
        now = self.clock()
        # One that a test has taken out of `simulations` leaves no trace.
        ended = [one for one in self._running if one.left(now) == 0 and one.id in self.simulations]
        self._running = [one for one in self._running if one.left(now) > 0]
        for one in ended:
            if not one.children and one.status in {"COMPLETE", "WARNING"}:
                self._alpha(one)

    def _alpha(self, one: StandinSimulation) -> str:
        name = figures.alpha_id(one.code)
        if name not in self.alphas:
            found = figures.sample_figures(one.code)
            self.alphas[name] = {
                "id": name,
                "type": "REGULAR",
                "author": "stand-in",
                "name": "stand-in: these figures are made up",
                "settings": one.settings,
                "regular": {"code": one.code, "description": None, "operatorCount": one.code.count("(")},
                "grade": figures.grade(found["fitness"]),
                "stage": "IS",
                "status": "UNSUBMITTED",
                "is": found,
            }
            blank = self.board.take(BrainFaultKind.BLANK)
            if blank is not None:
                self._blank[name] = max(1, blank.times or 1)
        return name

    def shown_alpha(self, name: str) -> dict[str, Any] | None:
        """Return an alpha's details, None if there is none of that name."""
        found = self.alphas.get(name)
        if found is None or not self._blank.get(name):
            return found
        self._blank[name] -= 1
        return {**found, "is": None, "grade": None}
