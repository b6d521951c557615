"""Reading a database by its SQLAlchemy URL, also one on a server; the default file is read by `reading.py`."""

from collections.abc import Sequence

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from generator.storage.reading import BY_MODEL, SHARPE_BY_MODEL, DatabaseUnreadError, ModelRow, joined


def by_model_at(url: str, *, since: float = 0.0) -> Sequence[ModelRow]:
    """Return what each model brought since a time; raise DatabaseUnreadError, which never shows the URL."""
    try:
        engine = create_engine(url)
        try:
            with engine.connect() as connection:
                values = {"since": since}
                calls = connection.execute(text(BY_MODEL), values).mappings().all()
                figures = connection.execute(text(SHARPE_BY_MODEL), values).mappings().all()
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        reason = type(getattr(error, "orig", None) or error).__name__
        raise DatabaseUnreadError(
            f"the database of [generator] database cannot be read ({reason})",
            hint="Does its server run, and are the URL, user and password right?",
        ) from error
    return joined(map(dict, calls), map(dict, figures))
