"""Differences between SQLite and PostgreSQL: set-up, locks, and insertion of new rows alone."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from fleet.runtime.units import MEGABYTE, Bytes
from generator.storage.schema import EvaluationRow

# Lanes share the file: on a busy machine another process may keep its lock for seconds.
_BUSY_MS = 5000
_LARGEST_WAL: Bytes = 16 * MEGABYTE
# Longer than any of our transactions waits for its own process, shorter than a lease.
IDLE_IN_TRANSACTION_MS = 20_000
# Key of PostgreSQL's advisory lock, one for all of this program's writers: a large number that is no one else's.
_WRITERS = 7_361_994_158


def set_up_sqlite(connection: Any, _record: object) -> None:
    """Set up a new connection to SQLite; a listener of SQLAlchemy's."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    # Takes effect only in a new file, before its first table.
    cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
    # Readers never wait for the writer. Commits survive kill -9; a power failure may lose the last ones.
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute(f"PRAGMA journal_size_limit = {_LARGEST_WAL}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def set_up_postgresql(connection: Any, _record: object) -> None:
    """Set up a new connection to PostgreSQL; a listener of SQLAlchemy's.

    A process that is stopped within a transaction, or whose machine is gone, would keep its locks from all others. The
    server ends its connection instead, and the process retries when it goes on.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS}")
    connection.commit()  # a rollback would take the setting back


def insert_new(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Insert an evaluation's row; return False if its ruleset has the expression already."""
    # RETURNING, because the count of inserted rows is not known on PostgreSQL.
    inserted = (
        insert_of(connection)(EvaluationRow).values(row).on_conflict_do_nothing().returning(EvaluationRow.id)
    )
    return connection.scalar(inserted) is not None


def lock_writers(connection: Connection) -> None:
    """Keep every other writer out until the transaction ends; call it before the first statement.

    Rows that are read afterwards stay unchanged until the commit.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_WRITERS)))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def insert_of(connection: Connection) -> Any:
    """Return the dialect's insert: it has ON CONFLICT DO NOTHING, which SQLAlchemy's general one lacks."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def database_time(connection: Connection) -> float:
    """Return the database's clock, in Unix seconds."""
    clock: Any = (
        func.extract("epoch", func.clock_timestamp())
        if is_shared(connection)
        else (func.julianday("now") - 2440587.5) * 86400.0
    )
    return float(connection.scalar(select(clock)) or 0.0)


def is_shared(connection: Connection) -> bool:
    """Return True for a server, which several machines may use: each of them has a clock of its own."""
    return connection.dialect.name == "postgresql"
