"""Candidates without a reply of their own: the opposite sign of an alpha, and a screen's choice for BRAIN.

Also the search for a call that an earlier program may have stored.
"""

from dataclasses import replace

from sqlalchemy import Connection, case, exists, func, insert, select
from sqlalchemy.orm import aliased

from generator.domain import Candidate, Ruleset
from generator.storage.dialect import insert_new
from generator.storage.rows import candidate_of, candidate_row
from generator.storage.schema import DONE, CallRow, EvaluationRow
from generator.storage.store import AlphaStore


def add_candidate(store: AlphaStore, candidate: Candidate, rules: Ruleset, now: float) -> bool:
    """Insert a pending candidate; return False if the ruleset has a row for it.

    A call that the database lacks is left out: the database may have been replaced by a new one meanwhile.
    """
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
    known_call = select(CallRow.id).where(CallRow.id == candidate.call)
    if candidate.call is not None and connection.scalar(known_call) is None:
        candidate = replace(candidate, call=None)
    return insert_new(connection, candidate_row(candidate, rules, owner, now))


def has_call(store: AlphaStore, name: str) -> bool:
    """Return True if the call is stored."""
    with store.transaction() as connection:
        return connection.scalar(select(CallRow.id).where(CallRow.id == name)) is not None


def promote(store: AlphaStore, tried: Ruleset, wanted: Ruleset, now: float) -> Candidate | None:
    """Insert the best alpha of ruleset `tried` as a candidate of ruleset `wanted`, and return it; None without one.

    The best has the highest fitness x (1 - highest correlation with a member of the pool). Only alphas without a row of
    `wanted` count, with a fitness above 0, meaningful figures and no failed hard check.
    """
    seen, row = aliased(EvaluationRow), EvaluationRow
    correlation = case((row.self_correlation > 0.0, row.self_correlation), else_=0.0)
    statement = (
        select(*row.__table__.columns)
        .where(
            row.state == DONE,
            row.fitness > 0.0,
            row.error.is_(None),
            func.coalesce(row.hard_failures, 0) == 0,
            row.settings_key == tried.key,
            row.source == tried.source.value,
            row.owner == store.owner,
            ~exists().where(
                seen.digest == row.digest,
                seen.settings_key == wanted.key,
                seen.source == wanted.source.value,
            ),
        )
        .order_by((row.fitness * (1.0 - correlation)).desc(), row.id)
        .limit(1)
    )
    with store.transaction() as connection:
        found = connection.execute(statement).mappings().first()
        if found is None:
            return None
        candidate = candidate_of(dict(found))
        connection.execute(insert(EvaluationRow).values(candidate_row(candidate, wanted, store.owner, now)))
    return candidate
