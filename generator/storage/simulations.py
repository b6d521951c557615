"""Table of the simulations at BRAIN: requests sent, their locations and their ends.

A row is written before its request is sent. A restart therefore resumes running simulations instead of sending
them again, and the daily budget holds across restarts. Every method is one transaction and raises StorageError
as the store's methods do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, and_, delete, func, insert, select, update

from generator.domain import Candidate, Ruleset, Source
from generator.storage.rows import CANDIDATE_COLUMNS, candidate_of
from generator.storage.schema import (
    ENDED,
    FAILED,
    LOST,
    PENDING,
    RUNNING,
    SENDING,
    EvaluationRow,
    SimulationRow,
)
from generator.storage.store import AlphaStore


@dataclass(frozen=True, slots=True)
class Simulation:
    """The last request for a pending candidate; `tries` counts its requests."""

    id: int
    candidate: Candidate
    state: str
    sent: float
    location: str = ""
    place: int | None = None
    status: str = ""
    alpha_id: str = ""
    message: str = ""
    tries: int = 1


def brain_outcomes(store: AlphaStore, *, limit: int) -> Sequence[tuple[str, str]]:
    """Return expressions that BRAIN simulated or refused under any settings, with the refusal or an empty text.

    They are the newest ones, the newest first.
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
    """Rows of one owner under one ruleset."""

    def __init__(self, store: AlphaStore, rules: Ruleset) -> None:
        self._store = store
        self._rules = rules

    def begin(self, candidates: Sequence[Candidate], now: float) -> Sequence[int]:
        """Insert rows of candidates about to be sent as one request; return their ids."""
        multi = len(candidates) > 1
        with self._store.transaction() as connection:
            return [
                connection.execute(
                    insert(SimulationRow)
                    .values(
                        digest=one.digest,
                        settings_key=self._rules.key,
                        owner=self._store.owner,
                        state=SENDING,
                        place=place if multi else None,
                        sent=now,
                    )
                    .returning(SimulationRow.id)
                ).scalar_one()
                for place, one in enumerate(candidates)
            ]

    def accept(self, ids: Sequence[int], location: str) -> None:
        """Store the location of an accepted request."""
        self._set(ids, state=RUNNING, location=location)

    def withdraw(self, ids: Sequence[int]) -> None:
        """Delete the rows of a refused request."""
        with self._store.transaction() as connection:
            connection.execute(delete(SimulationRow).where(SimulationRow.id.in_(ids)))

    def lose(self, ids: Sequence[int]) -> None:
        """Mark requests as lost: BRAIN shows no trace of them."""
        self._set(ids, state=LOST)

    def end(self, number: int, *, status: str, alpha: str, message: str, now: float) -> None:
        """Store the end of a simulation."""
        self._set(
            [number], state=ENDED, status=status, alpha_id=alpha or None, message=message or None, ended=now
        )

    def _set(self, ids: Sequence[int], **values: Any) -> None:
        with self._store.transaction() as connection:
            connection.execute(update(SimulationRow).where(SimulationRow.id.in_(ids)).values(**values))

    def open(self) -> Sequence[Simulation]:
        """Return the last request of each pending candidate, oldest first."""
        own = (SimulationRow.settings_key == self._rules.key, SimulationRow.owner == self._store.owner)
        last = (
            select(SimulationRow.digest, func.max(SimulationRow.id).label("id"), func.count().label("tries"))
            .where(*own)
            .group_by(SimulationRow.digest)
            .subquery()
        )
        evaluation = and_(
            EvaluationRow.digest == SimulationRow.digest,
            EvaluationRow.settings_key == SimulationRow.settings_key,
            EvaluationRow.source == self._rules.source.value,
            EvaluationRow.state == PENDING,
            EvaluationRow.owner == self._store.owner,
        )
        statement = (
            select(
                *SimulationRow.__table__.columns,
                last.c.tries,
                *(getattr(EvaluationRow, name) for name in CANDIDATE_COLUMNS if name != "digest"),
            )
            .join(last, last.c.id == SimulationRow.id)
            .join(EvaluationRow, evaluation)
            .order_by(SimulationRow.id)
        )
        with self._store.transaction() as connection:
            return [_simulation(row) for row in connection.execute(statement).mappings()]

    def sent_times(self, since: float) -> Sequence[float]:
        """Return the times of simulations sent after `since` (Unix seconds), oldest first, without lost ones."""
        statement = (
            select(SimulationRow.sent)
            .where(
                SimulationRow.owner == self._store.owner,
                SimulationRow.sent > since,
                SimulationRow.state != LOST,
            )
            .order_by(SimulationRow.sent)
        )
        with self._store.transaction() as connection:
            return list(connection.scalars(statement))


def _simulation(row: RowMapping) -> Simulation:
    return Simulation(
        id=row["id"],
        candidate=candidate_of(dict(row)),
        state=row["state"],
        sent=row["sent"],
        location=row["location"] or "",
        place=row["place"],
        status=row["status"] or "",
        alpha_id=row["alpha_id"] or "",
        message=row["message"] or "",
        tries=row["tries"],
    )
