from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import postgresql

from fleet.runtime.errors import ConfigError, GeneratorError
from generator.domain import Candidate
from generator.storage.migrations import STEPS, migrate
from generator.storage.read import DatabaseUnreadError, by_model, open_database, recent_alphas
from generator.storage.schema import EvaluationRow
from generator.storage.store import AlphaStore, StorageError, _insert
from tests.reference.stored_rows import PANEL, call, candidate

NEWEST = 1 + len(STEPS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alphas.db"


@pytest.fixture
def store(path: Path) -> Iterator[AlphaStore]:
    with closing(AlphaStore(f"sqlite:///{path}", owner="here")) as made:
        yield made


def test_reading_finds_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    assert recent_alphas(tmp_path / "none.db", 5) == []
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    assert by_model(tmp_path / "empty.db") == []


def test_a_damaged_database_is_reported_with_the_mend(tmp_path: Path, path: Path, store: AlphaStore) -> None:
    path.write_bytes(b"this is no database at all, but it is long enough to look like one" * 50)
    with pytest.raises(StorageError, match="not a database") as caught:
        store.record_call(call(), [], PANEL)
    assert "Move the file away" in caught.value.hint
    with pytest.raises(GeneratorError, match="cannot be read"):
        recent_alphas(path, 1)
    path.unlink()
    store.record_call(call(), [], PANEL)


def test_a_full_disk_is_reported_as_such_and_passes(store: AlphaStore, path: Path) -> None:
    store.record_call(call(), [], PANEL)
    engine = store._engine
    assert engine is not None
    with engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(StorageError, match="full") as caught:
        store.record_call(call("c2"), [candidate("x" * 60) for _ in range(1)] + [
            Candidate(f"d{number}", "x" * 3000, "x") for number in range(40)
        ], PANEL)  # fmt: skip
    assert caught.value.full
    with engine.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 1000000"))
    store.record_call(call("c2"), [candidate("x")], PANEL)
    assert store.count() == 1


def test_a_url_that_is_none_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no SQLAlchemy URL"):
        AlphaStore("nonsense", owner="here")


def test_a_password_in_the_query_of_a_url_is_not_shown() -> None:
    url = "postgresql+psycopg://127.0.0.1:9/alphas?user=me&password=secret&connect_timeout=1"
    store = AlphaStore(url, owner="here")
    with pytest.raises(StorageError) as written:
        store.count()
    with pytest.raises(DatabaseUnreadError) as read, open_database(url):
        pass
    assert "127.0.0.1" in written.value.message
    assert "secret" not in written.value.message + read.value.message


def test_a_driver_that_is_not_installed_says_how_to_get_it_without_the_password() -> None:
    store = AlphaStore("postgresql+asyncpg://me:secret@db/alphas", owner="here")
    with pytest.raises(ConfigError, match="driver") as caught:
        store.count()
    assert "psycopg" in caught.value.hint
    assert "secret" not in caught.value.message


def test_tables_are_led_to_the_newest_version_step_by_step(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    assert migrate(engine) == NEWEST
    steps = [
        *STEPS,
        lambda connection: connection.execute(text("ALTER TABLE calls ADD COLUMN colour TEXT")),
        lambda connection: connection.execute(text("CREATE INDEX by_colour ON calls (colour)")),
    ]
    assert migrate(engine, steps) == NEWEST + 2
    assert migrate(engine, steps) == NEWEST + 2
    with pytest.raises(GeneratorError, match=f"version {NEWEST + 2}, this program knows {NEWEST}"):
        migrate(engine)
    engine.dispose()


def test_a_step_that_fails_leaves_the_version_before_it(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    migrate(engine)
    good = [*STEPS, lambda connection: connection.execute(text("ALTER TABLE calls ADD COLUMN colour TEXT"))]

    def bad(connection: object) -> None:
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError):
        migrate(engine, [*good, bad])
    assert migrate(engine, good) == NEWEST + 1
    engine.dispose()


def test_postgresql_gets_its_own_insert() -> None:
    statement = postgresql.insert(EvaluationRow).values(digest="d").on_conflict_do_nothing()
    assert "ON CONFLICT DO NOTHING" in str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    connection = SimpleNamespace(dialect=SimpleNamespace(name="postgresql"))
    assert _insert(connection) is postgresql.insert  # type: ignore[arg-type]  # all that it asks of one
