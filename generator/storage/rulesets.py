"""Change of the ruleset: pending candidates move to the new one, and kept alphas are evaluated again under it.

Results of older rulesets stay as they are.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select, update
from sqlalchemy.orm import aliased

from generator.domain import Ruleset
from generator.storage.dialect import insert_new
from generator.storage.rows import CANDIDATE_COLUMNS, candidate_of, candidate_row
from generator.storage.schema import DONE, PENDING, CallRow, EvaluationRow
from generator.storage.store import AlphaStore

_MOST_AGAIN = 10_000
_CHUNK = 500


def adopt(store: AlphaStore, rules: Ruleset, now: float) -> tuple[int, int]:
    """Put this owner's pending candidates and its best kept alphas under the ruleset.

    Only rows of the ruleset's source count. Return the number of pending candidates dropped, because the ruleset
    has them already, and of kept alphas to evaluate again.
    """
    with store.transaction() as connection:
        dropped = _move_pending(connection, rules, store.owner)
        again = _repeat_kept(connection, rules, store.owner, now)
    return dropped, again


def _of_other_rulesets(row: Any, rules: Ruleset, owner: str) -> tuple[ColumnElement[bool], ...]:
    return (row.source == rules.source.value, row.owner == owner, row.settings_key != rules.key)


def _move_pending(connection: Connection, rules: Ruleset, owner: str) -> int:
    row, other = EvaluationRow, aliased(EvaluationRow)
    pending = (row.state == PENDING, *_of_other_rulesets(row, rules, owner))
    earlier = and_(other.state == PENDING, other.owner == owner, other.id < row.id)
    known = exists().where(
        other.digest == row.digest,
        other.source == row.source,
        or_(other.settings_key == rules.key, earlier),
    )
    doomed = connection.execute(select(row.id, row.call_id).where(*pending, known)).all()
    for start in range(0, len(doomed), _CHUNK):
        ids = [one.id for one in doomed[start : start + _CHUNK]]
        connection.execute(delete(row).where(row.id.in_(ids)))
    _count_duplicates(connection, [one.call_id for one in doomed])
    moved = {"settings_key": rules.key, "settings": dict(rules.settings)}
    connection.execute(update(row).where(*pending).values(moved))
    return len(doomed)


def _count_duplicates(connection: Connection, calls: Sequence[str | None]) -> None:
    for call, count in Counter(calls).items():
        counted = CallRow.duplicates + count
        connection.execute(update(CallRow).where(CallRow.id == call).values(duplicates=counted))


def _repeat_kept(connection: Connection, rules: Ruleset, owner: str, now: float) -> int:
    """Insert kept alphas and members of the pool as pending rows, the best first. An alpha's newest result counts."""
    row, later, known = EvaluationRow, aliased(EvaluationRow), aliased(EvaluationRow)
    same = (later.digest == row.digest, *_of_other_rulesets(later, rules, owner))
    statement = (
        select(*(getattr(row, name) for name in CANDIDATE_COLUMNS))
        .where(
            or_(row.kept.is_(True), row.admitted.is_(True)),
            row.state == DONE,
            *_of_other_rulesets(row, rules, owner),
            ~exists().where(*same, later.state != PENDING, later.id > row.id),
            ~exists().where(
                known.digest == row.digest,
                known.source == row.source,
                known.settings_key == rules.key,
            ),
        )
        .order_by(row.fitness.desc(), row.id)
        .limit(_MOST_AGAIN)
    )
    found = [candidate_of(dict(one)) for one in connection.execute(statement).mappings()]
    for one in found:
        insert_new(connection, candidate_row(one, rules, owner, now))
    return len(found)
