import math
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.dialects import postgresql

from fleet.runtime.errors import ConfigError, GeneratorError
from generator.domain import Admission, Candidate, Evaluated, Moments, Origin, Stretch
from generator.storage.dialect import insert_of
from generator.storage.errors import StorageError
from generator.storage.migrations import STEPS, migrate
from generator.storage.read import DatabaseUnreadError, by_model, open_database, recent_alphas, server_url
from generator.storage.rows import call_row
from generator.storage.schema import Base, CallRow, EvaluationRow
from generator.storage.store import AlphaStore
from tests.reference.stored_rows import PANEL, call, candidate, done_rows, figures

NEWEST = 1 + len(STEPS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alphas.db"


@pytest.fixture
def store(path: Path) -> Iterator[AlphaStore]:
    with closing(AlphaStore(f"sqlite:///{path}", owner="here")) as made:
        yield made


def test_the_row_of_a_call_has_the_columns_of_its_table() -> None:
    assert set(call_row(call())) == {column.name for column in CallRow.__table__.columns}


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


@pytest.mark.parametrize(
    "error", [OverflowError("too large"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "lone")]
)
def test_a_database_that_cannot_be_opened_refuses_no_row(
    store: AlphaStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A refused row is left out; rows that wait for the database are not."""

    def failing(_engine: object) -> None:
        raise error

    monkeypatch.setattr("generator.storage.store.migrate", failing)
    with pytest.raises(StorageError, match="cannot be used"):
        store.record_call(call(), [], PANEL)
    monkeypatch.undo()
    store.record_call(call(), [], PANEL)


def test_of_lanes_that_start_at_once_one_takes_each_step(path: Path) -> None:
    engines = [create_engine(f"sqlite:///{path}") for _ in range(2)]
    migrate(engines[0])
    taken: list[int] = []

    def step(connection: Connection) -> None:
        taken.append(1)
        if len(taken) == 1:
            other.start()
            other.join(0.3)  # it waits for this step's end

    steps = [*STEPS, step]
    other = threading.Thread(target=migrate, args=(engines[1], steps))
    assert migrate(engines[0], steps) == NEWEST + 1
    other.join()
    assert len(taken) == 1
    for engine in engines:
        engine.dispose()


def test_lanes_that_start_at_once_make_the_tables_once(path: Path) -> None:
    engines = [create_engine(f"sqlite:///{path}") for _ in range(2)]
    found: list[int] = []
    other = threading.Thread(target=lambda: found.append(migrate(engines[1])))

    def begin(_target: object, _connection: object, **_named: object) -> None:
        if not other.ident:
            other.start()
            other.join(0.3)

    event.listen(Base.metadata, "before_create", begin)
    try:
        found.append(migrate(engines[0]))
    finally:
        event.remove(Base.metadata, "before_create", begin)
    other.join()
    assert found == [NEWEST, NEWEST]
    for engine in engines:
        engine.dispose()


def test_postgresql_gets_its_own_insert() -> None:
    statement = postgresql.insert(EvaluationRow).values(digest="d").on_conflict_do_nothing()
    assert "ON CONFLICT DO NOTHING" in str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    connection = SimpleNamespace(dialect=SimpleNamespace(name="postgresql"))
    assert insert_of(connection) is postgresql.insert  # type: ignore[arg-type]  # all that it asks of one


def test_a_row_gives_back_what_was_stored_with_it(store: AlphaStore) -> None:
    child = replace(candidate("x"), origin=Origin.BRED, parents=("a", "b"))
    store.record_call(call(), [child], PANEL)
    [pending] = store.pending(PANEL, limit=9)
    assert (pending.origin, pending.parents) == (Origin.BRED, ("a", "b"))
    judged = replace(
        figures(), days=3, validation=Stretch(1.0, 0.2, math.nan, 0.1, 9), test=Stretch(0.9, 0.2, 0.3, 0.1, 8),
        moments=Moments(0.06, 40, -0.1, 4.5), pnl=struct.pack("<3f", 0.1, 0.2, 0.3),
        checks=[{"name": "HIGH_TURNOVER", "result": "FAIL"}, {"name": "LOW_SHARPE", "result": "FAIL"}],
    )  # fmt: skip
    done = Evaluated(
        child, PANEL.source, PANEL.settings, judged,
        admission=Admission(admitted=True), self_correlation=0.4, time=9.0,
    )  # fmt: skip
    store.finish(done, PANEL)
    [found] = done_rows(store, PANEL)
    assert found.performance is not None
    assert repr(found.performance.validation) == repr(judged.validation)
    for name in ("test", "moments", "pnl"):
        assert getattr(found.performance, name) == getattr(judged, name)
    assert (found.admission, found.self_correlation) == (Admission(admitted=True), 0.4)
    with store.transaction() as connection:
        row = connection.execute(text("SELECT failed_checks, hard_failures FROM evaluations")).one()
    assert tuple(row) == (2, 1)


def test_only_a_member_keeps_its_daily_pnl(store: AlphaStore) -> None:
    refused = Admission(admitted=False, reason="the same positions as rank(a)")
    for name, decision in (("x", refused), ("y", None)):
        done = Evaluated(
            candidate(name), PANEL.source, PANEL.settings, replace(figures(), pnl=b"1234"),
            kept=True, admission=decision, time=1.0,
        )  # fmt: skip
        store.finish(done, PANEL)
    found = {one.candidate.digest: one for one in done_rows(store, PANEL)}
    assert {one.performance.pnl for one in found.values() if one.performance} == {b""}
    assert {name: one.admission for name, one in found.items()} == {"x": refused, "y": None}


def test_the_results_of_themes_are_the_models_alphas_that_the_pool_judged(store: AlphaStore) -> None:
    for number, admitted in enumerate((True, False, None, True)):
        one = replace(call(f"c{number}"), seed=100 + number)
        store.record_call(one, [candidate(f"x{number}", f"c{number}")], PANEL)
        replaced = ("x0",) if number == 3 else ()  # a former member was admitted once
        decision = None if admitted is None else Admission(admitted=admitted, replaced=replaced)
        store.finish(
            Evaluated(
                candidate(f"x{number}", f"c{number}"), PANEL.source, PANEL.settings, figures(),
                time=float(number), admission=decision,
            ),
            PANEL,
        )  # fmt: skip
    bred = replace(candidate("b"), origin=Origin.BRED)
    store.finish(
        Evaluated(bred, PANEL.source, PANEL.settings, figures(), admission=Admission(admitted=True)), PANEL
    )
    assert store.theme_results(PANEL, limit=9) == [(100, True), (101, False), (103, True)]
    assert store.theme_results(PANEL, limit=2) == [(101, False), (103, True)]
    assert store.theme_results(replace(PANEL, settings={}), limit=9) == []


@pytest.mark.parametrize(
    ("url", "wait"),
    [
        ("postgresql+psycopg://me@host/fleets", "10"),
        ("postgresql+psycopg://me@host/fleets?sslmode=require", "10"),
        ("postgresql+psycopg2://me@host/fleets", "10"),
        ("postgresql+psycopg://me@host/fleets?connect_timeout=3", "3"),
        ("postgresql+pg8000://me@host/fleets", None),
        ("sqlite:////tmp/alphas.db", None),
    ],
)
def test_a_connection_to_a_server_is_given_up_in_time(url: str, wait: str | None) -> None:
    assert server_url(url).query.get("connect_timeout") == wait


def test_a_server_whose_machine_vanishes_is_given_up_after_a_minute() -> None:
    query = server_url("postgresql+psycopg://me@host/fleets?keepalives_idle=300").query
    assert (query["keepalives_idle"], query["tcp_user_timeout"]) == ("300", "60000")
    query = server_url("postgresql+psycopg://me@host/fleets").query
    idle, interval, count = (int(str(query[f"keepalives_{part}"])) for part in ("idle", "interval", "count"))
    assert idle + interval * count == 60
