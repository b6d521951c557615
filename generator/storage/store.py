"""Writer of the database, SQLite or any that SQLAlchemy reaches by URL.

Every method is one transaction and thread-safe. Nothing is changed by a method that raises StorageError, because the
database fails, or RefusedRowError, because it refuses a value. Only the first may be retried.
"""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, and_, create_engine, event, exists, func, or_, select, update
from sqlalchemy.exc import ArgumentError, DataError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import aliased

from fleet.runtime.errors import ConfigError, GeneratorError
from generator.domain import CallRecord, Candidate, Evaluated, Ruleset, Source, Tally, failure_reason
from generator.pool.admission import GOOD_FITNESS
from generator.storage import cleanup
from generator.storage.dialect import insert_new, insert_of, set_up_postgresql, set_up_sqlite
from generator.storage.errors import RefusedRowError, StorageError
from generator.storage.migrations import migrate
from generator.storage.pool import is_new_trial, read_theme_results, record_outcome, require_known_members
from generator.storage.read import server_url, shown_url
from generator.storage.rows import call_row, candidate_of, candidate_row, evaluated_of, result_columns
from generator.storage.schema import DONE, ENDED, OPEN, PENDING, CallRow, EvaluationRow, SimulationRow

_FULL = ("disk is full", "no space left", "disk quota exceeded")


class AlphaStore:
    """A database, opened at its first use: it may be unreachable at the start."""

    def __init__(self, url: str, *, owner: str) -> None:
        try:
            self._url = server_url(url)
        except ArgumentError as error:
            raise ConfigError(
                "generator.database is no SQLAlchemy URL (not shown)",
                hint='Write "sqlite:////PATH/alphas.db" or "postgresql+psycopg://USER@HOST/NAME".',
            ) from error
        self._owner = owner
        self._engine: Engine | None = None
        self._file: tuple[int, int] | None = None
        self._lock = threading.Lock()

    @property
    def owner(self) -> str:
        """Return the owner of the rows that this store writes."""
        return self._owner

    def transaction(self) -> AbstractContextManager[Connection]:
        """Return a transaction, for the modules of single tables."""
        return self._transaction()

    def record_call(
        self,
        call: CallRecord,
        candidates: Sequence[Candidate],
        rules: Ruleset,
        *,
        invalid: int = 0,
        repeated: int = 0,
    ) -> tuple[Sequence[Candidate], Tally]:
        """Store a finished call and its candidates; return the candidates that are new under the rules.

        `invalid` and `repeated` count the reply's other expressions, for the tally. The write is idempotent: it
        can be repeated if a failure hides whether it was committed.
        """
        with self._transaction() as connection:
            insert = insert_of(connection)
            row = call_row(call)
            connection.execute(insert(CallRow).values(row).on_conflict_do_nothing())
            fresh = [one for one in candidates if self._insert_candidate(connection, one, rules, call.ended)]
            known = len(candidates) - len(fresh)
            tally = Tally(len(candidates) + repeated, invalid, known + repeated)
            connection.execute(
                update(CallRow)
                .where(CallRow.id == call.id)
                .values(valid=tally.valid, invalid=tally.invalid, duplicates=tally.duplicates)
            )
        return fresh, tally

    def _insert_candidate(self, connection: Connection, one: Candidate, rules: Ruleset, now: float) -> bool:
        row = candidate_row(one, rules, self._owner, now)
        return insert_new(connection, row) or self._inserted_before(connection, one, rules)

    def _inserted_before(self, connection: Connection, one: Candidate, rules: Ruleset) -> bool:
        """Return True if the same call inserted the candidate, in a write that is repeated now."""
        statement = select(EvaluationRow.call_id, EvaluationRow.state).where(
            EvaluationRow.digest == one.digest, *self._under(rules)
        )
        return connection.execute(statement).one() == (one.call, PENDING)

    def pending(self, rules: Ruleset, *, limit: int) -> Sequence[Candidate]:
        """Return this owner's pending candidates, the oldest first; before them those sent to BRAIN or kept once.

        An alpha was kept once if it was kept under another ruleset.
        """
        sent = exists().where(
            SimulationRow.digest == EvaluationRow.digest,
            SimulationRow.settings_key == EvaluationRow.settings_key,
            SimulationRow.owner == EvaluationRow.owner,
        )
        before = aliased(EvaluationRow)
        kept = exists().where(
            before.digest == EvaluationRow.digest,
            before.source == EvaluationRow.source,
            before.owner == EvaluationRow.owner,
            before.kept.is_(True),
        )
        statement = (
            select(EvaluationRow)
            .where(EvaluationRow.state == PENDING, *self._under(rules), EvaluationRow.owner == self._owner)
            .order_by(sent.desc(), kept.desc(), EvaluationRow.id)
            .limit(limit)
        )
        return [candidate_of(row) for row in self._rows(statement)]

    def finish(
        self, evaluated: Evaluated, rules: Ruleset, *, members: Collection[int] | None = None
    ) -> Evaluated | None:
        """Store the result in the candidate's row, with its changes of the pool, and end its simulation.

        Return None, and store nothing, if another owner has claimed the candidate since. A missing row is inserted
        without its call: the database may have been replaced by a new one meanwhile. `members` are the rows that an
        admission was compared with. If others have admitted more since, raise PoolMovedError and store nothing.
        """
        one, admission = evaluated.candidate, evaluated.admission
        with self._transaction() as connection:
            if members is not None and admission is not None and admission.admitted:
                require_known_members(connection, rules, members)
            where = (EvaluationRow.digest == one.digest, *self._under(rules))
            known = select(EvaluationRow.id).where(*where)
            number = connection.scalar(known)
            if number is None:
                self._insert_candidate(connection, replace(one, call=None), rules, evaluated.time)
                number = connection.scalars(known).one()
            # By id: PostgreSQL may otherwise read all pending rows by their index.
            row = EvaluationRow.id == number
            fenced = (row, EvaluationRow.state == PENDING, EvaluationRow.claim == one.claim)
            settle = update(EvaluationRow).where(*fenced).values(result_columns(evaluated))
            new_trial = is_new_trial(connection, evaluated, rules, number)
            evaluated = replace(evaluated, id=number, new_trial=new_trial)
            if connection.execute(settle).rowcount:
                record_outcome(connection, evaluated, rules)
            elif connection.scalar(select(EvaluationRow.claim).where(row)) != one.claim:
                return None
            if rules.source is Source.BRAIN:
                _end_simulation(connection, one.digest, rules)
        return evaluated

    def unpublished(self, *, limit: int = 1000) -> Sequence[Evaluated]:
        """Return kept alphas of real markets that are not in the hopeful file yet."""
        real = [source.value for source in Source if source.real]
        statement = (
            select(EvaluationRow)
            .where(
                EvaluationRow.state == DONE,
                EvaluationRow.kept.is_(True),
                EvaluationRow.published.is_(False),
                EvaluationRow.source.in_(real),
                EvaluationRow.owner == self._owner,
            )
            .order_by(EvaluationRow.id)
            .limit(limit)
        )
        return [evaluated_of(row) for row in self._rows(statement)]

    def mark_published(self, ids: Sequence[int]) -> None:
        """Mark these evaluations as written to the hopeful file."""
        with self._transaction() as connection:
            connection.execute(update(EvaluationRow).where(EvaluationRow.id.in_(ids)).values(published=True))

    def failures(self, rules: Ruleset, *, limit: int) -> Sequence[tuple[str, str]]:
        """Return expressions that failed under the rules, or whose figures mean nothing, with the reason; newest first.

        Good alphas that the pool refused are among them.
        """
        refused = and_(EvaluationRow.admitted.is_(False), EvaluationRow.fitness > GOOD_FITNESS)
        statement = (
            select(
                EvaluationRow.expression,
                func.coalesce(EvaluationRow.error, EvaluationRow.admission),
                EvaluationRow.days,
            )
            .where(or_(EvaluationRow.error.is_not(None), refused), *self._under(rules))
            .order_by(EvaluationRow.time.desc())
            .limit(limit)
        )
        with self._transaction() as connection:
            found = connection.execute(statement).all()
        return [(expression, failure_reason(reason or "", days)) for expression, reason, days in found]

    def theme_results(self, rules: Ruleset, *, limit: int) -> Sequence[tuple[int, bool]]:
        """Return the calls' seeds with the admission of each of their alphas, the oldest first; the newest `limit`."""
        with self._transaction() as connection:
            return read_theme_results(connection, rules, limit=limit)

    def clean_up(self, *, before: float, texts: int, standins: int, bred: int, batch: int = 200) -> int:
        """Clean up at most `batch` old rows of each kind, so that no other writer waits long.

        Prompts and replies older than `before` (Unix seconds) or beyond the newest `texts` are emptied. So are the
        checks of alphas older than `before` that are not kept. A stand-in's rows are deleted beyond the newest
        `standins`, bred alphas of no use beyond the newest `bred`. Return the number of changed rows, 0 when nothing
        is left.
        """
        with self._transaction() as connection:
            count = cleanup.empty_texts(connection, before=before, keep=texts, batch=batch)
            count += cleanup.empty_checks(connection, before=before, batch=batch)
            count += cleanup.delete_standins(connection, keep=standins, batch=batch)
            count += cleanup.delete_bred(connection, keep=bred, batch=batch)
        if count == 0:
            self._shrink()
        return count

    def _shrink(self) -> None:
        """Return SQLite's empty pages to the disk if they are many."""
        with self._transaction() as connection:
            if connection.dialect.name == "sqlite":
                cleanup.shrink(connection)

    def count(self, state: str | None = None) -> int:
        """Return the number of evaluations, by default in any state."""
        statement = select(func.count()).select_from(EvaluationRow)
        if state is not None:
            statement = statement.where(EvaluationRow.state == state)
        with self._transaction() as connection:
            return connection.scalar(statement) or 0

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _under(self, rules: Ruleset) -> tuple[Any, ...]:
        return (EvaluationRow.settings_key == rules.key, EvaluationRow.source == rules.source.value)

    def _rows(self, statement: Any) -> Sequence[Mapping[str, Any]]:
        columns = statement.with_only_columns(*EvaluationRow.__table__.columns)
        with self._transaction() as connection:
            return [dict(row) for row in connection.execute(columns).mappings()]

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Run one transaction, one at a time in this process.

        SQLite's own lock has no queue: waiting threads would poll, and one could starve.
        """
        with self._lock:
            engine = self._current_engine()
            try:
                with engine.begin() as connection:
                    yield connection
            except (DataError, UnicodeEncodeError, OverflowError) as error:
                # The drivers raise the last two themselves, for a lone surrogate and an integer of many digits.
                raise RefusedRowError(f"the database refuses a value: {_cause(error)}") from error
            except (SQLAlchemyError, OSError) as error:
                raise self._translated(error) from error
            if self._is_gone():  # the last write is lost with the file
                raise StorageError(
                    f"the database {self._shown} was moved or removed while it was in use",
                    hint="A new one is created in its place.",
                )

    def _current_engine(self) -> Engine:
        """Return the engine, opened again if its file is gone: SQLite would keep writing to a deleted file."""
        if self._engine is not None and self._is_gone():
            self._engine.dispose()
            self._engine = None
        if self._engine is None:
            try:
                self._engine = self._open()
            except GeneratorError as error:  # the tables are of a later version
                raise StorageError(error.message, hint=error.hint) from error
            except (SQLAlchemyError, OSError, ValueError, OverflowError) as error:  # a migration's value, too
                raise self._translated(error) from error
            self._file = self._identity()
        return self._engine

    def _is_gone(self) -> bool:
        return self._file is not None and self._file != self._identity()

    def _identity(self) -> tuple[int, int] | None:
        """Return device and inode of SQLite's file; None if it is missing or the database is no file."""
        if self._url.get_backend_name() != "sqlite" or not self._url.database:
            return None
        try:
            found = Path(self._url.database).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def check_driver(self) -> None:
        """Raise ConfigError if the URL's driver is not installed; no connection is opened."""
        self._create_engine().dispose()

    def _create_engine(self) -> Engine:
        try:
            return create_engine(self._url, pool_pre_ping=self._url.get_backend_name() != "sqlite")
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise ConfigError(
                f"the driver of the database {self._shown} is not installed: {error}",
                hint="For PostgreSQL: pip install 'psycopg[binary]', and postgresql+psycopg://… as its URL.",
            ) from error

    def _open(self) -> Engine:
        engine = self._create_engine()
        if engine.dialect.name == "postgresql":
            event.listen(engine, "connect", set_up_postgresql)
        else:
            event.listen(engine, "connect", set_up_sqlite)
        try:
            migrate(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _translated(self, error: Exception) -> StorageError:
        cause = _cause(error)
        full = any(phrase in cause.lower() for phrase in _FULL)
        if full:
            hint = "Free space on its disk; mining then resumes by itself."
        elif "not a database" in cause or "malformed" in cause:
            hint = "Move the file away; sqlite3's .recover may save its rows. Mining resumes by itself."
        else:
            hint = "Check [generator] database, its folder's permissions and its server."
        return StorageError(f"the database {self._shown} cannot be used: {cause}", full=full, hint=hint)

    @property
    def _shown(self) -> str:
        return shown_url(self._url)


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def _end_simulation(connection: Connection, digest: str, rules: Ruleset) -> None:
    row = SimulationRow
    open_row = (row.digest == digest, row.settings_key == rules.key, row.state.in_(sorted(OPEN)))
    connection.execute(update(row).where(*open_row).values(state=ENDED))
