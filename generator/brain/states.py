"""States of a simulation at BRAIN: one row of the table `simulations`, moved on by facts. Pure.

| state | request that is due | fact | next state |
|---|---|---|---|
| `queued` | `POST /simulations` | a free slot | `sending`: stored before the request leaves |
| `sending` | the same, then `GET /users/self/alphas` | `Accepted` | `running` |
| | | `Declined` (a limit; or the request never left) | `queued` |
| | | `Faulty` (BRAIN refuses the expression) | `reading`, with the fault |
| | | `Ended` (found among the account's alphas) | `reading` |
| | | `Running` (its address answers again) | `running` |
| | | `Missing` for 20 minutes | `lost`, and a further row `queued` |
| `running` | `GET` its address | `Running` for 2 hours | `sending` |
| | | `Ended` | `reading`; `ended` and a further row where BRAIN itself failed |
| | | `Missing` or `Failing` several times in a row | `sending` |
| `reading` | `GET /alphas/ID`; none with a fault | `Missing` or `Failing` many times in a row | the same, with a fault |
| any | | the candidate's result is stored | `ended` |

`Failing` counts only if BRAIN answers other requests in between. An absence of all of BRAIN costs no tries.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from fleet.runtime.backoff import backoff_step, doubling_backoff
from fleet.runtime.units import Seconds
from generator.brain.responses import Ended, Running, Status
from generator.storage.schema import ENDED, LOST, QUEUED, READING, RUNNING, SENDING
from generator.storage.simulations import Simulation

MOST_TRIES = 2
# Longer than any simulation observed.
TOO_LONG: Seconds = 7200.0
NO_TRACE: Seconds = 1200.0
# A due time further ahead than any wait is one of a clock that was set back since.
LONGEST_WAIT: Seconds = 600.0
_SEARCHES: tuple[Seconds, ...] = (2.0, 5.0, 15.0, 60.0)
_LEAST_POLL: Seconds = 0.1
_MOST_POLL: Seconds = 60.0
_FAILURE_WAIT: Seconds = 5.0
_MOST_FAILURE_WAIT: Seconds = 300.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """BRAIN accepted the request."""

    location: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The request started nothing, and the expression is not at fault; `alone` asks for a request of its own."""

    alone: bool = False


@dataclass(frozen=True, slots=True)
class Faulty:
    """BRAIN refused the expression, in its own words."""

    message: str


@dataclass(frozen=True, slots=True)
class Missing:
    """BRAIN answered without a trace of the row, or without its figures."""


@dataclass(frozen=True, slots=True)
class Failing:
    """The request failed; `counts` means that BRAIN has answered others since this row's last failure."""

    counts: bool = True


Fact: TypeAlias = Accepted | Declined | Faulty | Missing | Failing | Running | Ended


@dataclass(frozen=True, slots=True)
class Moved:
    """A row's next values, and the row of a further simulation of its candidate, None without one."""

    row: Simulation
    again: Simulation | None = None


class ImpossibleFactError(ValueError):
    """A fact that the row's state has no transition for."""


def advance(row: Simulation, fact: Fact, now: float) -> Moved:
    """Return the move of a row after a fact; raise ImpossibleFactError if its state knows no such fact."""
    try:
        transition = TRANSITIONS[row.state, type(fact)]
    except KeyError:
        raise ImpossibleFactError(f"{type(fact).__name__} in state {row.state}") from None
    return transition(row, fact, now)


def is_due(row: Simulation, now: float) -> bool:
    """Return True if the row's next request is due."""
    return not now < row.due < now + LONGEST_WAIT


def _enter(row: Simulation, state: str, now: float, **values: Any) -> Simulation:
    return replace(row, **{"state": state, "since": now, "due": now, "asks": 0, **values})


def _wait(row: Simulation, wait: Seconds, now: float) -> Moved:
    return Moved(replace(row, asks=row.asks + 1, due=now + wait))


def _accept(row: Simulation, fact: Accepted, now: float) -> Moved:
    return Moved(_enter(row, RUNNING, now, location=fact.location))


def _decline(row: Simulation, fact: Declined, now: float) -> Moved:
    return Moved(_enter(row, QUEUED, now, sent=0.0, place=None, alone=row.alone or fact.alone))


def _refuse(row: Simulation, fact: Faulty, now: float) -> Moved:
    return Moved(_enter(row, READING, now, sent=0.0, message=fact.message))


def _poll(row: Simulation, fact: Running, now: float) -> Moved:
    if now - row.sent > TOO_LONG:
        return Moved(_enter(row, SENDING, now))
    return Moved(replace(row, asks=0, due=now + min(max(fact.wait, _LEAST_POLL), _MOST_POLL)))


def _resume(row: Simulation, fact: Running, now: float) -> Moved:
    """Poll the address again, which was given up while BRAIN failed there, unless the simulation takes too long."""
    if now - row.sent > TOO_LONG:
        return _search(row, Missing(), now)
    return _poll(_enter(row, RUNNING, now), fact, now)


def _search(row: Simulation, _fact: Missing, now: float) -> Moved:
    if now - row.since <= NO_TRACE:
        return _wait(row, backoff_step(_SEARCHES, row.asks + 1), now)
    if row.tries > MOST_TRIES:
        return Moved(_enter(row, READING, now, message="BRAIN loses its simulation each time"))
    return Moved(replace(row, state=LOST, ended=now), _further(row, now, alone=row.alone))


def _miss(row: Simulation, _fact: Missing, now: float) -> Moved:
    if row.asks >= 3:  # noqa: PLR2004  # BRAIN's answers about a new simulation may be late
        return Moved(_enter(row, SENDING, now))
    return _wait(row, doubling_backoff(2.0, row.asks + 1, most=_MOST_POLL), now)


def _miss_figures(row: Simulation, _fact: Missing, now: float) -> Moved:
    if row.asks >= 60:  # noqa: PLR2004  # an hour
        return _without_figures(row, now)
    return _wait(row, backoff_step(_SEARCHES, row.asks + 1), now)


def _fail_running(row: Simulation, fact: Failing, now: float) -> Moved:
    return Moved(_enter(row, SENDING, now)) if row.asks >= 6 else _back_off(row, fact, now)  # noqa: PLR2004  # 5 minutes


def _fail_reading(row: Simulation, fact: Failing, now: float) -> Moved:
    return _without_figures(row, now) if row.asks >= 12 else _back_off(row, fact, now)  # noqa: PLR2004  # 35 minutes


def _back_off(row: Simulation, fact: Failing, now: float) -> Moved:
    wait = doubling_backoff(_FAILURE_WAIT, row.asks + 1, most=_MOST_FAILURE_WAIT)
    return _wait(replace(row, asks=row.asks - (not fact.counts)), wait, now)


def _without_figures(row: Simulation, now: float) -> Moved:
    message = f"BRAIN shows no figures of its alpha {row.alpha_id}"
    return Moved(_enter(row, READING, now, alpha_id=None, message=message))


def _end(row: Simulation, ended: Ended, now: float) -> Moved:
    """Read the alpha, simulate the candidate again if BRAIN itself failed, or quote BRAIN's fault."""
    values: dict[str, Any] = {"status": ended.status.value, "ended": now}
    if ended.status.carries_alpha and ended.alpha:
        return Moved(_enter(row, READING, now, **values, alpha_id=ended.alpha))
    fault = fault_of(ended, tries=row.tries, several=row.place is not None)
    if fault:
        return Moved(_enter(row, READING, now, **values, message=fault))
    return Moved(
        replace(row, **values, state=ENDED, message=ended.message or None), _further(row, now, alone=True)
    )


def _further(row: Simulation, now: float, *, alone: bool) -> Simulation:
    return Simulation(row.digest, tries=row.tries + 1, due=now, since=now, alone=alone)


def fault_of(ended: Ended, *, tries: int, several: bool) -> str:
    """Return the fault of a simulation without an alpha; empty if BRAIN failed and it is simulated once more.

    A cancelled part of a multi-simulation proves nothing about its expression: the fault may be a sibling's.
    """
    again = tries < MOST_TRIES
    if ended.status.carries_alpha:
        return "" if again else "BRAIN simulated it without creating an alpha"
    if ended.status is Status.ERROR or (ended.status is Status.FAIL and ended.located):
        return ended.message or "BRAIN finds an error in it and does not say which"
    if ended.status is Status.CANCELLED:
        if several:
            return "" if tries <= MOST_TRIES else "BRAIN cancelled its simulation"
        return "its simulation was cancelled on BRAIN"
    if again:
        return ""
    detail = f": {ended.message}" if ended.message else ""
    why = "took too long on BRAIN" if ended.status is Status.TIMEOUT else "failed on BRAIN"
    return f"its simulation {why}{detail}"


TRANSITIONS: Mapping[tuple[str, type[Fact]], Callable[[Simulation, Any, float], Moved]] = {
    (SENDING, Accepted): _accept,
    (SENDING, Declined): _decline,
    (SENDING, Faulty): _refuse,
    (SENDING, Missing): _search,
    (SENDING, Failing): _back_off,
    (SENDING, Running): _resume,
    (SENDING, Ended): _end,
    (RUNNING, Running): _poll,
    (RUNNING, Ended): _end,
    (RUNNING, Missing): _miss,
    (RUNNING, Failing): _fail_running,
    (READING, Missing): _miss_figures,
    (READING, Failing): _fail_reading,
}
"""The table. A `queued` row is moved by `SimulationTable.send` alone, which counts slots and budget."""
