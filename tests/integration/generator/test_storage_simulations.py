"""The table of simulations and candidates that come from no reply, on SQLite and on a real PostgreSQL."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from generator.domain import AlphaFigures, CallRecord, Candidate, Evaluated, Ruleset, Source
from generator.storage.additions import add_candidate, promote
from generator.storage.migrations import STEPS, _queue_simulations, migrate
from generator.storage.simulations import DAY, Simulation, SimulationTable, Usage
from generator.storage.store import AlphaStore
from tests.parts.postgresql import Cluster, postgresql

BRAIN = Ruleset(Source.BRAIN, {"region": "USA"})
PANEL = Ruleset(Source.PANEL, {"panel": "mine.csv"})


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
def store(url: str) -> Iterator[AlphaStore]:
    opened = AlphaStore(url, owner="here")
    yield opened
    opened.close()


def candidates(store: AlphaStore, *names: str, rules: Ruleset = BRAIN) -> list[Candidate]:
    call = CallRecord("".join(names), 1.0, 2.0, "m", 0, 0, "p", 200)
    rows = [Candidate(name, f"rank({name})", f"rank({name})", call.id, "m") for name in names]
    store.record_call(call, rows, rules)
    return rows


def done(store: AlphaStore, one: Candidate, fitness: float, rules: Ruleset) -> None:
    figures = AlphaFigures(1.0, 0.2, fitness, 0.1, 0.1, 0.1, 1.0, 1.0, None)
    store.finish(Evaluated(one, rules.source, rules.settings, figures, time=3.0), rules)


def send(table: SimulationTable, now: float, *, slots: int = 3, budget: int = 0, count: int = 9) -> list[int]:
    """Send the oldest queued rows together, and return the ids of those that may be sent."""
    queued = [row for row in table.open() if row.state == "queued"][:count]
    return [row.id for row in table.send(queued, account="me", slots=slots, budget=budget, now=now)]


def test_a_simulation_is_a_row_before_it_is_sent_until_its_result_is_stored(store: AlphaStore) -> None:
    table, [one] = SimulationTable(store, BRAIN), candidates(store, "a")
    table.submit([one], 5.0)
    table.submit([one], 6.0)
    [queued] = table.open()
    assert (queued.digest, queued.state, queued.tries, queued.due, queued.sent) == (
        "a",
        "queued",
        1,
        5.0,
        0.0,
    )
    [sent] = table.send([queued], account="me", slots=3, budget=0, now=10.0)
    assert table.open() == [sent]
    assert (sent.id, sent.state, sent.sent, sent.account, sent.place) == (
        queued.id,
        "sending",
        10.0,
        "me",
        None,
    )
    reading = replace(sent, state="reading", status="COMPLETE", alpha_id="a1", ended=20.0)
    table.save(reading)
    assert table.open() == [reading]
    done(store, one, 1.0, BRAIN)
    assert table.open() == []
    table.submit([one], 30.0)
    assert table.open() == [], "a result is paid for once"
    with store.transaction() as connection:
        assert connection.execute(text("SELECT state, alpha_id FROM simulations")).all() == [("ended", "a1")]


def test_several_of_one_request_have_places_and_take_one_slot(store: AlphaStore) -> None:
    table = SimulationTable(store, BRAIN)
    table.submit(candidates(store, "a", "b", "c"), 5.0)
    send(table, 10.0)
    assert [(row.digest, row.place) for row in table.open()] == [("a", 0), ("b", 1), ("c", 2)]
    assert table.usage("me", 11.0) == Usage(in_flight=1, sent=3)


def test_a_further_simulation_counts_the_tries(store: AlphaStore) -> None:
    table, [one] = SimulationTable(store, BRAIN), candidates(store, "a")
    table.submit([one], 5.0)
    [row] = table.open()
    table.save(replace(row, state="lost"), again=Simulation("a", tries=2))
    [found] = table.open()
    assert (found.state, found.tries) == ("queued", 2)
    table.save(replace(found, state="lost"))
    table.submit([one], 9.0)
    assert [row.tries for row in table.open()] == [3]


def test_slots_and_budget_are_the_accounts_whoever_uses_them(store: AlphaStore, url: str) -> None:
    elsewhere = AlphaStore(url, owner="elsewhere")
    ours, theirs = SimulationTable(store, BRAIN), SimulationTable(elsewhere, BRAIN)
    ours.submit(candidates(store, "a", "b", "c"), 5.0)
    theirs.submit(candidates(elsewhere, "d", "e", "f"), 5.0)
    assert len(send(ours, 10.0, slots=2, count=1)) == 1
    assert len(send(theirs, 11.0, slots=2, count=1)) == 1
    assert send(ours, 12.0, slots=2) == []
    assert send(theirs, 12.0, slots=2) == []
    assert ours.usage("me", 12.0) == theirs.usage("me", 12.0) == Usage(in_flight=2, sent=2)
    assert ours.usage("another account", 12.0) == Usage()
    # A simulation that was not asked about for ten minutes holds no slot.
    assert ours.usage("me", 11.0 + 601).in_flight == 0
    # The budget: three a day, of which two are sent.
    assert len(send(ours, 13.0, slots=9, budget=3)) == 1
    assert send(theirs, 14.0, slots=9, budget=3) == []
    assert len(send(theirs, 10.0 + DAY + 0.5, slots=9, budget=3)) == 1
    elsewhere.close()


def test_what_was_lost_costs_nothing(store: AlphaStore) -> None:
    table = SimulationTable(store, BRAIN)
    table.submit(candidates(store, "a", "b"), 5.0)
    send(table, 10.0)
    table.save(*(replace(row, state="lost") for row in table.open()))
    assert table.usage("me", 11.0) == Usage()


def test_another_owners_and_other_settings_simulations_are_not_ours(store: AlphaStore, url: str) -> None:
    SimulationTable(store, BRAIN).submit(candidates(store, "a"), 10.0)
    other = Ruleset(Source.BRAIN, {"region": "EUR"})
    assert SimulationTable(store, other).open() == []
    elsewhere = AlphaStore(url, owner="elsewhere")
    assert SimulationTable(elsewhere, BRAIN).open() == []
    elsewhere.close()


def test_what_was_sent_is_taken_up_first(store: AlphaStore) -> None:
    _, two, _ = candidates(store, "a", "b", "c")
    SimulationTable(store, BRAIN).submit([two], 10.0)
    assert [one.digest for one in store.pending(BRAIN, limit=9)] == ["b", "a", "c"]


OLD_SIMULATIONS = """
CREATE TABLE simulations (id INTEGER PRIMARY KEY, digest VARCHAR(64) NOT NULL, settings_key VARCHAR(64) NOT NULL,
    owner VARCHAR(255) NOT NULL, state VARCHAR(8) NOT NULL, location TEXT, place INTEGER, sent FLOAT NOT NULL,
    ended FLOAT, status VARCHAR(16), alpha_id VARCHAR(64), message TEXT)
"""
OLD_ROWS = (
    (1, "a", "running", "/simulations/1", None, None),
    (2, "b", "ended", "/simulations/2", "FAIL", None),
    (3, "b", "ended", "/simulations/3", "COMPLETE", "a3"),
    (4, "c", "ended", "/simulations/4", "COMPLETE", "a4"),
    (5, "d", "ended", "/simulations/5", "FAIL", None),
    (6, "e", "sending", None, None, None),
)


def test_an_older_databases_simulations_go_on(store: AlphaStore, url: str) -> None:
    """Version 6: `a` runs, the ends of `b` and `d` have no stored result, that of `c` has, `e` has no answer."""
    _, _, three, _, _ = candidates(store, "a", "b", "c", "d", "e")
    done(store, three, 1.0, BRAIN)
    store.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE simulations"))
        connection.execute(text(OLD_SIMULATIONS))
        connection.execute(text("CREATE INDEX simulations_by_time ON simulations (owner, sent)"))
        for number, digest, state, location, status, alpha in OLD_ROWS:
            connection.execute(
                text(
                    "INSERT INTO simulations VALUES (:id, :digest, :key, 'here', :state, :location, NULL, 7.0,"
                    " NULL, :status, :alpha, NULL)"
                ),
                {
                    "id": number, "digest": digest, "key": BRAIN.key, "state": state,
                    "location": location, "status": status, "alpha": alpha,
                },
            )  # fmt: skip
        connection.execute(
            text("UPDATE schema_version SET version = :one"), {"one": STEPS.index(_queue_simulations) + 1}
        )
    engine.dispose()
    found = SimulationTable(store, BRAIN).open()
    assert [(row.digest, row.state, row.tries, row.alpha_id, row.since) for row in found] == [
        ("a", "running", 1, None, 7.0),
        ("b", "reading", 2, "a3", 7.0),
        ("e", "sending", 1, None, 7.0),
    ]


def test_an_older_databases_tables_get_the_new_one(url: str) -> None:
    engine = create_engine(url)
    migrate(engine, [])
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE simulations"))
    assert migrate(engine) == 1 + len(STEPS)
    assert "simulations" in inspect(engine).get_table_names()
    assert {index["name"] for index in inspect(engine).get_indexes("simulations")} == {
        "simulations_by_expression",
        "simulations_by_state",
        "simulations_by_time",
    }
    engine.dispose()


def test_a_candidate_of_the_opposite_sign_is_added_once(store: AlphaStore) -> None:
    [one] = candidates(store, "a")
    turned = Candidate("t", "reverse(rank(a))", "reverse(rank(a))", one.call, "m")
    assert add_candidate(store, turned, BRAIN, 5.0)
    assert not add_candidate(store, turned, BRAIN, 6.0)
    assert not add_candidate(store, one, BRAIN, 6.0)
    assert [row.digest for row in store.pending(BRAIN, limit=9)] == ["a", "t"]


def test_the_panels_best_goes_to_brain_once(store: AlphaStore) -> None:
    rows = candidates(store, "a", "b", "c", "d", rules=PANEL)
    for one, fitness in zip(rows, (0.5, 2.0, -3.0, float("nan")), strict=True):
        done(store, one, fitness, PANEL)
    candidates(store, "e", rules=PANEL)
    [two_days] = candidates(store, "f", rules=PANEL)
    figures = AlphaFigures(30.0, 0.2, 30.0, 0.1, 0.1, 0.1, 1.0, 1.0, 2, reason="positions on 2 of 500 days")
    store.finish(Evaluated(two_days, PANEL.source, PANEL.settings, figures, time=3.0), PANEL)
    promoted = [promote(store, PANEL, BRAIN, 9.0) for _ in range(3)]
    assert [one.digest if one else None for one in promoted] == ["b", "a", None]
    assert [one.digest for one in store.pending(BRAIN, limit=9)] == ["b", "a"]


def test_the_clock_of_rows_is_the_database_s_where_several_machines_use_it(
    url: str, store: AlphaStore
) -> None:
    ahead = SimulationTable(store, BRAIN).ahead(time.time() + 3600.0)
    assert round(ahead / 600.0) == (-6 if url.startswith("postgresql") else 0)


def test_a_row_is_sent_by_one_process_of_those_that_read_it(store: AlphaStore, url: str) -> None:
    first, second = SimulationTable(store, BRAIN), SimulationTable(store, BRAIN)
    first.submit(candidates(store, "a", "b"), 1.0)
    rows = first.open()
    assert [row.digest for row in first.send(rows[:1], account="me", slots=3, budget=0, now=5.0)] == ["a"]
    # A write that is repeated, since its answer was lost.
    assert [row.digest for row in first.send(rows[:1], account="me", slots=3, budget=0, now=5.0)] == ["a"]
    assert [row.digest for row in second.send(rows, account="me", slots=3, budget=0, now=6.0)] == ["b"]
    other = AlphaStore(url, owner="there")
    assert SimulationTable(other, BRAIN).send(rows, account="me", slots=3, budget=0, now=7.0) == []
    other.close()
