"""Candidates that come from no reply: of the opposite sign, and those that a screen sends on to BRAIN."""

from sqlalchemy import Connection, exists, insert, select
from sqlalchemy.orm import aliased

from generator.domain import Candidate, Ruleset
from generator.storage.schema import DONE, EvaluationRow
from generator.storage.store import AlphaStore, candidate_of, candidate_row


def add_candidate(store: AlphaStore, candidate: Candidate, rules: Ruleset, now: float) -> bool:
    """Write a candidate that waits for its evaluation; return False if it was tried or waits already."""
    with store.transaction() as connection:
        return _added(connection, candidate, rules, store.owner, now)


def _added(connection: Connection, candidate: Candidate, rules: Ruleset, owner: str, now: float) -> bool:
    known = select(EvaluationRow.id).where(
        EvaluationRow.digest == candidate.digest,
        EvaluationRow.settings_key == rules.key,
        EvaluationRow.source == rules.source.value,
    )
    if connection.scalar(known) is not None:
        return False
    connection.execute(insert(EvaluationRow).values(candidate_row(candidate, rules, owner, now)))
    return True


def promote(store: AlphaStore, tried: Ruleset, wanted: Ruleset, now: float) -> Candidate | None:
    """Write the best alpha under one ruleset as a candidate of another that never saw it, and return it.

    Only what earned something is worth another's time: a fitness above 0, of figures that mean something.
    """
    seen = aliased(EvaluationRow)
    statement = (
        select(*EvaluationRow.__table__.columns)
        .where(
            EvaluationRow.state == DONE,
            EvaluationRow.fitness > 0.0,
            EvaluationRow.error.is_(None),
            EvaluationRow.settings_key == tried.key,
            EvaluationRow.source == tried.source.value,
            EvaluationRow.owner == store.owner,
            ~exists().where(
                seen.digest == EvaluationRow.digest,
                seen.settings_key == wanted.key,
                seen.source == wanted.source.value,
            ),
        )
        .order_by(EvaluationRow.fitness.desc(), EvaluationRow.id)
        .limit(1)
    )
    with store.transaction() as connection:
        row = connection.execute(statement).mappings().first()
        if row is None:
            return None
        candidate = candidate_of(dict(row))
        connection.execute(insert(EvaluationRow).values(candidate_row(candidate, wanted, store.owner, now)))
    return candidate
