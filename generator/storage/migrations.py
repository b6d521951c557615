"""The tables' versions. A new database gets the newest tables; an older one is led there step by step.

`STEPS[0]` leads from version 1 to version 2, and so on: a step is a function of a connection, run in one
transaction with the note of its version, so that one that fails leaves the version before it. To change the
tables, change the models and append a step.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Engine, delete, insert, inspect, select

from fleet.runtime.errors import GeneratorError
from generator.storage.renaming import rename_expressions
from generator.storage.schema import Base, CallRow, EvaluationRow, SchemaRow, SimulationRow

Step = Callable[[Connection], None]


def _add_simulations(connection: Connection) -> None:
    """Version 2: what was sent to BRAIN."""
    Base.metadata.create_all(connection, tables=[SimulationRow.metadata.tables[SimulationRow.__tablename__]])


def _index_what_is_cleared(connection: Connection) -> None:
    """Version 3: indexes by which what is old is found without reading all that was cleared before."""
    _create_indexes(connection, "calls_with_texts", "evaluations_by_call", "evaluations_with_checks")


def _index_kept(connection: Connection) -> None:
    """Index of kept alphas: they are found without reading all others."""
    _create_indexes(connection, "evaluations_kept")


def _create_indexes(connection: Connection, *names: str) -> None:
    for table in (CallRow.__table__, EvaluationRow.__table__):
        for index in table.indexes:  # type: ignore[attr-defined]  # a mapped class's table is a Table
            if index.name in names:
                index.create(connection, checkfirst=True)


# Version 4: digests of a canonical form that keeps every bit. Version 5: the index of kept alphas.
STEPS: Sequence[Step] = (_add_simulations, _index_what_is_cleared, rename_expressions, _index_kept)


def migrate(engine: Engine, steps: Sequence[Step] = STEPS) -> int:
    """Bring the tables to the newest version and return it; raise GeneratorError if they are newer."""
    newest = 1 + len(steps)
    with engine.begin() as connection:
        if not inspect(connection).has_table(SchemaRow.__tablename__):
            Base.metadata.create_all(connection)
            _note(connection, newest)
            return newest
        version = connection.scalar(select(SchemaRow.version)) or newest
    if version > newest:
        raise GeneratorError(
            f"the database's tables are of version {version}, this program knows {newest}",
            hint="Update Model Fleet, or name another database in [generator] database.",
        )
    for number, step in enumerate(steps[version - 1 :], start=version + 1):
        with engine.begin() as connection:
            step(connection)
            _note(connection, number)
    return newest


def _note(connection: Connection, version: int) -> None:
    connection.execute(delete(SchemaRow))
    connection.execute(insert(SchemaRow).values(version=version))
