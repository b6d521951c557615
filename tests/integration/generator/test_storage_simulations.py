"""The ledger of simulations and candidates that come from no reply, on SQLite and on a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from generator.domain import AlphaFigures, CallRecord, Candidate, Evaluated, Ruleset, Source
from generator.storage.additions import add_candidate, promote
from generator.storage.migrations import STEPS, migrate
from generator.storage.simulations import SimulationTable
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


def test_a_simulation_is_a_row_before_it_is_sent_and_has_its_address_after(store: AlphaStore) -> None:
    ledger, [one] = SimulationTable(store, BRAIN), candidates(store, "a")
    [row] = ledger.begin([one], 10.0)
    [found] = ledger.open()
    assert (found.id, found.candidate, found.state, found.sent) == (row, one, "sending", 10.0)
    assert (found.location, found.place, found.tries) == ("", None, 1)
    ledger.accept([row], "/simulations/1")
    [found] = ledger.open()
    assert (found.state, found.location) == ("running", "/simulations/1")
    ledger.end(row, status="COMPLETE", alpha="a1", message="", now=20.0)
    [found] = ledger.open()
    assert (found.state, found.status, found.alpha_id) == ("ended", "COMPLETE", "a1")
    done(store, one, 1.0, BRAIN)
    assert ledger.open() == []


def test_several_of_one_request_have_places(store: AlphaStore) -> None:
    ledger, three = SimulationTable(store, BRAIN), candidates(store, "a", "b", "c")
    ids = ledger.begin(three, 10.0)
    ledger.accept(ids, "/simulations/1")
    assert [(row.candidate.digest, row.place) for row in ledger.open()] == [("a", 0), ("b", 1), ("c", 2)]


def test_the_last_request_of_a_candidate_counts(store: AlphaStore) -> None:
    ledger, [one] = SimulationTable(store, BRAIN), candidates(store, "a")
    [first] = ledger.begin([one], 10.0)
    ledger.end(first, status="FAIL", alpha="", message="boom", now=11.0)
    [second] = ledger.begin([one], 20.0)
    [found] = ledger.open()
    assert (found.id, found.tries, found.state) == (second, 2, "sending")


def test_what_was_withdrawn_never_was_and_what_was_lost_costs_nothing(store: AlphaStore) -> None:
    ledger, [one, two, three] = SimulationTable(store, BRAIN), candidates(store, "a", "b", "c")
    ledger.withdraw(ledger.begin([one], 10.0))
    ledger.lose(ledger.begin([two], 20.0))
    ledger.begin([three], 30.0)
    assert ledger.sent_times(0.0) == [30.0]
    assert ledger.sent_times(30.0) == []
    assert [row.state for row in ledger.open()] == ["lost", "sending"]


def test_another_owners_and_other_settings_simulations_are_not_ours(store: AlphaStore, url: str) -> None:
    SimulationTable(store, BRAIN).begin(candidates(store, "a"), 10.0)
    other = Ruleset(Source.BRAIN, {"region": "EUR"})
    assert SimulationTable(store, other).open() == []
    elsewhere = AlphaStore(url, owner="elsewhere")
    assert SimulationTable(elsewhere, BRAIN).open() == []
    assert SimulationTable(elsewhere, BRAIN).sent_times(0.0) == []
    elsewhere.close()


def test_what_was_sent_is_taken_up_first(store: AlphaStore) -> None:
    _, two, _ = candidates(store, "a", "b", "c")
    SimulationTable(store, BRAIN).begin([two], 10.0)
    assert [one.digest for one in store.pending(BRAIN, limit=9)] == ["b", "a", "c"]


def test_an_older_databases_tables_get_the_new_one(url: str) -> None:
    engine = create_engine(url)
    migrate(engine, [])
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE simulations"))
    assert migrate(engine) == 1 + len(STEPS)
    assert "simulations" in inspect(engine).get_table_names()
    assert {index["name"] for index in inspect(engine).get_indexes("simulations")} == {
        "simulations_by_expression",
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
