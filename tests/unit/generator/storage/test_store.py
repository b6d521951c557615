import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import postgresql

from fleet.errors import ConfigError, GeneratorError
from generator.records import CallRecord, Candidate, Evaluated, Performance, Ruleset, Source
from generator.storage.migrations import migrate
from generator.storage.models import EvaluationRow
from generator.storage.reading import best_alphas, by_model, recent_alphas
from generator.storage.store import StorageError, Store, _insert

PANEL = Ruleset(Source.PANEL, {"delay": 1, "panel": "mine.parquet"})
STANDIN = Ruleset(Source.STANDIN, {"delay": 1, "panel": "synthetic"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alphas.db"


@pytest.fixture
def store(path: Path) -> Store:
    return Store(f"sqlite:///{path}", owner="here")


def call(name: str = "c1", ended: float = 2.0, error: str | None = None) -> CallRecord:
    return CallRecord(
        name, ended - 1.0, ended, "m:1b", 0, 0, "prompt", 200, reply="reply", error=error, reply_tokens=50
    )


def candidate(name: str, of: str = "c1") -> Candidate:
    return Candidate(name, f"rank({name})", f"rank({name})", of, "m:1b")


def figures(fitness: float = 1.0, sharpe: float = 1.5) -> Performance:
    return Performance(
        sharpe=sharpe, turnover=0.2, fitness=fitness, returns=0.1, drawdown=0.1, margin=0.001,
        long_count=10.0, short_count=11.0, days=500, checks=[{"name": "LOW_SHARPE", "result": "PASS"}],
    )  # fmt: skip


def finish(
    store: Store, name: str, *, rules: Ruleset = PANEL, kept: bool = False, fitness: float = 1.0
) -> Evaluated:
    done = Evaluated(
        candidate(name), rules.source, rules.settings, figures(fitness), kept=kept, time=100.0 + fitness
    )
    return store.finish(done, rules)


def test_a_call_and_its_new_candidates_are_stored_together(store: Store) -> None:
    fresh, tally = store.record_call(call(), [candidate("a"), candidate("b")], PANEL, invalid=1, repeated=1)
    assert [one.digest for one in fresh] == ["a", "b"]
    assert (tally.valid, tally.invalid, tally.duplicates) == (3, 1, 1)
    assert store.pending(PANEL, limit=10) == [candidate("a"), candidate("b")]


def test_what_was_tried_before_is_not_new_also_in_another_run(store: Store, path: Path) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    finish(store, "a")
    store.close()
    again = Store(f"sqlite:///{path}", owner="here")
    fresh, tally = again.record_call(call("c2"), [candidate("a", "c2"), candidate("b", "c2")], PANEL)
    assert [one.digest for one in fresh] == ["b"]
    assert tally.duplicates == 1


def test_an_expression_is_tried_once_under_each_ruleset(store: Store) -> None:
    for rules in (PANEL, STANDIN):
        fresh, _ = store.record_call(call(), [candidate("a")], rules)
        assert len(fresh) == 1
    assert len(store.pending(PANEL, limit=9)) == len(store.pending(STANDIN, limit=9)) == 1


def test_a_write_can_be_repeated(store: Store) -> None:
    for _ in range(2):
        fresh, tally = store.record_call(call(), [candidate("a")], PANEL)
        assert len(fresh) == 1
        assert tally.duplicates == 0
    assert store.count() == 1


def test_an_evaluation_is_filled_once(store: Store, path: Path) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    first = finish(store, "a", fitness=1.0)
    again = finish(store, "a", fitness=9.0)
    assert first.id == again.id
    [row] = recent_alphas(path, 5)
    assert row.fitness == 1.0
    assert row.checks == [{"name": "LOW_SHARPE", "result": "PASS"}]
    assert store.pending(PANEL, limit=9) == []


def test_a_failed_evaluation_keeps_its_reason(store: Store, path: Path) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    store.finish(Evaluated(candidate("a"), PANEL.source, {}, error="no such group", time=5.0), PANEL)
    assert store.count("failed") == 1
    assert recent_alphas(path, 5) == []
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT error FROM evaluations").fetchone() == ("no such group",)
    connection.close()


def test_figures_that_are_not_finite_are_null(store: Store, path: Path) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    finish(store, "a", fitness=float("nan"))
    assert recent_alphas(path, 1)[0].fitness is None
    assert best_alphas(path, 1) == []
    assert store.best(PANEL, limit=5) == []


def test_only_this_owners_pending_rows_are_taken_up(store: Store, path: Path) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    assert Store(f"sqlite:///{path}", owner="elsewhere").pending(PANEL, limit=5) == []


def test_only_kept_alphas_of_a_real_market_are_to_be_published(store: Store) -> None:
    for rules in (PANEL, STANDIN):
        store.record_call(call(), [candidate("a"), candidate("b")], rules)
        finish(store, "a", rules=rules, kept=True)
        finish(store, "b", rules=rules, kept=False)
    [one] = store.unpublished()
    assert (one.candidate.digest, one.source) == ("a", Source.PANEL)
    assert one.id is not None
    store.mark_published([one.id])
    assert store.unpublished() == []


def test_old_texts_are_emptied_in_batches_and_the_rows_stay(store: Store, path: Path) -> None:
    for number in range(10):
        store.record_call(call(f"c{number}", ended=float(number)), [], PANEL)
    assert store.clear_calls(before=4.0, keep=100, batch=3) == 3
    assert store.clear_calls(before=4.0, keep=100, batch=3) == 2
    assert store.clear_calls(before=4.0, keep=100, batch=3) == 0
    assert store.clear_calls(before=0.0, keep=2) == 3
    with sqlite3.connect(path) as connection:
        kept = connection.execute("SELECT id FROM calls WHERE prompt IS NOT NULL ORDER BY id").fetchall()
    connection.close()
    assert kept == [("c8",), ("c9",)]
    assert by_model(path)[0].calls == 10


def test_the_best_come_first_with_filters(store: Store, path: Path) -> None:
    store.record_call(call(), [candidate(name) for name in "abc"], PANEL)
    for name, fitness in (("a", 0.5), ("b", 2.0), ("c", 1.0)):
        finish(store, name, fitness=fitness, kept=name != "c")
    assert [row.expression for row in best_alphas(path, 5)] == ["rank(b)", "rank(c)", "rank(a)"]
    assert [row.expression for row in best_alphas(path, 1, ascending=True)] == ["rank(a)"]
    assert [row.expression for row in best_alphas(path, 5, kept=False)] == ["rank(c)"]
    assert [row.expression for row in best_alphas(path, 5, text="(a")] == ["rank(a)"]
    assert best_alphas(path, 5, source="brain") == best_alphas(path, 5, model="other") == []
    assert [row.expression for row in recent_alphas(path, 2)] == ["rank(b)", "rank(c)"]
    with pytest.raises(ValueError, match="sort by one of"):
        best_alphas(path, 5, sort="1; DROP TABLE calls")


def test_a_models_row_counts_calls_and_figures(store: Store, path: Path) -> None:
    store.record_call(call(), [candidate("a")], PANEL, invalid=2)
    store.record_call(call("c2", error="boom"), [], PANEL)
    finish(store, "a", kept=True)
    [row] = by_model(path)
    assert (row.calls, row.failed, row.valid, row.invalid, row.evaluated, row.kept) == (2, 1, 1, 2, 1, 1)
    assert row.tokens_per_second == 50.0
    assert row.best_sharpe == 1.5


def test_reading_finds_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    assert recent_alphas(tmp_path / "none.db", 5) == []
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    assert by_model(tmp_path / "empty.db") == []


def test_a_damaged_database_is_told_with_what_to_do(tmp_path: Path, path: Path, store: Store) -> None:
    path.write_bytes(b"this is no database at all, but it is long enough to look like one" * 50)
    with pytest.raises(StorageError, match="not a database") as caught:
        store.record_call(call(), [], PANEL)
    assert "Move the file away" in caught.value.hint
    with pytest.raises(GeneratorError, match="cannot be read"):
        recent_alphas(path, 1)
    path.unlink()
    store.record_call(call(), [], PANEL)


def test_a_full_disk_is_told_as_such_and_passes(store: Store, path: Path) -> None:
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
        Store("nonsense", owner="here")


def test_a_driver_that_is_not_installed_says_how_to_get_it_without_the_password() -> None:
    store = Store("postgresql+psycopg://me:secret@db/alphas", owner="here")
    with pytest.raises(ConfigError, match="driver") as caught:
        store.count()
    assert "psycopg" in caught.value.hint
    assert "secret" not in caught.value.message


def test_tables_are_led_to_the_newest_version_step_by_step(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    assert migrate(engine, []) == 1
    steps = [
        lambda connection: connection.execute(text("ALTER TABLE calls ADD COLUMN colour TEXT")),
        lambda connection: connection.execute(text("CREATE INDEX by_colour ON calls (colour)")),
    ]
    assert migrate(engine, steps) == 3
    assert migrate(engine, steps) == 3
    with pytest.raises(GeneratorError, match="version 3, this program knows 1"):
        migrate(engine, [])
    engine.dispose()


def test_a_step_that_fails_leaves_the_version_before_it(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    migrate(engine, [])
    good = [lambda connection: connection.execute(text("ALTER TABLE calls ADD COLUMN colour TEXT"))]

    def bad(connection: object) -> None:
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError):
        migrate(engine, [*good, bad])
    assert migrate(engine, good) == 2
    engine.dispose()


def test_postgresql_gets_its_own_insert() -> None:
    statement = postgresql.insert(EvaluationRow).values(digest="d").on_conflict_do_nothing()
    assert "ON CONFLICT DO NOTHING" in str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    connection = SimpleNamespace(dialect=SimpleNamespace(name="postgresql"))
    assert _insert(connection) is postgresql.insert  # type: ignore[arg-type]  # all that it asks of one
