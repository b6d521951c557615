"""Cleanup in small batches: old texts, old checks, oldest rows of a stand-in and of breeding, SQLite's empty pages.

Each function runs in an open transaction of the store and returns the number of changed rows.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, delete, exists, insert, null, select, text, update

from fleet.runtime.units import MEGABYTE, Bytes
from generator.domain import Origin, Source
from generator.storage.schema import DONE, PENDING, CallRow, EvaluationRow

_MANY_EMPTY: Bytes = 16 * MEGABYTE
_HAS_TEXTS = CallRow.prompt.is_not(None)


def empty_texts(connection: Connection, *, before: float, keep: int, batch: int) -> int:
    """Empty prompts and replies older than `before` (Unix seconds), or beyond the newest `keep`."""
    newest = select(CallRow.ended).where(_HAS_TEXTS).order_by(CallRow.ended.desc()).offset(keep).limit(1)
    edge = max(before, connection.scalar(newest) or 0.0)
    old = select(CallRow.id).where(CallRow.ended <= edge, _HAS_TEXTS).order_by(CallRow.ended).limit(batch)
    ids = list(connection.scalars(old))
    _empty(connection, CallRow, ids, ("prompt", "reply"))
    return len(ids)


def empty_checks(connection: Connection, *, before: float, batch: int) -> int:
    """Empty the checks of alphas older than `before`: half of the row, and never read again.

    Those of kept alphas stay, and those of the pool's members: prompts name a parent's weakest check.
    """
    row = EvaluationRow
    spare = (row.state == DONE, row.kept.is_(False), row.admitted.is_not(True))
    old = (
        select(row.id)
        .where(row.checks.is_not(null()), row.time <= before, *spare)
        .order_by(row.time)
        .limit(batch)
    )
    ids = list(connection.scalars(old))
    _empty(connection, row, ids, ("checks",))
    return len(ids)


def _empty(connection: Connection, table: Any, ids: Sequence[Any], columns: Collection[str]) -> None:
    """Set columns of rows to NULL.

    On SQLite rows are replaced as a whole. An update in place leaves nearly empty pages behind, which SQLite does not
    free. A replacement removes the row first, and SQLite joins the sparse pages.
    """
    if connection.dialect.name != "sqlite":
        values = dict.fromkeys(columns, null())
        connection.execute(update(table).where(table.id.in_(ids)).values(values))
        return
    every = table.__table__.columns
    kept = [null().label(one.name) if one.name in columns else one for one in every]
    rows = select(*kept).where(table.id.in_(ids))
    connection.execute(insert(table).prefix_with("OR REPLACE").from_select([one.name for one in every], rows))


def delete_standins(connection: Connection, *, keep: int, batch: int) -> int:
    """Delete a stand-in's evaluations and calls beyond the newest `keep`: a forgotten first try must not fill the disk."""
    row = EvaluationRow
    standin = (row.source == Source.STANDIN.value, row.state != PENDING)
    edge = connection.scalar(select(row.id).where(*standin).order_by(row.id.desc()).offset(keep).limit(1))
    count = 0
    if edge is not None:
        count += _delete(connection, row, select(row.id).where(*standin, row.id <= edge).limit(batch))
    calls = CallRow.source == Source.STANDIN.value
    ended = select(CallRow.ended).where(calls).order_by(CallRow.ended.desc()).offset(keep).limit(1)
    last = connection.scalar(ended)
    if last is not None:
        unused = ~exists().where(row.call_id == CallRow.id)
        old = select(CallRow.id).where(calls, CallRow.ended <= last, unused).order_by(CallRow.ended)
        count += _delete(connection, CallRow, old.limit(batch))
    return count


def delete_bred(connection: Connection, *, keep: int, batch: int) -> int:
    """Delete bred alphas that were neither admitted nor kept, beyond the newest `keep`: they outnumber the model's."""
    row = EvaluationRow
    spare = (
        row.origin == Origin.BRED.value,
        row.state != PENDING,
        row.kept.is_(False),
        row.admitted.is_not(True),  # SQL
    )
    edge = connection.scalar(select(row.id).where(*spare).order_by(row.id.desc()).offset(keep).limit(1))
    if edge is None:
        return 0
    return _delete(connection, row, select(row.id).where(*spare, row.id <= edge).limit(batch))


def _delete(connection: Connection, table: Any, which: Any) -> int:
    ids = list(connection.scalars(which))
    connection.execute(delete(table).where(table.id.in_(ids)))
    return len(ids)


def shrink(connection: Connection, *, many: Bytes = _MANY_EMPTY) -> None:
    """Return SQLite's empty pages to the disk if they exceed `many` bytes; files of older versions reuse them instead."""
    size = connection.execute(text("PRAGMA page_size")).scalar_one()
    empty = connection.execute(text("PRAGMA freelist_count")).scalar_one()
    if size * empty >= many:
        # Each step frees one page, and only executescript steps to the end. The bound keeps the transaction short.
        driver: Any = connection.connection.driver_connection
        driver.executescript(f"PRAGMA incremental_vacuum({4 * many // size})")
