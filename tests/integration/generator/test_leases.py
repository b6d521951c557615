"""Candidates claimed with leases, on SQLite and on a real PostgreSQL: each result is stored once, and none is lost.

FLEET_CLAIMS sets the number of candidates of the long test.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from fleet.runtime.home import ROOT
from generator.domain import AlphaFigures, CallRecord, Candidate, Evaluated, Ruleset, Source
from generator.storage import dialect
from generator.storage.leases import claim, hold_turn, renew, take_turn
from generator.storage.schema import LeaseRow
from generator.storage.simulations import SimulationTable
from generator.storage.store import AlphaStore
from tests.parts.postgresql import Cluster, postgresql
from tests.processes.claimer import BATCH, RULES
from tests.processes.fleet import eventually
from tests.reference.stored_rows import done_rows

PANEL = Ruleset(Source.PANEL, {"panel": "mine.csv"})
BRAIN = Ruleset(Source.BRAIN, {"region": "USA"})
COUNT = int(os.environ.get("FLEET_CLAIMS", "3000"))
# A long run shares its machine with others: a lease of 2 s runs out where a process waits for a core.
LEASE = 2.0 if COUNT <= 3000 else 15.0


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
def open_store(url: str) -> Iterator[Callable[[str], AlphaStore]]:
    stores: list[AlphaStore] = []

    def opened(owner: str) -> AlphaStore:
        stores.append(AlphaStore(url, owner=owner))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


Open = Callable[[str], AlphaStore]


def queue(store: AlphaStore, *names: str, rules: Ruleset = PANEL) -> list[Candidate]:
    call = CallRecord("".join(names), 1.0, 2.0, "m", 0, 0, "p", 200)
    return list(store.record_call(call, [Candidate(one, one, one, call.id) for one in names], rules)[0])


def result(one: Candidate, fitness: float, rules: Ruleset = PANEL) -> Evaluated:
    figures = AlphaFigures(1.0, 0.2, fitness, 0.1, 0.1, 0.1, 1.0, 1.0, 9)
    return Evaluated(one, rules.source, rules.settings, figures, time=3.0)


def expire(store: AlphaStore) -> None:
    """Let the owner's lease have run out."""
    with store.transaction() as connection:
        connection.execute(update(LeaseRow).where(LeaseRow.owner == store.owner).values(until=1.0))


def test_a_lease_lasts_by_the_databases_clock_and_says_when_it_ran_out(open_store: Open) -> None:
    here = open_store("here")
    assert not renew(here, 60.0)
    assert renew(here, 60.0)
    with here.transaction() as connection:
        until = connection.scalar(select(LeaseRow.until))
    assert until is not None
    assert abs(until - 60.0 - time.time()) < 30
    expire(here)
    assert not renew(here, 60.0)
    assert renew(here, 60.0)


def test_a_turn_has_one_holder_at_a_time(open_store: Open) -> None:
    here, there = open_store("here"), open_store("there")
    assert take_turn(here, "sign-in me", "a", 60.0) == 0.0
    assert take_turn(here, "sign-in me", "a", 60.0) == 0.0
    assert 0.0 < take_turn(there, "sign-in me", "b", 60.0) <= 60.0
    assert take_turn(there, "sign-in you", "b", 60.0) == 0.0
    hold_turn(here, "sign-in me", "a", 0.0)
    assert take_turn(there, "sign-in me", "b", 60.0) == 0.0
    assert take_turn(here, "sign-in me", "a", 60.0) > 0.0


def test_candidates_are_claimed_only_of_owners_without_a_lease_and_under_the_same_rules(
    open_store: Open,
) -> None:
    here, there = open_store("here"), open_store("there")
    renew(here, 60.0)
    queue(here, "a", "b", "c")
    queue(here, "d", rules=BRAIN)
    assert claim(there, PANEL, limit=9) == []
    assert claim(here, PANEL, limit=9) == []
    expire(here)
    assert [(one.digest, one.claim) for one in claim(there, PANEL, limit=2)] == [("a", 1), ("b", 1)]
    renew(there, 60.0)
    assert [one.digest for one in claim(open_store("third"), PANEL, limit=9)] == ["c"]
    assert [one.digest for one in there.pending(PANEL, limit=9)] == ["a", "b"]
    assert here.pending(PANEL, limit=9) == []


def test_a_result_is_stored_under_the_number_that_its_evaluation_began_with(open_store: Open) -> None:
    here, there = open_store("here"), open_store("there")
    [old, other] = queue(here, "a", "b")
    [new, _] = claim(there, PANEL, limit=9)
    # The first owner was stopped meanwhile: whether its result comes before or after, it is refused.
    assert here.finish(result(old, 1.0), PANEL) is None
    assert there.finish(result(new, 2.0), PANEL) is not None
    assert here.finish(result(old, 1.0), PANEL) is None
    # A repeated write of the same evaluation is the same result.
    again = there.finish(result(new, 3.0), PANEL)
    assert again is not None
    [best] = done_rows(here, PANEL)
    assert (best.id, best.performance and best.performance.fitness) == (again.id, 2.0)
    [back] = claim(open_store("third"), PANEL, limit=9)
    assert (back.digest, back.claim, other.claim) == ("b", 2, 0)


def test_a_claimed_candidate_brings_its_simulation_along(open_store: Open) -> None:
    here, there = open_store("here"), open_store("there")
    one, *_ = queue(here, "a", "b", rules=BRAIN)
    ours, theirs = SimulationTable(here, BRAIN), SimulationTable(there, BRAIN)
    ours.submit([one], 5.0)
    [row] = ours.send(ours.open(), account="me", slots=3, budget=0, now=10.0)
    claimed = claim(there, BRAIN, limit=9)
    theirs.submit(claimed, 20.0)
    assert ours.open() == []
    assert [(one.digest, one.state) for one in theirs.open()] == [("a", "sending"), ("b", "queued")]
    assert theirs.open()[0].id == row.id


def test_a_simulation_that_brain_runs_already_is_claimed_beyond_the_limit(open_store: Open) -> None:
    here, there = open_store("here"), open_store("there")
    _, sent, *_ = queued = queue(here, "a", "b", "c", rules=BRAIN)
    ours = SimulationTable(here, BRAIN)
    ours.submit(queued, 5.0)
    by_digest = {row.digest: row for row in ours.open()}
    ours.send([by_digest[sent.digest]], account="me", slots=1, budget=0, now=10.0)
    assert [one.digest for one in claim(there, BRAIN, limit=0)] == ["b"]
    assert [one.digest for one in claim(there, BRAIN, limit=1)] == ["a"]


def test_a_process_that_is_stopped_in_a_transaction_blocks_no_other(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("cluster").create(tmp_path.name.replace("-", "_")[:60].lower())
    store = AlphaStore(url, owner="other")
    with store.transaction() as connection:
        allowed = connection.scalar(text("SHOW idle_in_transaction_session_timeout"))
        assert allowed == f"{dialect.IDLE_IN_TRANSACTION_MS // 1000}s"
    command = [sys.executable, "-m", "tests.processes.lock_holder", url, "1000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            holder.send_signal(signal.SIGSTOP)
            with store.transaction() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '60s'"))  # instead of a test that hangs
                dialect.lock_writers(connection)
        finally:
            holder.kill()
    store.close()


class Claimer:
    """A process that evaluates what it claims, and that has begun; its log is a file."""

    def __init__(self, url: str, owner: str, log: Path) -> None:
        self.log = log
        lives = self._lives()
        command = [sys.executable, "-m", "tests.processes.claimer", url, owner, str(LEASE)]
        with log.open("ab") as stdout, log.with_suffix(".err").open("ab") as stderr:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=stderr)
        eventually(lambda: self._lives() > lives, what=f"{owner} at work")

    def _lives(self) -> int:
        return self.log.read_text().count("claimer.began") if self.log.exists() else 0

    def found(self, event: str, key: str) -> list[str]:
        return re.findall(rf" {event} .*?\b{key}=(\S+)", self.log.read_text())

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log.with_suffix(".err").read_text()[-2000:]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


SEED = """
INSERT INTO evaluations (digest, settings_key, source, state, owner, expression, canonical, model, settings, kept,
    published, created, origin, claim)
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)
SELECT 'd' || n, :key, :source, 'pending', 'gone', 'rank(' || n || ')', 'rank(' || n || ')', '', {settings}, false,
    false, 1.0, 'model', 0 FROM numbers
"""


def seed(url: str, count: int) -> None:
    """Insert candidates of an owner that has no lease."""
    store = AlphaStore(url, owner="gone")
    settings = "CAST(:settings AS JSON)" if url.startswith("postgresql") else ":settings"
    values = {
        "count": count,
        "key": RULES.key,
        "source": RULES.source.value,
        "settings": json.dumps(RULES.settings),
    }
    with store.transaction() as connection:
        connection.execute(text(SEED.format(settings=settings)), values)
    store.close()


@pytest.mark.slow
def test_two_fleets_store_each_result_once_through_stops_kills_and_a_restart_of_the_database(
    request: pytest.FixtureRequest, url: str, tmp_path: Path
) -> None:
    count = COUNT
    seed(url, count)
    store = AlphaStore(url, owner="watcher")
    fleets = [Claimer(url, name, tmp_path / f"{name}.log") for name in ("one", "two")]

    def until(share: float) -> None:
        end = time.monotonic() + 120 + count / 20
        while store.count("done") < share * count:
            assert time.monotonic() < end, [one.log.read_text()[-2000:] for one in fleets]
            time.sleep(max(0.05, count / 50_000))  # counting reads all rows

    try:
        until(0.15)
        fleets[0].process.send_signal(signal.SIGSTOP)
        time.sleep(3 * LEASE)
        fleets[0].process.send_signal(signal.SIGCONT)
        until(0.4)
        fleets[1].kill()
        fleets[0].process.send_signal(signal.SIGSTOP)  # leaves work until the other is back
        fleets[1] = Claimer(url, "two", tmp_path / "two.log")
        fleets[0].process.send_signal(signal.SIGCONT)
        until(0.6)
        if url.startswith("postgresql"):
            running: Cluster = request.getfixturevalue("cluster")
            running.stop()
            time.sleep(1.0)
            running.start()
        until(1.0)
        for fleet in fleets:
            fleet.end()
    finally:
        for fleet in fleets:
            fleet.kill()
    assert (store.count(), store.count("done"), store.count("pending")) == (count, count, 0)
    store.close()
    stored = Counter(one for fleet in fleets for one in fleet.found("evaluation.done", "id"))
    assert set(stored.values()) == {1}, "a result was stored twice"
    # The kill may fall between a commit and its log line.
    assert count - 1 <= len(stored) <= count
    evaluated = Counter(one for fleet in fleets for one in fleet.found("claimer.evaluated", "digest"))
    assert len(evaluated) == count, "a result was stored that nobody evaluated"
    # A second evaluation only of what was in work at the stop, the kill, or the restart.
    (tmp_path / "figures").write_text(f"{count} candidates, {evaluated.total() - count} evaluated twice\n")
    assert evaluated.total() - count <= 4 * BATCH
