"""What is cleared away, in small batches: old texts, old checks, a stand-in's oldest rows, empty pages.

Each function works on an open transaction of the store's, and returns how many rows it touched.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, delete, exists, insert, null, select, text, update

from fleet.runtime.units import MEGABYTE, Bytes
from generator.domain import Source
from generator.storage.schema import DONE, PENDING, CallRow, EvaluationRow

_MANY_EMPTY: Bytes = 16 * MEGABYTE
_HAS_TEXTS = CallRow.prompt.is_not(None)


def empty_texts(connection: Connection, *, before: float, keep: int, batch: int) -> int:
    """Empty prompts and replies older than `before`, or beyond the newest `keep`."""
    newest = select(CallRow.ended).where(_HAS_TEXTS).order_by(CallRow.ended.desc()).offset(keep).limit(1)
    edge = max(before, connection.scalar(newest) or 0.0)
    old = select(CallRow.id).where(CallRow.ended <= edge, _HAS_TEXTS).order_by(CallRow.ended).limit(batch)
    ids = list(connection.scalars(old))
    _empty(connection, CallRow, ids, ("prompt", "reply"))
    return len(ids)


def empty_checks(connection: Connection, *, before: float, batch: int) -> int:
    """Empty the checks of alphas older than `before` that were not kept: half of such a row, read by nobody."""
    row = EvaluationRow
    old = (
        select(row.id)
        .where(row.checks.is_not(null()), row.time <= before, row.state == DONE, row.kept.is_(False))
        .order_by(row.time)
        .limit(batch)
    )
    ids = list(connection.scalars(old))
    _empty(connection, row, ids, ("checks",))
    return len(ids)


def _empty(connection: Connection, table: Any, ids: Sequence[Any], columns: Collection[str]) -> None:
    """Set columns of rows to NULL.

    SQLite gives no page back that an update leaves nearly empty: a row which filled one goes on doing so. A row
    that is replaced as a whole is taken out first, and pages that become sparse by that are joined.
    """
    if connection.dialect.name != "sqlite":
        values = dict.fromkeys(columns, null())
        connection.execute(update(table).where(table.id.in_(ids)).values(values))
        return
    every = table.__table__.columns
    kept = [null().label(one.name) if one.name in columns else one for one in every]
    rows = select(*kept).where(table.id.in_(ids))
    connection.execute(insert(table).prefix_with("OR REPLACE").from_select([one.name for one in every], rows))


def drop_standins(connection: Connection, *, keep: int, batch: int) -> int:
    """Drop a stand-in's evaluations and calls beyond the newest `keep`.

    No model thought of them and no market judged them; a forgotten first try shall not fill the disk.
    """
    row = EvaluationRow
    of_it = (row.source == Source.STANDIN.value, row.state != PENDING)
    edge = connection.scalar(select(row.id).where(*of_it).order_by(row.id.desc()).offset(keep).limit(1))
    count = 0
    if edge is not None:
        count += _drop(connection, row, select(row.id).where(*of_it, row.id <= edge).limit(batch))
    mine = CallRow.source == Source.STANDIN.value
    ended = select(CallRow.ended).where(mine).order_by(CallRow.ended.desc()).offset(keep).limit(1)
    last = connection.scalar(ended)
    if last is not None:
        unused = ~exists().where(row.call_id == CallRow.id)
        old = select(CallRow.id).where(mine, CallRow.ended <= last, unused).order_by(CallRow.ended)
        count += _drop(connection, CallRow, old.limit(batch))
    return count


def _drop(connection: Connection, table: Any, which: Any) -> int:
    ids = list(connection.scalars(which))
    connection.execute(delete(table).where(table.id.in_(ids)))
    return len(ids)


def shrink(connection: Connection, *, many: Bytes = _MANY_EMPTY) -> None:
    """Give SQLite's empty pages back where they are many; a file of an older version keeps them for reuse."""
    size = connection.execute(text("PRAGMA page_size")).scalar_one()
    empty = connection.execute(text("PRAGMA freelist_count")).scalar_one()
    if size * empty >= many:
        # A step gives back one page, and only a script is stepped to its end; so much at a time takes a moment.
        driver: Any = connection.connection.driver_connection
        driver.executescript(f"PRAGMA incremental_vacuum({4 * many // size})")
