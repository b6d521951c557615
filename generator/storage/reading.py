"""Reading the default database with the standard library alone, so that a status takes no SQLAlchemy.

Nothing here creates, changes or locks the database; a writer may be at work. Functions raise
DatabaseUnreadError where the file is there and cannot be read, and find nothing where it is not there.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.errors import GeneratorError

SORTS = ("fitness", "sharpe", "turnover", "returns", "drawdown", "margin", "time")
_COLUMNS = (
    "id, expression, canonical, model, source, settings, sharpe, turnover, fitness, returns, drawdown,"
    " margin, long_count, short_count, days, checks, alpha_id, grade, kept, time, call_id"
)


class DatabaseUnreadError(GeneratorError):
    """The database of alphas is there and cannot be read."""


@dataclass(frozen=True, slots=True)
class AlphaRow:
    """An evaluated alpha as the database has it; `time` is Unix seconds."""

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


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What a model brought: calls and those that failed, expressions by what became of them, figures.

    `tokens_per_second` is over the answered calls' whole time, loading included.
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


def recent_alphas(path: Path, count: int) -> Sequence[AlphaRow]:
    """Return the newest alphas that have figures, newest first."""
    return _alphas(path, "state = 'done'", "time DESC, id DESC", {"count": count})


def best_alphas(
    path: Path,
    count: int,
    *,
    sort: str = "fitness",
    ascending: bool = False,
    source: str | None = None,
    model: str | None = None,
    kept: bool | None = None,
    text: str | None = None,
    since: float | None = None,
) -> Sequence[AlphaRow]:
    """Return alphas by a metric, best first; raise ValueError for a metric that is none of `SORTS`.

    The filters: figures' source, the model, kept or not, a part of the expression, not before `since`.
    """
    if sort not in SORTS:
        raise ValueError(f"sort by one of {', '.join(SORTS)}")
    values = {"source": source, "model": model, "kept": kept, "text": text, "since": since}
    clauses = {
        "source": "source = :source",
        "model": "model = :model",
        "kept": "kept = :kept",
        "text": "instr(expression, :text) > 0",
        "since": "time >= :since",
    }
    given = [clauses[name] for name, value in values.items() if value is not None]
    where = " AND ".join(["state = 'done'", f"{sort} IS NOT NULL", *given])
    order = f"{sort} {'ASC' if ascending else 'DESC'}, id"
    return _alphas(path, where, order, {**values, "count": count})


def _alphas(path: Path, where: str, order: str, values: dict[str, Any]) -> Sequence[AlphaRow]:
    # `where` and `order` are made above of fixed words; what a person gave travels as a value.
    statement = f"SELECT {_COLUMNS} FROM evaluations WHERE {where} ORDER BY {order} LIMIT :count"  # noqa: S608
    with _opened(path) as connection:
        return [] if connection is None else [_alpha(row) for row in connection.execute(statement, values)]


def _alpha(row: sqlite3.Row) -> AlphaRow:
    values = dict(row)
    values["settings"] = json.loads(values["settings"] or "{}")
    values["checks"] = json.loads(values["checks"] or "[]") or []
    values["kept"] = bool(values["kept"])
    values["time"] = values["time"] or 0.0
    return AlphaRow(**values)


BY_MODEL = """
SELECT calls.model AS model, count(*) AS calls, sum(CASE WHEN error IS NOT NULL THEN 1 ELSE 0 END) AS failed,
       sum(valid) AS valid, sum(invalid) AS invalid, sum(duplicates) AS duplicates,
       sum(CASE WHEN error IS NULL THEN reply_tokens END) * 1.0
           / nullif(sum(CASE WHEN error IS NULL THEN ended - started END), 0) AS tokens_per_second
FROM calls WHERE ended >= :since GROUP BY calls.model ORDER BY min(started)
"""
SHARPE_BY_MODEL = """
SELECT model, count(*) AS evaluated, sum(CASE WHEN kept THEN 1 ELSE 0 END) AS kept,
       avg(sharpe) AS mean_sharpe, max(sharpe) AS best_sharpe
FROM evaluations WHERE state = 'done' AND time >= :since GROUP BY model
"""


def by_model(path: Path, *, since: float = 0.0) -> Sequence[ModelRow]:
    """Return what each model brought since a time, in the order in which they were first used."""
    with _opened(path) as connection:
        if connection is None:
            return []
        values = {"since": since}
        calls = connection.execute(BY_MODEL, values).fetchall()
        figures = connection.execute(SHARPE_BY_MODEL, values).fetchall()
    return joined(map(dict, calls), map(dict, figures))


def joined(calls: Iterable[dict[str, Any]], figures: Iterable[dict[str, Any]]) -> Sequence[ModelRow]:
    """Return a row a model from what its calls and its alphas sum up to, in the calls' order."""
    of = {row["model"]: row for row in figures}
    nothing = {"evaluated": 0, "kept": 0, "mean_sharpe": None, "best_sharpe": None}
    return [ModelRow(**{**nothing, **of.get(row["model"], {}), **row}) for row in calls]


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the database for reading; None where there is none, or none with tables yet."""
    if not path.exists():
        yield None
        return
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
        ) as connection:
            connection.row_factory = sqlite3.Row
            tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'evaluations'")
            yield connection if tables.fetchone()[0] else None
    except sqlite3.Error as error:
        raise DatabaseUnreadError(
            f"the database {path} cannot be read: {error}",
            hint="Check its permissions; if it is damaged, move it away.",
        ) from error
