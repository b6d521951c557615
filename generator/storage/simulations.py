"""Table of the simulations at BRAIN: their queue, their progress, and the counts for the account's limits.

A row stands for one request to simulate one candidate. The row is written before the request is sent: a restart
continues with it. Every method is one transaction and raises StorageError as the store's methods do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, or_, select, update

from fleet.runtime.units import Seconds
from generator.domain import Candidate, Ruleset, Source
from generator.storage.dialect import database_time, is_shared, lock_writers
from generator.storage.schema import (
    FAILED,
    LOST,
    OPEN,
    PENDING,
    QUEUED,
    RUNNING,
    SENDING,
    EvaluationRow,
    SimulationRow,
)
from generator.storage.store import AlphaStore

DAY = 86400.0
# A simulation that was not polled for this long holds no slot. Its program is gone, and BRAIN has ended it.
_FORGOTTEN = 600.0
# Columns that `save` writes; the others are fixed when a row is inserted.
_PROGRESS = (
    "state", "account", "due", "since", "asks", "sent", "location", "place", "alone",
    "status", "alpha_id", "message", "ended",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Simulation:
    """A row. Times are Unix seconds by the database's clock.

    They are those of the next request, of the state's beginning, of the sending, of BRAIN's end.

    `asks` counts requests in a row without progress, `tries` the candidate's simulations up to this one. A
    multi-simulation's rows share a location and have places in it. `alone` forbids a multi-simulation.
    """

    digest: str
    id: int = 0
    state: str = QUEUED
    account: str | None = None
    tries: int = 1
    asks: int = 0
    due: float = 0.0
    since: float = 0.0
    sent: float = 0.0
    ended: float | None = None
    location: str | None = None
    place: int | None = None
    alone: bool = False
    status: str | None = None
    alpha_id: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Use of an account: simulations in flight, and simulations sent within a day."""

    in_flight: int = 0
    sent: int = 0


def brain_outcomes(store: AlphaStore, *, limit: int) -> Sequence[tuple[str, str]]:
    """Return expressions that BRAIN simulated or refused under any settings, with the refusal or an empty text.

    The newest `limit` are returned, the newest first.
    """
    row = EvaluationRow
    statement = (
        select(row.expression, row.error, row.state)
        .where(row.source == Source.BRAIN.value, row.state != PENDING)
        .order_by(row.time.desc())
        .limit(limit)
    )
    with store.transaction() as connection:
        return [
            (expression, (error or "no reason") if state == FAILED else "")
            for expression, error, state in connection.execute(statement)
        ]


class SimulationTable:
    """Rows of one owner under one ruleset; slots and budget count the rows of all owners."""

    def __init__(self, store: AlphaStore, rules: Ruleset) -> None:
        self._store = store
        self._rules = rules
        names = [getattr(SimulationRow, name) for name in Simulation.__slots__]
        # Built once: it is run at each step.
        self._open = (
            select(*names)
            .where(
                SimulationRow.state.in_(sorted(OPEN)),
                SimulationRow.settings_key == self._rules.key,
                SimulationRow.owner == self._store.owner,
            )
            .order_by(SimulationRow.id)
        )

    def submit(self, candidates: Sequence[Candidate], now: float) -> None:
        """Queue candidates. A candidate with an open row keeps it; a candidate with a result is not simulated again."""
        evaluation = EvaluationRow
        pending = (
            evaluation.settings_key == self._rules.key,
            evaluation.source == self._rules.source.value,
            evaluation.state == PENDING,
        )
        with self._store.transaction() as connection:
            for one in candidates:
                if (
                    connection.scalar(select(evaluation.id).where(evaluation.digest == one.digest, *pending))
                    is None
                ):
                    continue
                known = select(SimulationRow.state).where(
                    SimulationRow.digest == one.digest, SimulationRow.settings_key == self._rules.key
                )
                states = list(connection.scalars(known))
                if not OPEN & set(states):
                    row = Simulation(one.digest, tries=1 + len(states), due=now, since=now)
                    self._insert(connection, row)

    def _insert(self, connection: Connection, row: Simulation) -> None:
        values = {name: getattr(row, name) for name in ("digest", "tries", *_PROGRESS)}
        keys = {"settings_key": self._rules.key, "owner": self._store.owner}
        connection.execute(insert(SimulationRow).values({**values, **keys}))

    def open(self) -> Sequence[Simulation]:
        """Return the open rows, oldest first."""
        with self._store.transaction() as connection:
            return [_simulation(row) for row in connection.execute(self._open).mappings()]

    def ahead(self, now: float) -> Seconds:
        """Return how far the database's clock is ahead of this machine's, which says `now`; it is 0 in SQLite.

        Times of rows are by the database's clock: fleets of several machines read each other's.
        """
        with self._store.transaction() as connection:
            return database_time(connection) - now if is_shared(connection) else 0.0

    def save(self, *rows: Simulation, again: Simulation | None = None) -> None:
        """Store the progress of rows, and queue a further simulation `again` of the same candidate."""
        with self._store.transaction() as connection:
            for row in rows:
                self._update(connection, row)
            if again is not None:
                self._insert(connection, again)

    def _update(self, connection: Connection, row: Simulation) -> None:
        values = {name: getattr(row, name) for name in _PROGRESS}
        connection.execute(update(SimulationRow).where(SimulationRow.id == row.id).values(values))

    def send(
        self, rows: Sequence[Simulation], *, account: str, slots: int, budget: int, now: float
    ) -> Sequence[Simulation]:
        """Mark queued rows as about to be sent in one request; return those that slots and budget allow.

        `budget` is the most simulations in 24 hours, 0 for no limit. Other processes on the account count too. A row that
        another process has sent or claimed since it was read is left out: BRAIN counts duplicates.
        """
        with self._store.transaction() as connection:
            lock_writers(connection)
            used = _usage(connection, account, now)
            if used.in_flight >= slots:
                return []
            waiting = self._waiting(connection, [row.id for row in rows], now)
            left = max(0, budget - used.sent) if budget else len(rows)
            chosen = [row for row in rows if row.id in waiting][:left]
            several = len(chosen) > 1
            started: dict[str, Any] = {
                "state": SENDING,
                "account": account,
                "asks": 0,
                "sent": now,
                "since": now,
                "due": now,
            }
            sent = [
                replace(row, **started, place=place if several else None) for place, row in enumerate(chosen)
            ]
            for row in sent:
                self._update(connection, row)
        return sent

    def _waiting(self, connection: Connection, ids: Sequence[int], now: float) -> set[int]:
        """Return the ids of this owner's rows that are queued, or marked by this very write before a repetition."""
        row = SimulationRow
        unsent = or_(row.state == QUEUED, (row.state == SENDING) & (row.sent == now))
        statement = select(row.id).where(row.id.in_(ids), row.owner == self._store.owner, unsent)
        return set(connection.scalars(statement))

    def usage(self, account: str, now: float) -> Usage:
        """Return the use of an account by all owners."""
        with self._store.transaction() as connection:
            return _usage(connection, account, now)


def _usage(connection: Connection, account: str, now: float) -> Usage:
    row = SimulationRow
    # Rows of older versions name no account.
    ours = or_(row.account == account, row.account.is_(None))
    flying = select(row.owner, row.sent, row.location).where(
        or_(row.state == RUNNING, (row.state == SENDING) & row.location.is_(None)),
        row.due > now - _FORGOTTEN,
        ours,
    )
    # Rows of one request share its location, and until that is known the time of sending.
    requests = {location or (owner, sent) for owner, sent, location in connection.execute(flying)}
    count = (
        select(func.count()).select_from(row).where(row.sent > max(0.0, now - DAY), row.state != LOST, ours)
    )
    return Usage(len(requests), connection.scalar(count) or 0)


def _simulation(row: RowMapping) -> Simulation:
    return Simulation(**row)
