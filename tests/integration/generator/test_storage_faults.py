"""The real generator while its database is away, locked, gone or another one: nothing finished is lost."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from fleet.runtime.home import ROOT
from generator.storage.store import AlphaStore
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.parts.postgresql import Cluster, postgresql
from tests.processes.generator import GeneratorProcess, generating

MOST_WAITING = 16


@pytest.fixture
def ollama() -> Iterator[StandinOllama]:
    with standin(settings=StandinSettings(pace=0.0)) as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgresql() as running:
        yield running


def ids(generator: GeneratorProcess) -> set[str]:
    return {row["id"] for row in generator.signals()}


def evaluated(generator: GeneratorProcess) -> list[int]:
    lines = [line for line in generator.log.splitlines() if " evaluation." in line]
    return [int(line.split(" id=")[1].split()[0]) for line in lines]


class Rows:
    """What a PostgreSQL holds, by an engine of the test's own."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)

    def __call__(self, statement: str) -> list[Any]:
        with self._engine.connect() as connection:
            return [row[0] for row in connection.execute(text(statement))]

    def close(self) -> None:
        self._engine.dispose()


@pytest.mark.slow
def test_a_postgresql_that_restarts_in_mid_run_loses_nothing(
    tmp_path: Path, ollama: StandinOllama, cluster: Cluster
) -> None:
    url = cluster.create("mining")
    with closing(AlphaStore(url, owner="test")) as store:
        store.count()
    with (
        closing(Rows(url)) as rows,
        generating(tmp_path, ollama.url, FLEET_GENERATOR_DATABASE=url) as generator,
    ):
        done = "SELECT count(*) FROM evaluations WHERE state = 'done'"
        generator.until(lambda: rows(done)[0] >= 4, what="alphas")
        cluster.stop()
        generator.until(lambda: "cannot be used" in generator.told, what="the database to be missed")
        time.sleep(1.0)
        waiting = len(ids(generator))
        time.sleep(1.0)
        assert len(ids(generator)) <= waiting + MOST_WAITING
        cluster.start()
        rows.close()
        generator.until(lambda: "can be written again" in generator.told, what="the database to be back")
        before = rows(done)[0]
        generator.until(lambda: rows(done)[0] > before + 4, what="alphas after it")
        assert generator.end()[0] == 0
        assert set(rows("SELECT id FROM calls")) == ids(generator)
        reported = evaluated(generator)
        assert len(reported) == len(set(reported))
        assert set(reported) <= set(rows("SELECT id FROM evaluations WHERE state <> 'pending'"))
    assert generator.told.count("cannot be used") == 1
    assert "Traceback" not in generator.log


@pytest.mark.slow
def test_a_postgresql_that_freezes_is_reported_and_loses_nothing(
    tmp_path: Path, ollama: StandinOllama, cluster: Cluster
) -> None:
    url = cluster.create("frozen")
    with (
        closing(Rows(url)) as rows,
        generating(tmp_path, ollama.url, FLEET_GENERATOR_DATABASE=url) as generator,
    ):
        generator.until(lambda: " evaluation.done " in generator.log, what="an alpha")
        rows.close()
        with cluster.frozen():
            asked = subprocess.run(
                [sys.executable, str(ROOT / "fleet_cli.py"), "alphas"],
                env={**os.environ, "FLEET_HOME": str(tmp_path), "FLEET_GENERATOR_DATABASE": url},
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            assert asked.returncode == 1, asked
            assert "cannot be read" in asked.stderr
            generator.until(
                lambda: generator.heartbeat().get("database_away"), what="the silence to be reported"
            )
        generator.until(lambda: "can be written again" in generator.told, what="the database to be back")
        before = len(evaluated(generator))
        generator.until(lambda: len(evaluated(generator)) > before + 4, what="alphas after it")
        assert generator.end()[0] == 0
        assert set(rows("SELECT id FROM calls")) == ids(generator)
        assert len(evaluated(generator)) == len(set(evaluated(generator)))
    assert generator.told.count("gives no answer") == 1
    assert "Traceback" not in generator.log


@pytest.mark.slow
def test_a_locked_database_is_waited_for(tmp_path: Path, ollama: StandinOllama) -> None:
    with generating(tmp_path, ollama.url) as generator:
        generator.until(lambda: generator.count("evaluations", "state = 'done'") >= 2, what="alphas")
        with closing(sqlite3.connect(tmp_path / "alphas.db", isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            generator.until(lambda: "locked" in generator.told, what="the lock to be told of")
            other.execute("ROLLBACK")
        generator.until(lambda: "can be written again" in generator.told, what="writing")
        assert generator.end()[0] == 0
        assert {row[0] for row in generator.query("SELECT id FROM calls")} == ids(generator)


@pytest.mark.slow
def test_a_database_that_is_taken_away_is_begun_anew(tmp_path: Path, ollama: StandinOllama) -> None:
    with generating(tmp_path, ollama.url) as generator:
        generator.until(lambda: generator.count("evaluations", "state = 'done'") >= 2, what="alphas")
        aside = tmp_path / "aside"
        aside.mkdir()
        for name in ("alphas.db", "alphas.db-wal", "alphas.db-shm"):
            (tmp_path / name).rename(aside / name)
        generator.until(lambda: generator.count("evaluations", "state = 'done'") >= 2, what="a new database")
        assert generator.end()[0] == 0
    with closing(sqlite3.connect(aside / "alphas.db")) as old:
        stored = {row[0] for row in old.execute("SELECT id FROM calls")}
    stored |= {row[0] for row in generator.query("SELECT id FROM calls")}
    assert stored == ids(generator)
    assert "Traceback" not in generator.log
