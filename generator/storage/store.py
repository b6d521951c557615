"""The writer's side of the database, SQLite or whatever SQLAlchemy reaches by URL.

Every method is one transaction, may be called from any thread, and raises StorageError if the database
cannot take it now: nothing was changed then, and the caller may try again.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from fleet.config.keep_rule import COUNTS, METRICS
from fleet.runtime.errors import ConfigError, GeneratorError
from fleet.runtime.units import MEGABYTE, Bytes
from generator.domain import AlphaFigures, CallRecord, Candidate, Evaluated, Ruleset, Source, Tally
from generator.storage import cleanup
from generator.storage.migrations import migrate
from generator.storage.read import shown_url
from generator.storage.schema import DONE, FAILED, PENDING, CallRow, EvaluationRow, SimulationRow

_BUSY_MS = 1000
_LARGEST_WAL: Bytes = 16 * MEGABYTE
_FULL = ("disk is full", "no space left", "disk quota exceeded")


class StorageError(GeneratorError):
    """The database cannot be used now; `full` where the disk has no room."""

    def __init__(self, message: str, *, full: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.full = full


class AlphaStore:
    """A database that is opened at its first use, so that one that is away may come later."""

    def __init__(self, url: str, *, owner: str) -> None:
        try:
            self._url = make_url(url)
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
        """Return whose rows this store writes."""
        return self._owner

    def transaction(self) -> AbstractContextManager[Connection]:
        """Return one transaction, for the tables that have a module of their own."""
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
        """Store a finished call and its candidates that are new under the rules, which are returned.

        `invalid` and `repeated` are what else its reply held, for the tally. What is stored
        stays as it is, so that a write whose end was not seen can be repeated.
        """
        with self._transaction() as connection:
            insert = _insert(connection)
            row = _call_row(call)
            connection.execute(insert(CallRow).values(row).on_conflict_do_nothing())
            fresh = [one for one in candidates if self._added(connection, one, rules, call.ended)]
            known = len(candidates) - len(fresh)
            tally = Tally(len(candidates) + repeated, invalid, known + repeated)
            connection.execute(
                update(CallRow)
                .where(CallRow.id == call.id)
                .values(valid=tally.valid, invalid=tally.invalid, duplicates=tally.duplicates)
            )
        return fresh, tally

    def _added(self, connection: Connection, one: Candidate, rules: Ruleset, now: float) -> bool:
        statement = (
            _insert(connection)(EvaluationRow)
            .values(candidate_row(one, rules, self._owner, now))
            .on_conflict_do_nothing()
        )
        return connection.execute(statement).rowcount == 1 or self._written_before(connection, one, rules)

    def _written_before(self, connection: Connection, one: Candidate, rules: Ruleset) -> bool:
        """Tell whether this very call put the candidate there, in a write whose end was not seen."""
        statement = select(EvaluationRow.call_id, EvaluationRow.state).where(
            EvaluationRow.digest == one.digest, *self._under(rules)
        )
        return connection.execute(statement).one() == (one.call, PENDING)

    def pending(self, rules: Ruleset, *, limit: int) -> Sequence[Candidate]:
        """Return what this owner's last run did not come to: what BRAIN was sent first, then oldest first."""
        sent = exists().where(
            SimulationRow.digest == EvaluationRow.digest,
            SimulationRow.settings_key == EvaluationRow.settings_key,
            SimulationRow.owner == EvaluationRow.owner,
        )
        statement = (
            select(EvaluationRow)
            .where(EvaluationRow.state == PENDING, *self._under(rules), EvaluationRow.owner == self._owner)
            .order_by(sent.desc(), EvaluationRow.id)
            .limit(limit)
        )
        return [candidate_of(row) for row in self._rows(statement)]

    def finish(self, evaluated: Evaluated, rules: Ruleset) -> Evaluated:
        """Fill a candidate's row with what became of it, and return it with the row's id.

        A row that is not there (the database was begun anew meanwhile) is made, without its call.
        """
        one = evaluated.candidate
        with self._transaction() as connection:
            where = (EvaluationRow.digest == one.digest, *self._under(rules))
            open_row = update(EvaluationRow).where(*where, EvaluationRow.state == PENDING)
            connection.execute(open_row.values(_outcome(evaluated)))
            number = connection.scalar(select(EvaluationRow.id).where(*where))
            if number is None:
                self._added(connection, replace(one, call=None), rules, evaluated.time)
                connection.execute(open_row.values(_outcome(evaluated)))
                number = connection.scalar(select(EvaluationRow.id).where(*where))
        return replace(evaluated, id=number)

    def unpublished(self, *, limit: int = 100) -> Sequence[Evaluated]:
        """Return kept alphas of real markets that are not yet in the file of hopeful ones."""
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
        return [_evaluated(row) for row in self._rows(statement)]

    def mark_published(self, ids: Sequence[int]) -> None:
        """Note that these evaluations are in the file of hopeful alphas."""
        with self._transaction() as connection:
            connection.execute(update(EvaluationRow).where(EvaluationRow.id.in_(ids)).values(published=True))

    def best(self, rules: Ruleset, *, limit: int) -> Sequence[Evaluated]:
        """Return the alphas of the highest fitness under the rules, of those whose figures mean something."""
        meant = (EvaluationRow.fitness.is_not(None), EvaluationRow.error.is_(None))
        statement = (
            select(EvaluationRow)
            .where(EvaluationRow.state == DONE, *self._under(rules), *meant)
            .order_by(EvaluationRow.fitness.desc())
            .limit(limit)
        )
        return [_evaluated(row) for row in self._rows(statement)]

    def failures(self, rules: Ruleset, *, limit: int) -> Sequence[tuple[str, str]]:
        """Return what failed under the rules, or has figures that mean nothing, with its reason, newest first."""
        statement = (
            select(EvaluationRow.expression, EvaluationRow.error)
            .where(EvaluationRow.error.is_not(None), *self._under(rules))
            .order_by(EvaluationRow.time.desc())
            .limit(limit)
        )
        with self._transaction() as connection:
            return [(expression, error or "") for expression, error in connection.execute(statement)]

    def tidy(self, *, before: float, texts: int, standins: int, batch: int = 200) -> int:
        """Clear away what is old, at most `batch` rows of each kind, so that no other writer waits long.

        Prompts and replies are emptied that are older than `before` or beyond the newest `texts`; so are the
        checks of old alphas that were not kept. Rows stay, but for those of a stand-in beyond the newest
        `standins`. Returns how many rows were touched; 0 when all is tidy.
        """
        with self._transaction() as connection:
            count = cleanup.empty_texts(connection, before=before, keep=texts, batch=batch)
            count += cleanup.empty_checks(connection, before=before, batch=batch)
            count += cleanup.drop_standins(connection, keep=standins, batch=batch)
        if count == 0:
            self._give_back()
        return count

    def _give_back(self) -> None:
        """Give SQLite's empty pages back to the disk where they are many; what is left is used again."""
        with self._transaction() as connection:
            if connection.dialect.name == "sqlite":
                cleanup.shrink(connection)

    def count(self, state: str | None = None) -> int:
        """Return the number of evaluations, of those in one state where it is named."""
        statement = select(func.count()).select_from(EvaluationRow)
        if state is not None:
            statement = statement.where(EvaluationRow.state == state)
        with self._transaction() as connection:
            return connection.scalar(statement) or 0

    def close(self) -> None:
        """Let go of the database."""
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
        """Run one transaction, one at a time in this process: SQLite's own lock knows no queue."""
        with self._lock:
            try:
                with self._opened().begin() as connection:
                    yield connection
            except (SQLAlchemyError, OSError) as error:
                raise self._translated(error) from error
            except GeneratorError as error:  # the tables are of a later version than ours
                raise StorageError(error.message, hint=error.hint) from error
            if self._is_gone():  # what was just written went with it
                raise StorageError(
                    f"the database {self._shown} was moved or removed while it was in use",
                    hint="A new one is begun in its place.",
                )

    def _opened(self) -> Engine:
        """Return the engine, of a file that is in its place: SQLite goes on writing to one that is not."""
        if self._engine is not None and self._is_gone():
            self._engine.dispose()
            self._engine = None
        if self._engine is None:
            self._engine = self._open()
            self._file = self._identity()
        return self._engine

    def _is_gone(self) -> bool:
        return self._file is not None and self._file != self._identity()

    def _identity(self) -> tuple[int, int] | None:
        """Return what tells SQLite's file from another of its name; None where it is not there, or no file."""
        if self._url.get_backend_name() != "sqlite" or not self._url.database:
            return None
        try:
            found = Path(self._url.database).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def check_driver(self) -> None:
        """Raise ConfigError if the URL's driver is not installed; the database itself is not touched."""
        self._made().dispose()

    def _made(self) -> Engine:
        try:
            return create_engine(self._url, pool_pre_ping=self._url.get_backend_name() != "sqlite")
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise ConfigError(
                f"the driver of the database {self._shown} is not installed: {error}",
                hint="For PostgreSQL: pip install 'psycopg[binary]', and postgresql+psycopg://… as its URL.",
            ) from error

    def _open(self) -> Engine:
        engine = self._made()
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_up_sqlite)
        try:
            migrate(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _translated(self, error: Exception) -> StorageError:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        full = any(phrase in cause.lower() for phrase in _FULL)
        if full:
            hint = "Make room on its disk; mining goes on by itself then."
        elif "not a database" in cause or "malformed" in cause:
            hint = "Move the file away; sqlite3's .recover may save what it holds. Mining goes on by itself."
        else:
            hint = "Check [generator] database, its folder's permissions and its server."
        return StorageError(f"the database {self._shown} cannot be used: {cause}", full=full, hint=hint)

    @property
    def _shown(self) -> str:
        return shown_url(self._url)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    # Takes hold where the file is new: before its first table.
    cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
    # Readers never wait for the writer, and a commit survives kill -9; a power cut may take the last ones.
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute(f"PRAGMA journal_size_limit = {_LARGEST_WAL}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _insert(connection: Connection) -> Any:
    """Return the dialect's insert: both have ON CONFLICT DO NOTHING, which SQL's own has not."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def _call_row(call: CallRecord) -> dict[str, Any]:
    # Thoughts are for calls.log: they are long, and nothing reads them again.
    row = {name: getattr(call, name) for name in CallRecord.__slots__ if name != "thinking"}
    return {**row, "valid": 0, "invalid": 0, "duplicates": 0}


def _outcome(evaluated: Evaluated) -> dict[str, Any]:
    row: dict[str, Any] = {"time": evaluated.time, "kept": evaluated.kept}
    if evaluated.performance is None:
        return {**row, "state": FAILED, "error": evaluated.error or "no reason was given"}
    performance = evaluated.performance
    return {
        **row,
        **performance.figures(),
        "state": DONE,
        "checks": [dict(check) for check in performance.checks],
        "alpha_id": performance.alpha_id,
        "grade": performance.grade,
        "error": performance.reason or None,
    }


def candidate_row(one: Candidate, rules: Ruleset, owner: str, now: float) -> dict[str, Any]:
    """Return the row of a candidate that waits for its evaluation."""
    return {
        "digest": one.digest,
        "settings_key": rules.key,
        "source": rules.source.value,
        "state": PENDING,
        "owner": owner,
        "expression": one.expression,
        "canonical": one.canonical,
        "model": one.model,
        "call_id": one.call,
        "settings": dict(rules.settings),
        "kept": False,
        "published": False,
        "created": now,
    }


def candidate_of(row: Mapping[str, Any]) -> Candidate:
    """Return the candidate that a row holds."""
    return Candidate(row["digest"], row["expression"], row["canonical"], row["call_id"], row["model"])


def _evaluated(row: Mapping[str, Any]) -> Evaluated:
    figures: dict[str, Any] = {
        name: row[name] if row[name] is not None else float("nan") for name in (*METRICS, *COUNTS)
    }
    return Evaluated(
        candidate=candidate_of(row),
        source=Source(row["source"]),
        settings=row["settings"],
        performance=AlphaFigures(
            **figures,
            checks=row["checks"] or (),
            alpha_id=row["alpha_id"],
            grade=row["grade"],
            reason=row["error"] or "",
        ),
        kept=row["kept"],
        time=row["time"] or 0.0,
        id=row["id"],
    )
