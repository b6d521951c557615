"""Reader of the database: the newest alphas, the best alphas, and figures by model.

The statements are plain SQL for both SQLite and PostgreSQL. SQLite is read without SQLAlchemy, whose import is
slow. Functions find nothing in a missing database and raise DatabaseUnreadError for an unreadable one.
"""

import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.runtime.errors import ConfigError, GeneratorError
from fleet.runtime.home import Home, is_there
from fleet.runtime.units import Seconds
from generator.pool.stored import (
    MOMENTS,
    POOL_COLUMNS,
    Rows,
    TrialsOf,
    has_pool,
    luck_by_trials,
    pool_fields,
    stored_trials,
)

if TYPE_CHECKING:
    from sqlalchemy import URL

_SQLITE = "sqlite:///"
# Options of libpq. A server that takes the connection and says nothing, as a frozen one does, is given up
# after 10 s. A server whose machine vanishes is given up after a minute. By the system's own times a query
# waits for two hours.
_LIBPQ = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_TIMEOUT: Seconds = 1.0
_TABLE = "evaluations"


class DatabaseUnreadError(GeneratorError):
    """The database exists but cannot be read."""


def database_location(url: str, home: Home) -> Path | str:
    """Return the target of `[generator] database`: the path of a SQLite file, or another URL.

    A relative path is relative to the fleet's home, not to the working directory.
    """
    if not url:
        return home.database
    if url.startswith(_SQLITE) and "?" not in url and len(url) > len(_SQLITE):
        return home.root() / url.removeprefix(_SQLITE)
    return url


def database_url(location: Path | str) -> str:
    """Return the SQLAlchemy URL of a path or URL."""
    return f"{_SQLITE}{location}" if isinstance(location, Path) else location


def shown_url(url: "URL") -> str:
    """Return a URL without its password and its query, which may hold one too."""
    return url.set(query={}).render_as_string(hide_password=True)


def server_url(url: str) -> "URL":
    """Return a URL for SQLAlchemy, whose connection to PostgreSQL is given up in time; the user's own times stay."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415  # see the module's docstring

    where = make_url(url)
    if where.get_driver_name() not in {"psycopg", "psycopg2"}:
        return where
    return where.update_query_dict({name: value for name, value in _LIBPQ.items() if name not in where.query})


@contextmanager
def open_database(location: Path | str) -> Iterator[Rows | None]:
    """Open a database for reading; give None if it is missing or has no tables yet.

    Raise DatabaseUnreadError if it exists but cannot be read.
    """
    with _file(location) if isinstance(location, Path) else _server(location) as rows:
        yield rows


@contextmanager
def _file(path: Path) -> Iterator[Rows | None]:
    if not is_there(path):
        yield None
        return
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=_TIMEOUT)) as connection:
            connection.row_factory = _dictionary
            known = connection.execute("SELECT name FROM sqlite_master WHERE name = ?", (_TABLE,)).fetchone()
            yield connection.execute if known else None
    except sqlite3.Error as error:
        raise DatabaseUnreadError(
            f"the database {path} cannot be read: {error}",
            hint="Check its permissions; if it is damaged, move it away.",
        ) from error


def _dictionary(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip((column[0] for column in cursor.description), row, strict=True))


@contextmanager
def _server(url: str) -> Iterator[Rows | None]:
    from sqlalchemy import create_engine, inspect, text  # noqa: PLC0415  # see the module's docstring
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError  # noqa: PLC0415

    try:
        where = server_url(url)
        shown = shown_url(where)
        engine = create_engine(where)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            "generator.database is no SQLAlchemy URL, or its driver is not installed (not shown)",
            hint="For PostgreSQL: pip install 'psycopg[binary]', and postgresql+psycopg://USER@HOST/NAME.",
        ) from error
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(_TABLE):
                yield None
                return
            yield lambda statement, values: map(
                dict, connection.execute(text(statement), dict(values)).mappings()
            )
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise DatabaseUnreadError(
            f"the database {shown} cannot be read: {cause}",
            hint="Check [generator] database and its server.",
        ) from error
    finally:
        engine.dispose()


SORTS = ("fitness", "sharpe", "turnover", "returns", "drawdown", "margin", "time")
_MOST_MARKED = 10_000
SMALLER_IS_BETTER = frozenset({"turnover", "drawdown"})
_COLUMNS = (
    "id, expression, canonical, model, source, settings, sharpe, turnover, fitness, returns, drawdown,"
    " margin, long_count, short_count, days, checks, alpha_id, grade, kept, time, call_id, error AS reason"
)


@dataclass(frozen=True, slots=True)
class AlphaRow:
    """An evaluated alpha's row; `time` is Unix seconds.

    `reason` says why the figures mean nothing; None if they mean something. With a split, the unprefixed figures are
    those of the train days. `admitted` is the pool's decision and `admission` the reason against it. `dsr` and `luck`
    are computed by today's `trials`.
    """

    id: int
    expression: str
    canonical: str
    model: str
    source: str
    settings: dict[str, Any]
    sharpe: float | None
    turnover: float | None
    fitness: float | None
    returns: float | None
    drawdown: float | None
    margin: float | None
    long_count: float | None
    short_count: float | None
    days: int | None
    checks: list[dict[str, Any]]
    alpha_id: str | None
    grade: str | None
    kept: bool
    time: float
    call_id: str | None
    reason: str | None = None
    origin: str = "model"
    parents: list[str] = field(default_factory=list)
    validation_sharpe: float | None = None
    validation_fitness: float | None = None
    test_sharpe: float | None = None
    test_fitness: float | None = None
    admitted: bool | None = None
    admission: str | None = None
    self_correlation: float | None = None
    failed_checks: int | None = None
    dsr: float | None = None
    luck: str | None = None
    trials: int | None = None
    effective_trials: float | None = None
    trials_variance: float | None = None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """Counts and figures of one model's calls, expressions and alphas.

    `tokens_per_second` includes the loading time of answered calls.
    """

    model: str
    calls: int
    failed: int
    valid: int
    invalid: int
    duplicates: int
    evaluated: int
    kept: int
    tokens_per_second: float | None
    mean_sharpe: float | None
    best_sharpe: float | None


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of alphas; None filters nothing. `text` is a part of the expression, `since` Unix seconds."""

    source: str | None = None
    model: str | None = None
    kept: bool | None = None
    text: str | None = None
    since: float | None = None
    min_fitness: float | None = None
    min_sharpe: float | None = None
    max_turnover: float | None = None


_CLAUSES: Mapping[str, str] = {
    "source": "source = :source",
    "model": "model = :model",
    "kept": "kept = :kept",
    "text": r"lower(expression) LIKE lower(:text) ESCAPE '\'",
    "since": "time >= :since",
    "min_fitness": "fitness >= :min_fitness",
    "min_sharpe": "sharpe >= :min_sharpe",
    "max_turnover": "turnover <= :max_turnover",
}


def recent_alphas(location: Path | str, count: int) -> Sequence[AlphaRow]:
    """Return the newest alphas that have figures, newest first."""
    return _alphas(location, "state = 'done'", "time DESC, id DESC", {"count": count})


def best_alphas(
    location: Path | str,
    count: int,
    *,
    sort: str = "fitness",
    worst: bool = False,
    filters: Filters | None = None,
) -> Sequence[AlphaRow]:
    """Return alphas sorted by a metric; raise ValueError for a metric outside `SORTS`.

    The best is the smallest turnover or drawdown, and the largest of every other metric. Alphas whose figures mean
    nothing come last.
    """
    if sort not in SORTS:
        raise ValueError(f"sort by one of {', '.join(SORTS)}")
    given = _filter_values(filters or Filters())
    where = " AND ".join(["state = 'done'", f"{sort} IS NOT NULL", *(_CLAUSES[name] for name in given)])
    ascending = (sort in SMALLER_IS_BETTER) is not worst
    order = f"{sort} {'ASC' if ascending else 'DESC'}, id"
    found: list[AlphaRow] = []
    # Two queries, because each follows the index; the second one is seldom needed.
    for meaning in ("error IS NULL", "error IS NOT NULL"):
        if len(found) < count:
            values = {**given, "count": min(count - len(found), sys.maxsize)}
            found += _alphas(location, f"{where} AND {meaning}", order, values)
    return found


# Kept alphas are evaluated again on new data: an expression counts once, with its first result that was kept.
_FIRST_KEPT = """kept = :kept AND NOT EXISTS (
    SELECT 1 FROM evaluations AS earlier WHERE earlier.digest = evaluations.digest
    AND earlier.source = evaluations.source AND earlier.kept = :kept AND earlier.id < evaluations.id)"""
_KEPT = f"""
SELECT model, source, settings, {", ".join(MOMENTS)} FROM evaluations
WHERE state = 'done' AND fitness IS NOT NULL AND time >= :since AND {_FIRST_KEPT}
ORDER BY CASE WHEN error IS NULL THEN 0 ELSE 1 END, fitness DESC, id LIMIT :count
"""  # noqa: S608  # columns of our own


def marks_by_model(location: Path | str, *, since: float = 0.0) -> Mapping[str, Counter[str]]:
    """Return how many of each model's kept alphas are *likely*, *unproven* and *luck*, among the best of them."""
    with open_database(location) as rows:
        if rows is None or not has_pool(rows):
            return {}
        found: dict[str, Counter[str]] = {}
        trials = stored_trials(rows)
        for row in rows(_KEPT, {"kept": True, "since": since, "count": _MOST_MARKED}):
            mark = luck_by_trials(row, decoded(row["settings"]) or {}, trials).get("luck")
            if mark is not None:
                found.setdefault(row["model"], Counter())[mark] += 1
        return found


def _filter_values(filters: Filters) -> dict[str, Any]:
    values = {name: getattr(filters, name) for name in _CLAUSES}
    if filters.text is not None:
        literal = filters.text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        values["text"] = f"%{literal}%"
    return {name: value for name, value in values.items() if value is not None}


def _alphas(location: Path | str, where: str, order: str, values: Mapping[str, Any]) -> Sequence[AlphaRow]:
    with open_database(location) as rows:
        if rows is None:
            return []
        columns = ", ".join((_COLUMNS, *POOL_COLUMNS)) if has_pool(rows) else _COLUMNS
        trials = stored_trials(rows)
        # `where` and `order` consist of fixed words; a user's input is passed as values.
        statement = f"SELECT {columns} FROM evaluations WHERE {where} ORDER BY {order} LIMIT :count"  # noqa: S608
        return [_alpha(row, trials) for row in rows(statement, values)]


def _alpha(row: Mapping[str, Any], trials: TrialsOf) -> AlphaRow:
    values = {name: value for name, value in row.items() if name not in POOL_COLUMNS}
    values["settings"] = decoded(values["settings"]) or {}
    values["checks"] = decoded(values["checks"]) or []
    values["kept"] = bool(values["kept"])
    values["time"] = values["time"] or 0.0
    return AlphaRow(**values, **pool_fields(row, values["settings"], trials))


def decoded(value: Any) -> Any:
    """Return a JSON column's value: SQLite returns it as text, PostgreSQL decoded."""
    return json.loads(value) if isinstance(value, str) else value


_BY_MODEL = """
SELECT model, count(*) AS calls, sum(CASE WHEN error IS NULL THEN 0 ELSE 1 END) AS failed,
       sum(valid) AS valid, sum(invalid) AS invalid, sum(duplicates) AS duplicates,
       sum(CASE WHEN error IS NULL THEN reply_tokens END) * 1.0
           / nullif(sum(CASE WHEN error IS NULL AND done_reason <> 'cut' THEN ended - started END), 0)
           AS tokens_per_second
FROM calls WHERE ended >= :since GROUP BY model ORDER BY min(started)
"""
_SHARPE_BY_MODEL = f"""
SELECT model, count(*) AS evaluated, sum(CASE WHEN {_FIRST_KEPT} THEN 1 ELSE 0 END) AS kept,
       avg(CASE WHEN error IS NULL THEN sharpe END) AS mean_sharpe,
       max(CASE WHEN error IS NULL THEN sharpe END) AS best_sharpe
FROM evaluations WHERE state = 'done' AND time >= :since GROUP BY model
"""  # noqa: S608  # as above
_NOTHING: Mapping[str, Any] = {"evaluated": 0, "kept": 0, "mean_sharpe": None, "best_sharpe": None}


def by_model(location: Path | str, *, since: float = 0.0) -> Sequence[ModelRow]:
    """Return each model's counts and figures since a time (Unix seconds), in the order of first use."""
    with open_database(location) as rows:
        if rows is None:
            return []
        values = {"since": since}
        figures = {row["model"]: dict(row) for row in rows(_SHARPE_BY_MODEL, {**values, "kept": True})}
        return [
            ModelRow(**{**_NOTHING, **figures.get(row["model"], {}), **dict(row)})
            for row in rows(_BY_MODEL, values)
        ]
