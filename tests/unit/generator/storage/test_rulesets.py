"""What another ruleset makes of the rows that are there, and a database of an earlier version."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from generator.domain import Origin, Ruleset, Source
from generator.storage.read import best_alphas, by_model
from generator.storage.rulesets import adopt
from generator.storage.store import AlphaStore
from tests.reference.stored_rows import call, candidate, done_rows, finish

OLD = Ruleset(Source.PANEL, {"panel": "mine.csv", "data": "a1"})
NEW = Ruleset(Source.PANEL, {"panel": "mine.csv", "data": "b2"})
VERSION_3 = Path(__file__).parents[3] / "data" / "alphas-version-3.sql"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlphaStore]:
    with closing(AlphaStore(f"sqlite:///{tmp_path}/alphas.db", owner="here")) as made:
        yield made


def pending(store: AlphaStore, rules: Ruleset) -> list[str]:
    return [one.digest for one in store.pending(rules, limit=99)]


def test_what_waits_under_another_ruleset_waits_under_this_one_once(store: AlphaStore) -> None:
    store.record_call(call(), [candidate("a"), candidate("b"), candidate("c")], OLD)
    other = replace(OLD, settings={"panel": "other.csv"})
    store.record_call(call("c2"), [candidate("a", of="c2")], other)
    store.record_call(call("c3"), [candidate("b", of="c3")], NEW)
    assert adopt(store, NEW, 5.0) == (2, 0)
    assert pending(store, NEW) == ["a", "c", "b"]
    assert (pending(store, OLD), pending(store, other)) == ([], [])
    assert adopt(store, NEW, 6.0) == (0, 0)


def test_only_what_the_newest_result_keeps_is_evaluated_again(store: AlphaStore) -> None:
    for name, kept, fitness in (("a", True, 1.0), ("b", True, 3.0), ("c", False, 9.0), ("d", True, 2.0)):
        finish(store, name, rules=OLD, kept=kept, fitness=fitness)
    finish(store, "d", rules=NEW, kept=False)
    third = replace(NEW, settings={"panel": "mine.csv", "data": "c3"})
    store.record_call(call(), [candidate("new")], third)
    assert adopt(store, third, 5.0) == (0, 2)
    assert pending(store, third) == ["b", "a", "new"]


def test_an_alpha_that_is_evaluated_again_counts_once_as_kept(store: AlphaStore, tmp_path: Path) -> None:
    store.record_call(call(), [candidate("a"), candidate("b")], OLD)
    finish(store, "a", rules=OLD, kept=True)
    finish(store, "b", rules=OLD)
    adopt(store, NEW, 5.0)
    finish(store, "a", rules=NEW, kept=True)
    adopt(store, replace(NEW, settings={"panel": "mine.csv", "data": "c3"}), 6.0)
    [row] = by_model(tmp_path / "alphas.db")
    assert (row.valid, row.kept) == (2, 1)


def test_rows_of_other_owners_and_sources_are_left_alone(store: AlphaStore, tmp_path: Path) -> None:
    with closing(AlphaStore(f"sqlite:///{tmp_path}/alphas.db", owner="there")) as theirs:
        theirs.record_call(call(), [candidate("a")], OLD)
        finish(theirs, "b", rules=OLD, kept=True)
        store.record_call(call("c2"), [candidate("c")], replace(OLD, source=Source.STANDIN))
        assert adopt(store, NEW, 5.0) == (0, 0)
        assert pending(theirs, OLD) == ["a"]


def test_the_path_of_a_panel_whose_content_is_known_does_not_count() -> None:
    moved = replace(OLD, settings={**OLD.settings, "panel": "elsewhere.csv"})
    assert moved.key == OLD.key != NEW.key
    unknown = [Ruleset(Source.PANEL, {"panel": path, "data": None}) for path in ("mine.csv", "other.csv")]
    assert unknown[0].key != unknown[1].key


def test_kept_alphas_are_found_by_their_index(store: AlphaStore) -> None:
    store.count()
    statement = (
        "EXPLAIN QUERY PLAN SELECT id FROM evaluations WHERE state = 'done' AND kept IS 1 AND published IS 0"
        " AND source IN ('brain', 'panel') AND owner = 'here' ORDER BY id LIMIT 5"
    )
    with store.transaction() as connection:
        plan = " ".join(str(row[-1]) for row in connection.exec_driver_sql(statement))
    assert "evaluations_kept" in plan


def test_a_database_of_an_earlier_version_keeps_its_rows_and_mines_on(tmp_path: Path) -> None:
    path = tmp_path / "alphas.db"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_3.read_text())
    before = best_alphas(path, 9)
    with closing(AlphaStore(f"sqlite:///{path}", owner="here")) as store:
        rules = Ruleset(Source.PANEL, {**before[0].settings, "data": "a1", "last_date": "2026-01-02"})
        assert done_rows(store, rules) == []
        assert adopt(store, rules, 5.0) == (0, 2)
        expressions = [one.expression for one in store.pending(rules, limit=9)]
        assert expressions[:2] == ["rank(ts_mean(volume, 10))", "rank(ts_delta(close, 5))"]
        assert expressions[2:] == ["rank(vwap)", "ts_rank(close, 20)"]
        assert [one.candidate.expression for one in store.unpublished()] == ["rank(ts_mean(volume, 10))"]
        assert {one.origin for one in store.pending(rules, limit=9)} == {Origin.MODEL}
    assert best_alphas(path, 9) == before
    with closing(sqlite3.connect(path)) as found:
        trials = found.execute("SELECT source, panel, trials, sampled FROM trial_counts").fetchall()
        judged = found.execute("SELECT count(*) FROM evaluations WHERE admitted IS NOT NULL").fetchone()
    assert (trials, judged) == ([("panel", "prices.csv", 3, 0)], (0,))
