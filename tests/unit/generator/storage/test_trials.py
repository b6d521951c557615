"""Counts and sample of trials, splits of panels, and what a reader makes of them."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from cli.alphas.details import detail_lines
from cli.alphas.query import alpha_details
from generator.domain import Evaluated, Moments, Origin, Ruleset, Source, Split
from generator.pool import luck
from generator.pool.stored import stored_split, stored_trials
from generator.storage import pool
from generator.storage.pool import rank_of, read_sample, read_split, read_trials, write_split, write_trials
from generator.storage.read import best_alphas, open_database
from generator.storage.store import AlphaStore
from generator.workers.pool import sampled_trials
from tests.reference.stored_rows import STANDIN, candidate, figures
from web.page.alpha import standing

FIRST = Ruleset(Source.PANEL, {"panel": "mine.csv", "delay": 1, "data": "a", "test_from": "2024-01-02"})
NEWER = Ruleset(Source.PANEL, {**FIRST.settings, "data": "b"})
SLOWER = Ruleset(Source.PANEL, {**FIRST.settings, "delay": 0})
ELSEWHERE = Ruleset(Source.PANEL, {**FIRST.settings, "panel": "other.csv", "data": "c"})
POOL_FIELDS = (
    "admitted",
    "parents",
    "origin",
    "dsr",
    "luck",
    "trials",
    "effective_trials",
    "trials_variance",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlphaStore]:
    with closing(AlphaStore(f"sqlite:///{tmp_path}/alphas.db", owner="here")) as made:
        yield made


def tried(store: AlphaStore, name: str, rules: Ruleset = FIRST, seed: int = 0, **more: object) -> bool:
    """Store a result; return whether it is a new trial."""
    pnl = np.random.default_rng(seed).normal(0.1, 1.0, 50).astype(np.float32)
    moments = Moments(float(pnl[:40].mean() / pnl[:40].std(ddof=1)), 40, 0.0, 3.0)
    judged = replace(figures(), moments=moments, pnl=pnl.tobytes())
    one = replace(candidate(name), **more)  # type: ignore[arg-type]
    stored = store.finish(Evaluated(one, rules.source, rules.settings, judged, time=1.0), rules)
    assert stored is not None
    return stored.new_trial


def count(store: AlphaStore, rules: Ruleset = FIRST) -> int:
    with store.transaction() as connection:
        return read_trials(connection, rules.source, rules.settings).count


def test_each_expression_under_each_of_the_users_settings_is_one_trial(store: AlphaStore) -> None:
    for name, origin in zip("abcd", Origin, strict=True):
        assert tried(store, name, origin=origin)
    assert count(store) == 4
    assert not tried(store, "a", NEWER)  # other data: the same trial again
    assert count(store) == 4
    assert tried(store, "a", SLOWER)
    assert count(store) == 5
    assert tried(store, "a", ELSEWHERE)
    assert (count(store), count(store, ELSEWHERE)) == (5, 1)
    failed = Evaluated(candidate("x"), Source.PANEL, FIRST.settings, error="no such group")
    stored = store.finish(failed, FIRST)
    assert stored is not None
    assert not stored.new_trial
    assert count(store) == 5
    tried(store, "a")  # a write that is repeated after a failure
    assert count(store) == 5


def test_trials_stay_counted_after_their_rows_are_gone(store: AlphaStore) -> None:
    for name in "abc":
        tried(store, name, STANDIN)
    assert store.clean_up(before=0.0, texts=10, standins=1, bred=9) > 0
    assert (store.count(), count(store, STANDIN)) == (1, 3)


def test_the_sample_is_the_same_in_whatever_order_the_trials_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "SAMPLE", 5)
    names = [f"t{number}" for number in range(40)]
    found = []
    for order in (names, names[::-1], sorted(names, key=hash)):
        path = tmp_path / f"{len(found)}.db"
        with closing(AlphaStore(f"sqlite:///{path}", owner="here")) as store:
            for name in order:
                tried(store, name, seed=int(name[1:]))
            with store.transaction() as connection:
                found.append(read_sample(connection, Source.PANEL, FIRST.settings))
                held = (
                    connection.execute(text("SELECT digest FROM trial_sample ORDER BY rank")).scalars().all()
                )
    assert found[0] == found[1] == found[2]
    assert held == sorted(names, key=rank_of)[:5]
    assert {len(one.pnl) for one in found[0]} == {4 * 40}
    assert {one.last_day for one in found[0]} == {date(2024, 1, 2).toordinal()}


def test_a_number_beyond_every_row_finds_what_there_is(store: AlphaStore, tmp_path: Path) -> None:
    tried(store, "a")
    path = tmp_path / "alphas.db"
    assert alpha_details(path, 10**30) is None
    assert len(best_alphas(path, 10**30)) == 1


def test_what_the_sample_shows_reaches_readers(store: AlphaStore, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        tried(store, name, seed=seed)
    with store.transaction() as connection:
        sample = read_sample(connection, Source.PANEL, FIRST.settings)
        trials = sampled_trials(read_trials(connection, Source.PANEL, FIRST.settings), sample)
        assert (trials.count, trials.sampled, trials.distinct) == (3, 3, 2)
        assert trials.variance == pytest.approx(np.var([one.sharpe for one in sample], ddof=1))
        write_trials(connection, Source.PANEL, FIRST.settings, trials, 9.0)
    with open_database(tmp_path / "alphas.db") as rows:
        assert rows is not None
        assert stored_trials(rows) == {("panel", "mine.csv"): trials}
    row = best_alphas(tmp_path / "alphas.db", 1)[0]
    assert (row.trials, row.effective_trials) == (3, 2.0)
    assert row.dsr == pytest.approx(luck.dsr_of(Moments(sample[0].sharpe, 40, 0.0, 3.0), trials), abs=0.5)
    assert row.luck in set(luck.Luck)
    assert row.trials_variance == luck.variance_over(40, trials)


def test_one_alpha_shows_its_mark_and_every_input_of_it(store: AlphaStore, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        tried(store, name, seed=seed)
    listed = best_alphas(tmp_path / "alphas.db", 1)[0]
    found = alpha_details(tmp_path / "alphas.db", listed.id)
    assert found is not None
    shown = found.row()
    assert {name: shown[name] for name in POOL_FIELDS} == {
        name: getattr(listed, name) for name in POOL_FIELDS
    }
    assert shown["dsr"] == luck.deflated_sharpe(
        sharpe=shown["daily_sharpe"],
        variance=shown["trials_variance"],
        trials=shown["effective_trials"],
        days=shown["daily_days"],
        skewness=shown["skewness"],
        kurtosis=shown["kurtosis"],
    )
    for text_of in ("\n".join(detail_lines(found)), standing(found)):
        assert f"{shown['luck']}: deflated Sharpe ratio {shown['dsr']:.3f} by 2 trials" in text_of
        assert f"over {shown['daily_days']} days" in text_of


def test_pnl_of_another_last_day_counts_as_distinct(store: AlphaStore) -> None:
    tried(store, "a", seed=1)
    tried(store, "b", Ruleset(Source.PANEL, {**FIRST.settings, "test_from": "2025-01-02"}), seed=1)
    with store.transaction() as connection:
        sample = read_sample(connection, Source.PANEL, FIRST.settings)
    assert sampled_trials(luck.Trials(2), sample).distinct == 2


def test_a_split_is_kept_by_panel_and_may_be_moved(store: AlphaStore, tmp_path: Path) -> None:
    old, new = (Split(date(year, 1, 2), date(year + 1, 1, 2)) for year in (2020, 2021))
    with store.transaction() as connection:
        assert read_split(connection, "mine.csv") is None
        for split in (old, new):
            write_split(connection, "mine.csv", split, 1.0)
        assert read_split(connection, "mine.csv") == new
        assert read_split(connection, "other.csv") is None
    with open_database(tmp_path / "alphas.db") as rows:
        assert rows is not None
        assert (stored_split(rows, "mine.csv"), stored_split(rows, "x")) == (new, None)


def test_members_take_the_place_of_nothing_in_an_older_database(tmp_path: Path) -> None:
    """A reader of a file that no generator has brought up to date finds its alphas, and nothing of the pool."""
    import sqlite3  # noqa: PLC0415

    script = Path(__file__).parents[3] / "data" / "alphas-version-3.sql"
    with closing(sqlite3.connect(tmp_path / "old.db")) as old:
        old.executescript(script.read_text())
    row = best_alphas(tmp_path / "old.db", 1)[0]
    assert (row.origin, row.parents, row.admitted, row.luck, row.trials) == ("model", [], None, None, None)
    with open_database(tmp_path / "old.db") as rows:
        assert rows is not None
        assert (stored_split(rows, "prices.csv"), stored_trials(rows)) == (None, {})
