"""Mining under `kill -9`, again and again, and for long: what was reported is stored once, nothing is tried twice.

FLEET_FUZZ=1 makes it 200 kills and 10 000 evaluations.
"""

import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.processes.generator import GeneratorProcess, generating
from tests.reference.expressions import amount, patient


@pytest.fixture
def ollama() -> Iterator[StandinOllama]:
    with standin(settings=StandinSettings(pace=0.0)) as server:
        yield server


def reported(generator: GeneratorProcess) -> Counter[tuple[int, str]]:
    """Return what the log reported: number and digest of each evaluation with figures."""
    found: Counter[tuple[int, str]] = Counter()
    for line in generator.log.splitlines():
        if " evaluation.done " in line and " expression=" in line:
            words = dict(word.split("=", 1) for word in line.split(" expression=")[0].split() if "=" in word)
            found[int(words["id"]), words["digest"]] += 1
    return found


@pytest.mark.slow
@patient
def test_whatever_was_reported_is_in_the_database_once(tmp_path: Path, ollama: StandinOllama) -> None:
    random = Random(9)
    before = 0
    for number in range(amount(4, 200)):
        with generating(tmp_path, ollama.url) as generator:
            wanted = before + random.randint(0, 8)
            generator.until(lambda wanted=wanted: sum(reported(generator).values()) >= wanted, what="reports")  # type: ignore[misc]
            if number % 3 == 0:  # not only just after a report
                generator.until(lambda: generator.heartbeat().get("request_since"), what="a call in flight")
            generator.end(signal.SIGKILL)
        reports = reported(generator)
        before = sum(reports.values())
        assert set(reports.values()) <= {1}, "an evaluation was reported twice"
        stored = set(generator.query("SELECT id, digest FROM evaluations WHERE state = 'done'"))
        assert set(reports) <= stored
    with closing(sqlite3.connect(tmp_path / "alphas.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        once = "SELECT digest FROM evaluations GROUP BY digest, settings_key, source HAVING count(*) > 1"
        assert database.execute(once).fetchall() == []
        lost = "SELECT count(*) FROM evaluations WHERE call_id NOT IN (SELECT id FROM calls)"
        assert database.execute(lost).fetchone() == (0,)
    assert {row[0] for row in generator.query("SELECT id FROM calls")} <= {
        row["id"] for row in generator.signals()
    }


def repeated(generator: GeneratorProcess) -> int:
    return int(generator.query("SELECT sum(duplicates) FROM calls")[0][0] or 0)


@pytest.mark.slow
@patient
def test_nothing_is_evaluated_twice(tmp_path: Path, ollama: StandinOllama) -> None:
    wanted = amount(200, 10_000)
    with generating(tmp_path, ollama.url) as generator:
        generator.until(
            lambda: generator.count("evaluations", "state = 'done'") >= wanted and repeated(generator) > 0,
            what=f"{wanted} evaluations, and an expression that the model repeated",
            seconds=4 * 3600 if wanted > 200 else 200,
        )
        assert generator.end()[0] == 0
    reports = Counter(digest for _, digest in reported(generator).elements())
    assert sum(reports.values()) >= wanted
    assert set(reports.values()) == {1}
    assert generator.query("SELECT count(*), count(DISTINCT digest) FROM evaluations")[0][0] == len(
        set(generator.query("SELECT digest FROM evaluations"))
    )
