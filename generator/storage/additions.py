"""Candidates without a reply of their own: the opposite sign of an alpha, and a screen's choice for BRAIN."""

from sqlalchemy import Connection, exists, insert, select
from sqlalchemy.orm import aliased

from generator.domain import Candidate, Ruleset
from generator.storage.rows import candidate_of, candidate_row
from generator.storage.schema import DONE, EvaluationRow
from generator.storage.store import AlphaStore


def add_candidate(store: AlphaStore, candidate: Candidate, rules: Ruleset, now: float) -> bool:
    """Insert a pending candidate; return False if the ruleset has a row for it."""
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
    """Insert the best alpha of ruleset `tried` as a candidate of ruleset `wanted`, and return it; None without one.

    Only alphas that `wanted` has not seen count, with a fitness above 0 and figures that mean something.
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
