"""The storage contract, held to SQLite and to a real PostgreSQL alike."""

import math
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, inspect, text

from fleet.runtime.home import Home
from generator.domain import Admission, Evaluated, Moments, Origin, Source, Split
from generator.pool.stored import stored_split, stored_trials
from generator.storage.additions import add_candidate
from generator.storage.dialect import insert_new
from generator.storage.errors import RefusedRowError, StorageError
from generator.storage.migrations import POOL_COLUMNS, STEPS
from generator.storage.pool import read_members, read_sample, read_trials, write_split, write_trials
from generator.storage.read import (
    Filters,
    best_alphas,
    by_model,
    database_location,
    open_database,
    recent_alphas,
)
from generator.storage.rows import candidate_row
from generator.storage.store import AlphaStore
from generator.workers.pool import sampled_trials
from tests.parts.postgresql import Cluster, postgresql
from tests.reference.stored_rows import PANEL, STANDIN, call, candidate, done_rows, figures, finish


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/alphas.db"
    running: Cluster = request.getfixturevalue("cluster")
    return running.create(tmp_path.name.replace("-", "_")[:60].lower())


@pytest.fixture
def place(url: str) -> Path | str:
    return database_location(url, Home(Path("/nowhere")))


@pytest.fixture
def store(url: str) -> Iterator[AlphaStore]:
    opened = AlphaStore(url, owner="here")
    yield opened
    opened.close()


def sql(url: str, statement: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]
    finally:
        engine.dispose()


def test_a_call_and_its_new_candidates_are_stored_together(store: AlphaStore) -> None:
    fresh, tally = store.record_call(call(), [candidate("a"), candidate("b")], PANEL, invalid=1, repeated=1)
    assert [one.digest for one in fresh] == ["a", "b"]
    assert (tally.valid, tally.invalid, tally.duplicates) == (3, 1, 1)
    assert store.pending(PANEL, limit=10) == [candidate("a"), candidate("b")]


def test_what_was_tried_before_is_not_new_also_in_another_run(store: AlphaStore, url: str) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    finish(store, "a")
    store.close()
    again = AlphaStore(url, owner="here")
    fresh, tally = again.record_call(call("c2"), [candidate("a", "c2"), candidate("b", "c2")], PANEL)
    assert [one.digest for one in fresh] == ["b"]
    assert tally.duplicates == 1
    again.close()


def test_an_expression_is_tried_once_under_each_ruleset(store: AlphaStore) -> None:
    for rules in (PANEL, STANDIN):
        fresh, _ = store.record_call(call(), [candidate("a")], rules)
        assert len(fresh) == 1
    assert len(store.pending(PANEL, limit=9)) == len(store.pending(STANDIN, limit=9)) == 1


def test_only_the_first_insertion_of_an_expression_is_new(store: AlphaStore) -> None:
    store.record_call(call(), [candidate("close")], PANEL)
    with store.transaction() as connection:
        rows = [candidate_row(candidate(name), PANEL, "here", 1.0) for name in ("close", "open", "open")]
        assert [insert_new(connection, row) for row in rows] == [False, True, False]


def test_a_write_can_be_repeated(store: AlphaStore) -> None:
    for _ in range(2):
        fresh, tally = store.record_call(call(), [candidate("a")], PANEL)
        assert len(fresh) == 1
        assert tally.duplicates == 0
    assert store.count() == 1


REFUSED: dict[str, dict[str, Any]] = {
    "a NUL": {"prompt": "a\0b"},
    "half a surrogate pair": {"prompt": "a\ud800b"},
    "an integer out of range": {"rung": 2**63},
    "an integer of many digits": {"rung": 10**30},
    "a text that is too long": {"done_reason": "x" * 99},
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_value_that_a_server_refuses_is_no_failure_of_the_database(cluster: Cluster, what: str) -> None:
    url = cluster.create("refused" + str(list(REFUSED).index(what)))
    with closing(AlphaStore(url, owner="here")) as store:
        with pytest.raises(RefusedRowError, match="the database refuses a value: "):
            store.record_call(replace(call(), **REFUSED[what]), [candidate("close")], PANEL)
        assert store.count() == 0
        store.record_call(call(), [candidate("close")], PANEL)
        assert store.count() == 1


def test_figures_that_a_server_refuses_leave_their_row_pending(cluster: Cluster) -> None:
    with closing(AlphaStore(cluster.create("refused_figures"), owner="here")) as store:
        store.record_call(call(), [candidate("close")], PANEL)
        for values in (
            {"days": 2**40},
            {"grade": "x" * 99},
            {"checks": [{"name": "X", "value": [math.nan]}]},
        ):
            done = Evaluated(
                candidate("close"), PANEL.source, PANEL.settings, replace(figures(), **values), time=1.0
            )
            with pytest.raises(RefusedRowError):
                store.finish(done, PANEL)
        assert store.count("pending") == 1


def test_an_evaluation_is_filled_once(store: AlphaStore, place: Path | str) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    first = finish(store, "a", fitness=1.0)
    again = finish(store, "a", fitness=9.0)
    assert first.id == again.id
    [row] = recent_alphas(place, 5)
    assert row.fitness == 1.0
    assert row.checks == [{"name": "LOW_SHARPE", "result": "PASS"}]
    assert store.pending(PANEL, limit=9) == []


def test_an_evaluation_whose_row_is_gone_is_stored_all_the_same(store: AlphaStore, place: Path | str) -> None:
    assert finish(store, "a").id is not None
    [row] = recent_alphas(place, 5)
    assert (row.expression, row.call_id, row.fitness) == ("rank(a)", None, 1.0)


def test_a_failed_evaluation_keeps_its_reason(store: AlphaStore, place: Path | str, url: str) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    store.finish(Evaluated(candidate("a"), PANEL.source, {}, error="no such group", time=5.0), PANEL)
    assert store.count("failed") == 1
    assert recent_alphas(place, 5) == []
    assert sql(url, "SELECT error FROM evaluations") == [("no such group",)]


def test_figures_that_are_not_finite_are_null(store: AlphaStore, place: Path | str) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    finish(store, "a", fitness=float("nan"))
    assert recent_alphas(place, 1)[0].fitness is None
    assert best_alphas(place, 1) == []


def test_checks_without_a_finite_value_are_stored(store: AlphaStore) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    check = {"name": "SELF_CORRELATION", "result": "PASS", "limit": 0.7, "value": math.nan}
    result = Evaluated(candidate("a"), PANEL.source, PANEL.settings, replace(figures(), checks=[check]))
    assert store.finish(result, PANEL) is not None
    [found] = done_rows(store, PANEL)
    assert found.performance is not None
    assert found.performance.checks == [{**check, "value": None}]


def test_only_this_owners_pending_rows_are_taken_up(store: AlphaStore, url: str) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    with closing(AlphaStore(url, owner="elsewhere")) as other:
        assert other.pending(PANEL, limit=5) == []


def test_only_kept_alphas_of_a_real_market_are_to_be_published(store: AlphaStore) -> None:
    for rules in (PANEL, STANDIN):
        store.record_call(call(), [candidate("a"), candidate("b")], rules)
        finish(store, "a", rules=rules, kept=True)
        finish(store, "b", rules=rules, kept=False)
    [one] = store.unpublished()
    assert (one.candidate.digest, one.source) == ("a", Source.PANEL)
    assert one.id is not None
    store.mark_published([one.id])
    assert store.unpublished() == []


def test_old_texts_are_emptied_in_batches_and_the_rows_stay(
    store: AlphaStore, place: Path | str, url: str
) -> None:
    for number in range(10):
        store.record_call(call(f"c{number}", ended=float(number)), [], PANEL)
    assert store.clean_up(before=4.0, texts=100, standins=0, bred=9, batch=3) == 3
    assert store.clean_up(before=4.0, texts=100, standins=0, bred=9, batch=3) == 2
    assert store.clean_up(before=4.0, texts=100, standins=0, bred=9, batch=3) == 0
    assert store.clean_up(before=0.0, texts=2, standins=0, bred=9) == 3
    assert sql(url, "SELECT id FROM calls WHERE prompt IS NOT NULL ORDER BY id") == [("c8",), ("c9",)]
    assert by_model(place)[0].calls == 10


@pytest.mark.slow
def test_the_best_come_first_with_filters(store: AlphaStore, place: Path | str) -> None:
    store.record_call(call(), [candidate(name) for name in "abc"], PANEL)
    for name, fitness in (("a", 0.5), ("b", 2.0), ("c", 1.0)):
        finish(store, name, fitness=fitness, kept=name != "c")
    assert [row.expression for row in best_alphas(place, 5)] == ["rank(b)", "rank(c)", "rank(a)"]
    assert [row.expression for row in best_alphas(place, 1, worst=True)] == ["rank(a)"]
    assert [row.expression for row in best_alphas(place, 5, filters=Filters(kept=False))] == ["rank(c)"]
    assert [row.expression for row in best_alphas(place, 5, filters=Filters(text="(a"))] == ["rank(a)"]
    assert [row.expression for row in best_alphas(place, 5, filters=Filters(min_fitness=1.0))] == [
        "rank(b)",
        "rank(c)",
    ]
    assert [row.expression for row in best_alphas(place, 5, filters=Filters(since=101.5))] == ["rank(b)"]
    nothing = [
        {"source": "brain"}, {"model": "other"}, {"text": "%"}, {"min_sharpe": 2.0}, {"max_turnover": 0.1},
    ]  # fmt: skip
    for wanted in nothing:
        assert best_alphas(place, 5, filters=Filters(**wanted)) == []  # type: ignore[arg-type]  # a table of them
    assert [row.expression for row in recent_alphas(place, 2)] == ["rank(b)", "rank(c)"]
    with pytest.raises(ValueError, match="sort by one of"):
        best_alphas(place, 5, sort="1; DROP TABLE calls")


def test_a_models_row_counts_calls_and_figures(store: AlphaStore, place: Path | str) -> None:
    store.record_call(call(), [candidate("a")], PANEL, invalid=2)
    store.record_call(call("c2", error="boom"), [], PANEL)
    finish(store, "a", kept=True)
    [row] = by_model(place)
    assert (row.calls, row.failed, row.valid, row.invalid, row.evaluated, row.kept) == (2, 1, 1, 2, 1, 1)
    assert row.tokens_per_second == 50.0
    assert row.best_sharpe == 1.5


def test_checks_of_old_alphas_that_were_not_kept_are_emptied(store: AlphaStore, place: Path | str) -> None:
    store.record_call(call(), [candidate(name) for name in "abcd"], PANEL)
    for name, time in (("a", 1.0), ("b", 1.0), ("c", 9.0)):
        finish(store, name, kept=name == "b", fitness=time)
    member = Evaluated(candidate("d"), PANEL.source, PANEL.settings, figures(), time=101.0)
    store.finish(replace(member, admission=Admission(admitted=True)), PANEL)
    assert store.clean_up(before=105.0, texts=9, standins=0, bred=9) == 2
    assert store.clean_up(before=105.0, texts=9, standins=0, bred=9) == 0
    checks = {row.expression: bool(row.checks) for row in best_alphas(place, 9)}
    assert checks == {"rank(a)": False, "rank(b)": True, "rank(c)": True, "rank(d)": True}


def test_only_a_stand_ins_oldest_rows_are_deleted(store: AlphaStore, url: str) -> None:
    for number in range(6):
        one = replace(call(f"s{number}", ended=float(number)), source="stand-in")
        store.record_call(one, [candidate(f"x{number}", f"s{number}")], STANDIN)
        store.record_call(
            call(f"m{number}", ended=float(number)), [candidate(f"y{number}", f"m{number}")], PANEL
        )
        finish(store, f"x{number}", rules=STANDIN)
        finish(store, f"y{number}")
    while store.clean_up(before=0.0, texts=100, standins=2, bred=9, batch=3):
        pass
    assert sql(url, "SELECT count(*) FROM evaluations WHERE source = 'panel'") == [(6,)]
    assert sql(url, "SELECT call_id FROM evaluations WHERE source = 'stand-in' ORDER BY id") == [
        ("s4",),
        ("s5",),
    ]
    assert sql(url, "SELECT id FROM calls WHERE source = 'stand-in' ORDER BY id") == [("s4",), ("s5",)]


def test_what_failed_is_remembered_newest_first(store: AlphaStore) -> None:
    store.record_call(call(), [candidate(name) for name in "ab"], PANEL)
    for time, name in enumerate("ab"):
        store.finish(Evaluated(candidate(name), PANEL.source, {}, error=f"no {name}", time=time), PANEL)
    assert store.failures(PANEL, limit=1) == [("rank(b)", "no b")]
    assert store.failures(STANDIN, limit=1) == []


def test_a_database_of_the_first_version_is_led_on_with_all_that_is_in_it(
    store: AlphaStore, url: str
) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    finish(store, "a")
    store.close()
    older = create_engine(url)
    with older.begin() as connection:
        for index in ("calls_with_texts", "evaluations_by_call", "evaluations_with_checks"):
            connection.execute(text(f"DROP INDEX {index}"))
        connection.execute(text("UPDATE schema_version SET version = 1"))
    older.dispose()
    assert store.count("done") == 1
    assert sql(url, "SELECT version FROM schema_version") == [(1 + len(STEPS),)]
    engine = create_engine(url)
    found = {
        index["name"] for table in ("calls", "evaluations") for index in inspect(engine).get_indexes(table)
    }
    engine.dispose()
    assert {"calls_with_texts", "evaluations_by_call", "evaluations_with_checks"} <= found


def test_tables_of_a_later_version_are_waited_for_and_left_alone(store: AlphaStore, url: str) -> None:
    store.record_call(call(), [candidate("a")], PANEL)
    store.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    engine.dispose()
    with pytest.raises(StorageError, match="version 99") as caught:
        store.count()
    assert "Update Model Fleet" in caught.value.hint


def test_two_that_begin_at_once_on_an_empty_database_both_get_there(url: str) -> None:
    stores = [AlphaStore(url, owner=str(number)) for number in range(4)]
    stored: list[int] = []

    def work(store: AlphaStore, number: int) -> None:
        while True:
            try:
                fresh, _ = store.record_call(call(f"c{number}"), [candidate("same", f"c{number}")], PANEL)
            except StorageError:
                continue
            stored.append(len(fresh))
            return

    threads = [threading.Thread(target=work, args=pair) for pair in zip(stores, range(4), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for store in stores:
        store.close()
    assert sorted(stored) == [0, 0, 0, 1]


def test_only_bred_alphas_of_no_use_are_deleted_beyond_the_newest(store: AlphaStore, url: str) -> None:
    store.record_call(call(), [candidate("m0"), candidate("m1")], PANEL)
    finish(store, "m0")
    finish(store, "m1")
    for number in range(9):
        one = replace(candidate(f"b{number}"), call=None, model="", origin=Origin.BRED, parents=("m0",))
        assert add_candidate(store, one, PANEL, 1.0)
        if number < 8:
            decision = Admission(admitted=number == 1)
            result = Evaluated(
                one, PANEL.source, PANEL.settings, figures(), kept=number == 2, time=2.0, admission=decision
            )
            store.finish(result, PANEL)
    assert store.clean_up(before=0.0, texts=9, standins=0, bred=9) == 0
    while store.clean_up(before=0.0, texts=9, standins=0, bred=3, batch=2):
        pass
    left = [name for (name,) in sql(url, "SELECT digest FROM evaluations ORDER BY id")]
    # The model's, the admitted one, the kept one, the three newest of the others, the pending one.
    assert left == ["m0", "m1", "b1", "b2", "b5", "b6", "b7", "b8"]


# --- the pool --------------------------------------------------------------------------------------------------------


def admitted(
    store: AlphaStore, name: str, seed: int, *replaced: str, correlations: dict[str, float] | None = None
) -> None:
    pnl = np.random.default_rng(seed).normal(0.1, 1.0, 60).astype(np.float32)
    judged = replace(figures(), pnl=pnl.tobytes(), moments=Moments(0.1, 60, 0.0, 3.0))
    done = Evaluated(
        candidate(name), PANEL.source, PANEL.settings, judged,
        admission=Admission(admitted=True, replaced=replaced), self_correlation=0.1,
        correlations=correlations or {}, time=1.0,
    )  # fmt: skip
    store.finish(done, PANEL)


def test_members_trials_and_splits_are_stored_alike_in_both_databases(
    store: AlphaStore, place: Path | str
) -> None:
    admitted(store, "a", 1)
    admitted(store, "b", 2, correlations={"a": 0.3})
    admitted(store, "c", 3, "a", correlations={"a": 0.9, "b": 0.05})
    split = Split(date(2023, 1, 2), date(2024, 1, 2))
    with store.transaction() as connection:
        found = read_members(connection, PANEL, limit=9)
        assert [one.candidate.digest for one in found] == ["b", "c"]
        assert all(one.performance is not None and len(one.performance.pnl) == 240 for one in found)
        sample = read_sample(connection, PANEL.source, PANEL.settings)
        trials = sampled_trials(read_trials(connection, PANEL.source, PANEL.settings), sample)
        write_trials(connection, PANEL.source, PANEL.settings, trials, 9.0)
        for _ in range(2):
            write_split(connection, "mine.parquet", split, 1.0)
    assert (trials.count, trials.sampled, trials.distinct) == (3, 3, 3)
    with open_database(place) as rows:
        assert rows is not None
        assert stored_split(rows, "mine.parquet") == split
        assert stored_trials(rows) == {("panel", "mine.parquet"): trials}
    alphas = {one.expression: one for one in best_alphas(place, 9)}
    assert {name: one.admitted for name, one in alphas.items()} == {
        "rank(a)": False, "rank(b)": True, "rank(c)": True,
    }  # fmt: skip
    assert (alphas["rank(a)"].admission, alphas["rank(a)"].self_correlation) == ("replaced by rank(c)", 0.9)
    assert {one.luck for one in alphas.values()} <= {"likely", "unproven", "luck"}


def test_tables_of_before_the_pool_are_led_to_it(store: AlphaStore, url: str, place: Path | str) -> None:
    store.record_call(call(), [candidate("a"), candidate("b")], PANEL)
    finish(store, "a")
    with store.transaction() as connection:
        connection.execute(text("DROP INDEX evaluations_admitted"))
        for name in POOL_COLUMNS:
            connection.execute(text(f"ALTER TABLE evaluations DROP COLUMN {name}"))
        for name in ("splits", "trial_counts", "trial_sample"):
            connection.execute(text(f"DROP TABLE {name}"))
        connection.execute(text("UPDATE schema_version SET version = 5"))
    store.close()
    assert [one.expression for one in best_alphas(place, 9)] == ["rank(a)"]
    with closing(AlphaStore(url, owner="here")) as again:
        assert [one.origin for one in again.pending(PANEL, limit=9)] == [Origin.MODEL]
        admitted(again, "b", 2)
        with again.transaction() as connection:
            assert [one.candidate.digest for one in read_members(connection, PANEL, limit=9)] == ["b"]
            assert read_trials(connection, PANEL.source, PANEL.settings).count == 2
