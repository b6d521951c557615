"""Opening a database for reading: SQLite by the standard library alone, another one by SQLAlchemy.

A status or a list of alphas of the default database must not wait for SQLAlchemy's import. Nothing here creates,
changes or locks a database; a writer may be at work.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fleet.runtime.errors import ConfigError, GeneratorError
from fleet.runtime.home import Home
from fleet.runtime.units import Seconds

if TYPE_CHECKING:
    from sqlalchemy import URL

Rows: TypeAlias = Callable[[str, Mapping[str, Any]], Iterable[Mapping[str, Any]]]
"""A statement with its named values to the rows it finds."""

_SQLITE = "sqlite:///"
_PATIENCE: Seconds = 1.0
_TABLE = "evaluations"


class DatabaseUnreadError(GeneratorError):
    """The database of alphas is there and cannot be read."""


def place_of(url: str, home: Home) -> Path | str:
    """Return where `[generator] database` points: a file of SQLite, or the URL of something else.

    A relative path is one in the home, wherever a program that asks was started.
    """
    if not url:
        return home.database
    if url.startswith(_SQLITE) and "?" not in url and len(url) > len(_SQLITE):
        return home.path / url.removeprefix(_SQLITE)
    return url


def url_of(place: Path | str) -> str:
    """Return the SQLAlchemy URL of a place."""
    return f"{_SQLITE}{place}" if isinstance(place, Path) else place


def shown_url(url: "URL") -> str:
    """Return a URL as it may be printed: a password stands in its own place, or anywhere in its query."""
    return url.set(query={}).render_as_string(hide_password=True)


@contextmanager
def opened(place: Path | str) -> Iterator[Rows | None]:
    """Open a database for reading; None where there is none, or none with tables yet.

    Raises DatabaseUnreadError where it is there and cannot be read.
    """
    with _file(place) if isinstance(place, Path) else _server(place) as rows:
        yield rows


@contextmanager
def _file(path: Path) -> Iterator[Rows | None]:
    if not path.exists():
        yield None
        return
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE)) as connection:
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
    from sqlalchemy.engine import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError  # noqa: PLC0415

    try:
        where = make_url(url)
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
