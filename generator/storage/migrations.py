"""The tables' versions. A new database gets the newest tables; an older one is migrated step by step.

`STEPS[0]` leads from version 1 to version 2, and so on. A step is a function of a connection, run in one transaction
with the record of its version. A failed step therefore leaves the version before it. To change the tables, change the
models and append a step.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import (
    Connection,
    Engine,
    bindparam,
    delete,
    exists,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.orm import aliased
from sqlalchemy.schema import CreateColumn

from fleet.runtime.errors import GeneratorError
from fleet.runtime.logging import fields
from generator.catalogue import Catalogue, DataField, Kind, load_catalogue
from generator.language import ExpressionError, canonical, digest, parse, show
from generator.storage.dialect import lock_writers
from generator.storage.pool import count_old_trials
from generator.storage.schema import (
    ENDED,
    LOST,
    PENDING,
    READING,
    Base,
    CallRow,
    EvaluationRow,
    LeaseRow,
    SchemaRow,
    SimulationRow,
    SplitRow,
    TrialCountRow,
    TrialSampleRow,
)

Row: TypeAlias = Mapping[str, Any]
Step = Callable[[Connection], None]


_log = logging.getLogger(__name__)
_PAGE = 500
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _add_simulations(connection: Connection) -> None:
    """Version 2: requests sent to BRAIN."""
    Base.metadata.create_all(connection, tables=[SimulationRow.metadata.tables[SimulationRow.__tablename__]])


def _index_what_is_cleared(connection: Connection) -> None:
    """Version 3: indexes that find old rows without reading all rows cleared before."""
    _create_indexes(connection, "calls_with_texts", "evaluations_by_call", "evaluations_with_checks")


def rename_expressions(connection: Connection) -> None:
    """Store each expression's present canonical form and digest, the digest also in its rows of `simulations`.

    An expression that this version's catalogue cannot read stays unchanged. So does an expression whose new digest
    another row has already. At worst it is tried once more.
    """
    last, renamed = 0, 0
    while rows := _page(connection, last):
        last = rows[-1]["id"]
        found = [row for row in _settled(rows) if row["name"] != row["digest"]]
        held = _held(connection, [row["name"] for row in found])
        fresh = []
        for row in found:
            key = (row["name"], row["settings_key"], row["source"])
            if key not in held:
                held.add(key)
                fresh.append(row)
        if fresh:
            _rename(connection, fresh)
            renamed += len(fresh)
    if renamed:
        _log.info("database.renamed", extra=fields(expressions=renamed))


def _page(connection: Connection, last: int) -> list[Row]:
    """Return the next rows whose canonical form differs from their expression: only those forms may have changed."""
    row = EvaluationRow
    statement = (
        select(row.id, row.digest, row.settings_key, row.source, row.expression, row.canonical)
        .where(row.id > last, row.expression != row.canonical)
        .order_by(row.id)
        .limit(_PAGE)
    )
    return [dict(found) for found in connection.execute(statement).mappings()]


def _settled(rows: list[Row]) -> Iterator[Row]:
    """Yield the rows that can be read, each with its `form` and `name` of today."""
    catalogue = _reading([row["expression"] for row in rows])
    for row in rows:
        try:
            form = canonical(parse(row["expression"], catalogue), catalogue)
            yield {**row, "form": show(form), "name": digest(form)}
        except (ExpressionError, KeyError):
            continue


def _reading(expressions: Iterable[str]) -> Catalogue:
    """Return a catalogue with all operators, in which every other name is a field."""
    known = load_catalogue(higher=True)
    names = {name for text in expressions for name in _IDENTIFIER.findall(text)}
    names -= known.operators.keys() | known.words
    return Catalogue(known.operators, {name: DataField(name, Kind.MATRIX) for name in names})


def _held(connection: Connection, names: list[str]) -> set[tuple[str, str, str]]:
    """Return the digests among these that rows have, with settings and source."""
    row = EvaluationRow
    statement = select(row.digest, row.settings_key, row.source).where(row.digest.in_(names))
    return {(name, key, source) for name, key, source in connection.execute(statement)}


def _rename(connection: Connection, rows: list[Row]) -> None:
    """Write the new digests, all rows in one statement: one by one takes twenty times as long."""
    of_row = update(EvaluationRow).where(EvaluationRow.id == bindparam("id_"))
    values = [{"id_": row["id"], "digest": row["name"], "canonical": row["form"]} for row in rows]
    connection.execute(of_row, values)
    sent = update(SimulationRow).where(
        SimulationRow.digest == bindparam("old"), SimulationRow.settings_key == bindparam("key")
    )
    values = [{"old": row["digest"], "key": row["settings_key"], "digest": row["name"]} for row in rows]
    connection.execute(sent, values)


def _index_kept(connection: Connection) -> None:
    """Index of kept alphas: they are found without reading all others."""
    _create_indexes(connection, "evaluations_kept")


# Named one by one: a later version may add columns to the same table by a step of its own.
POOL_COLUMNS = (
    "origin", "parents",
    "validation_sharpe", "validation_turnover", "validation_fitness", "validation_returns", "validation_days",
    "test_sharpe", "test_turnover", "test_fitness", "test_returns", "test_days",
    "admitted", "admission", "self_correlation", "failed_checks", "hard_failures",
    "daily_sharpe", "daily_days", "skewness", "kurtosis", "pnl",
)  # fmt: skip


def _add_pool(connection: Connection) -> None:
    """Columns of the split, the pool and the origin; tables of splits and trials."""
    add_columns(connection, EvaluationRow, *POOL_COLUMNS)
    tables = (SplitRow, TrialCountRow, TrialSampleRow)
    Base.metadata.create_all(connection, tables=[Base.metadata.tables[one.__tablename__] for one in tables])
    _create_indexes(connection, "evaluations_admitted")
    count_old_trials(connection)


def _queue_simulations(connection: Connection) -> None:
    """Columns by which a row of `simulations` is its own queue; an end whose result is not stored becomes `reading`."""
    add_columns(connection, SimulationRow, "account", "tries", "asks", "due", "since", "alone")
    connection.execute(text("DROP INDEX IF EXISTS simulations_by_time"))
    _create_indexes(connection, "simulations_by_time", "simulations_by_state")
    row, other, evaluation = SimulationRow, aliased(SimulationRow), EvaluationRow
    same = (other.digest == row.digest, other.settings_key == row.settings_key)
    tries = select(func.count()).where(*same, other.id <= row.id).scalar_subquery()
    connection.execute(update(row).values(since=row.sent, tries=tries))
    pending = exists().where(
        evaluation.digest == row.digest,
        evaluation.settings_key == row.settings_key,
        evaluation.state == PENDING,
    )
    unstored = (row.state == ENDED, pending, ~exists().where(*same, other.id > row.id))
    failed = row.status.in_(("FAIL", "TIMEOUT", "CANCELLED"))
    connection.execute(update(row).where(*unstored, failed).values(state=LOST))
    connection.execute(update(row).where(*unstored).values(state=READING))


def _add_leases(connection: Connection) -> None:
    """Fencing numbers of candidates, and the table of leases."""
    add_columns(connection, EvaluationRow, "claim")
    Base.metadata.create_all(connection, tables=[Base.metadata.tables[LeaseRow.__tablename__]])
    _create_indexes(connection, "evaluations_pending")


def add_columns(connection: Connection, table: type[Base], *names: str) -> None:
    """Add the model's columns of these names to its table, those that exist excepted."""
    known = {column["name"] for column in inspect(connection).get_columns(table.__tablename__)}
    columns: Any = table.__table__.columns
    for name in names:
        if name not in known:
            column = CreateColumn(columns[name]).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {table.__tablename__} ADD COLUMN {column}"))


def _create_indexes(connection: Connection, *names: str) -> None:
    for table in (CallRow.__table__, EvaluationRow.__table__, SimulationRow.__table__):
        for index in table.indexes:  # type: ignore[attr-defined]  # a mapped class's table is a Table
            if index.name in names:
                index.create(connection, checkfirst=True)


# Version 4: digests of a canonical form that keeps every bit. Version 5: the index of kept alphas. Version 6: the pool.
# Version 7: the queue of simulations. Version 8: leases.
STEPS: Sequence[Step] = (
    _add_simulations, _index_what_is_cleared, rename_expressions, _index_kept, _add_pool, _queue_simulations,
    _add_leases,
)  # fmt: skip


def migrate(engine: Engine, steps: Sequence[Step] = STEPS) -> int:
    """Bring the tables to the newest version and return it; raise GeneratorError if they are newer."""
    newest = 1 + len(steps)
    with engine.begin() as connection:
        version = _version(connection, newest)
    while version != newest:
        if version > newest:
            raise GeneratorError(
                f"the database's tables are of version {version}, this program knows {newest}",
                hint="Update Model Fleet, or name another database in [generator] database.",
            )
        with engine.begin() as connection:
            # Lanes start at the same time: each step is done by one of them, and the others find it done.
            lock_writers(connection)
            version = _advanced(connection, steps)
    return newest


def _version(connection: Connection, newest: int) -> int:
    """Return the version of the tables, 0 without any."""
    if not inspect(connection).has_table(SchemaRow.__tablename__):
        return 0
    return connection.scalar(select(SchemaRow.version)) or newest


def _advanced(connection: Connection, steps: Sequence[Step]) -> int:
    """Create the tables, or take their next step if there is one left; return their version."""
    newest = 1 + len(steps)
    version = _version(connection, newest)
    if version == 0:
        Base.metadata.create_all(connection)
        version = newest
    elif version < newest:
        steps[version - 1](connection)
        version += 1
    else:
        return version
    _note(connection, version)
    return version


def _note(connection: Connection, version: int) -> None:
    connection.execute(delete(SchemaRow))
    connection.execute(insert(SchemaRow).values(version=version))
