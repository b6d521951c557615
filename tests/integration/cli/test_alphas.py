"""`fleet_cli.py alphas` over a home with a database in it."""

import csv
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from cli.commands import SORTS, SOURCES, main
from fleet.runtime.home import ROOT
from generator.domain import AlphaFigures, Candidate, Evaluated, Ruleset, Source
from generator.storage import read
from generator.storage.store import AlphaStore
from tests.parts.postgresql import Cluster, postgresql
from tests.reference.stored_rows import call
from web.page import tables

NOW = 1_790_000_000.0
ROWS = (
    # name, model, source, fitness, sharpe, turnover, kept, age in hours
    ("rank(a)", "big:3b", Source.PANEL, 0.4, 1.0, 0.10, False, 30),
    ("rank(b)", "big:3b", Source.PANEL, 2.0, 2.5, 0.60, True, 20),
    ("rank(c)", "tiny:1b", Source.BRAIN, 1.2, 1.6, 0.30, True, 10),
    ("rank(d)", "tiny:1b", Source.SYNTHETIC, -0.7, -0.9, 0.05, False, 1),
)


def fill(store: AlphaStore) -> None:
    for expression, model, source, fitness, sharpe, turnover, kept, hours in ROWS:
        rules = Ruleset(source, {"delay": 1})
        one = Candidate(expression, expression, expression, f"c-{expression}", model)
        store.record_call(replace(call(f"c-{expression}"), model=model), [one], rules)
        figures = AlphaFigures(
            sharpe, turnover, fitness, 0.1, 0.2, 0.001, 10.0, 11.0, 500, checks=[{"name": "LOW_SHARPE"}]
        )
        store.finish(
            Evaluated(one, source, rules.settings, figures, kept=kept, time=NOW - 3600 * hours), rules
        )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "model_fleet_state.json").write_text(json.dumps({"current_model_index": 0}))
    for name in ("FLEET_CONFIG", "FLEET_GENERATOR_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLEET_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: NOW)
    return folder


@pytest.fixture
def filled(home: Path) -> Path:
    with closing(AlphaStore(f"sqlite:///{home}/alphas.db", owner="here")) as store:
        fill(store)
    return home


def alphas(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["alphas", *arguments])
    return done.exit_code, done.stdout, done.stderr


def expressions(*arguments: str) -> list[str]:
    code, output, error = alphas("--json", *arguments)
    assert code == 0, error
    return [row["expression"][5] for row in json.loads(output)]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((), "bcad"),
        (("--limit", "2"), "bc"),
        (("-n", "1", "--reverse"), "d"),
        (("--sort", "turnover"), "dacb"),
        (("--sort", "time"), "dcba"),
        (("--sort", "sharpe", "--reverse"), "dacb"),
        (("--model", "tiny:1b"), "cd"),
        (("--source", "panel"), "ba"),
        (("--kept",), "bc"),
        (("--not-kept",), "ad"),
        (("--contains", "K(D"), "d"),
        (("--min-fitness", "1.2"), "bc"),
        (("--min-sharpe", "2"), "b"),
        (("--max-turnover", "0.1"), "ad"),
        (("--since", "15h"), "cd"),
        (("--source", "panel", "--min-fitness", "1", "--max-turnover", "0.5"), ""),
    ],
)
def test_filters_and_order(filled: Path, arguments: tuple[str, ...], found: str) -> None:
    assert "".join(expressions(*arguments)) == found


def test_figures_that_mean_nothing_stand_last_with_the_reason(filled: Path) -> None:
    rules = Ruleset(Source.PANEL, {"delay": 1})
    with closing(AlphaStore(f"sqlite:///{filled}/alphas.db", owner="here")) as store:
        one = Candidate("rank(e)", "rank(e)", "rank(e)", "c-e", "tiny:1b")
        store.record_call(replace(call("c-e"), model="tiny:1b"), [one], rules)
        figures = AlphaFigures(
            29.9, 0.1, 30.0, 0.1, 0.1, 0.1, 5.0, 5.0, 2, reason="positions on 2 of 500 days"
        )
        store.finish(Evaluated(one, rules.source, rules.settings, figures, time=NOW), rules)
    assert "".join(expressions()) == "bcade"
    assert "".join(expressions("--reverse")) == "dacbe"
    assert "".join(expressions("-n", "3")) == "bca"
    assert "rank(e) (positions on 2 of 500 days)" in alphas()[1]
    models = read.by_model(filled / "alphas.db")
    assert max(row.best_sharpe for row in models if row.best_sharpe is not None) == 2.5


def test_a_person_sees_a_table(filled: Path) -> None:
    code, output, _ = alphas("--kept")
    head, first, second = output.splitlines()
    assert code == 0
    assert head.split()[:3] == ["fitness", "Sharpe", "turnover"]
    assert first.split()[:4] == ["2.00", "2.50", "0.60", "0.10"]
    assert first.endswith("rank(b)")
    assert "brain" in second


def test_a_row_says_all_that_is_known(filled: Path) -> None:
    [row] = json.loads(alphas("--json", "--limit", "1")[1])
    Draft202012Validator(json.loads((ROOT / "docs/schema/alphas.json").read_text())).validate([row])
    assert row["checks"] == [{"name": "LOW_SHARPE"}]
    assert row["settings"] == {"delay": 1}
    assert (row["model"], row["source"], row["kept"], row["days"]) == ("big:3b", "panel", True, 500)
    assert row["time"] == NOW - 3600 * 20


def test_nothing_yet_and_nothing_that_passes_are_told_apart(home: Path, filled: Path) -> None:
    assert alphas("--min-fitness", "9")[1] == "no alpha passes these filters\n"
    (home / "alphas.db").unlink()
    assert alphas()[:2] == (0, "there are no alphas yet\n")
    assert alphas("--json")[:2] == (0, "[]\n")


def read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_export_writes_all_of_them_by_the_suffix(filled: Path, tmp_path: Path) -> None:
    names = [field.name for field in fields(read.AlphaRow)]
    for suffix in ("csv", "JSON", "parquet"):
        path = tmp_path / f"out.{suffix}"
        assert alphas("--export", str(path)) == (0, f"4 alphas written to {path}\n", "")
    flat = read_csv(tmp_path / "out.csv")
    assert [row["expression"] for row in flat] == ["rank(b)", "rank(c)", "rank(a)", "rank(d)"]
    assert flat[0]["time"] == "2026-09-20T18:13:20+00:00"
    assert json.loads(flat[0]["checks"]) == [{"name": "LOW_SHARPE"}]
    assert list(flat[0]) == names
    plain = json.loads((tmp_path / "out.JSON").read_text())
    assert plain == json.loads(alphas("--json")[1])
    frame = pl.read_parquet(tmp_path / "out.parquet")
    assert frame.columns == names
    assert frame["fitness"].to_list() == [2.0, 1.2, 0.4, -0.7]
    assert frame.schema["time"] == pl.Datetime("us", "UTC")
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == [
        "out.JSON", "out.csv", "out.parquet",
    ]  # fmt: skip


def test_an_empty_export_still_has_its_columns(home: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "json", "parquet"):
        assert alphas("--export", str(tmp_path / f"none.{suffix}"))[0] == 0
    assert read_csv(tmp_path / "none.csv") == []
    assert (tmp_path / "none.csv").read_text().startswith("id,expression,")
    assert json.loads((tmp_path / "none.json").read_text()) == []
    assert pl.read_parquet(tmp_path / "none.parquet").height == 0


def test_filters_and_a_limit_hold_for_an_export_too(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.csv"
    assert alphas("--export", str(path), "--kept", "-n", "1")[1] == f"1 alphas written to {path}\n"
    assert [row["expression"] for row in read_csv(path)] == ["rank(b)"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--export", "alphas.xlsx"), 2, "ends in none of .csv, .json and .parquet"),
        (("--export", "/nowhere/at/all.csv"), 1, "cannot be written"),
        (("--since", "yesterday"), 2, "is no time"),
        (("--sort", "luck"), 2, "Invalid value"),
        (("--limit", "0"), 2, "Invalid value"),
        (("--source", "dream"), 2, "Invalid value"),
    ],
)
def test_what_cannot_be_done_says_why(filled: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    found, output, error = alphas(*arguments)
    assert (found, output) == (code, "")
    assert says in error


def test_a_damaged_database_ends_with_1_and_what_to_do(home: Path) -> None:
    (home / "alphas.db").write_bytes(b"no database, but long enough to be taken for one" * 99)
    code, output, error = alphas()
    assert (code, output) == (1, "")
    assert "cannot be read" in error
    assert "Hint:" in error


def test_no_fleet_ends_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "none"))
    assert alphas()[0] == 2


def test_it_reads_while_another_writes(filled: Path) -> None:
    with closing(AlphaStore(f"sqlite:///{filled}/alphas.db", owner="here")) as store:
        store.count()
        engine = store._engine
        assert engine is not None
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("UPDATE evaluations SET fitness = 99")
            assert "".join(expressions()) == "bcad"


def test_the_default_database_is_read_without_sqlalchemy_or_polars(filled: Path) -> None:
    code = (
        "import sys; sys.argv[1:] = ['alphas']; from fleet_cli import main; main(standalone_mode=False);"
        "assert not {'sqlalchemy', 'polars', 'numpy', 'requests'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60, capture_output=True)


def test_the_command_offers_what_the_database_has() -> None:
    assert SORTS == read.SORTS
    assert set(SOURCES) == {source.value for source in Source}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgresql() as running:
        yield running


@pytest.fixture
def database(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    return cluster.create(request.node.name.lower())


def test_a_postgresql_is_read_in_the_same_way(
    home: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_GENERATOR_DATABASE", database)
    assert alphas()[:2] == (0, "there are no alphas yet\n")
    with closing(AlphaStore(database, owner="here")) as store:
        fill(store)
    assert "".join(expressions("--kept", "--since", "15h")) == "c"
    assert "".join(expressions("--contains", "K(D")) == "d"
    monkeypatch.setenv("FLEET_GENERATOR_DATABASE", "postgresql+psycopg://me:secret@/none?host=/nowhere")
    code, _, error = alphas()
    assert code == 1
    assert "cannot be read" in error
    assert "secret" not in error


def test_a_report_of_a_postgresql_is_that_of_a_file(
    filled: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_file = report()
    assert {row["model"]: row["kept"] for row in of_file if row["evaluated"]} == {"big:3b": 1, "tiny:1b": 1}
    monkeypatch.setenv("FLEET_GENERATOR_DATABASE", database)
    with closing(AlphaStore(database, owner="report")) as store:
        fill(store)
    assert report() == of_file


def report() -> list[dict[str, Any]]:
    done = CliRunner().invoke(main, ["report", "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert "database" not in found["away"]
    rows: list[dict[str, Any]] = found["models"]
    return rows


def test_a_file_named_by_a_url_is_read_as_well(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(AlphaStore(f"sqlite:///{home}/mine.db", owner="here")) as store:
        fill(store)
    for url in (f"sqlite:///{home}/mine.db", "sqlite:///mine.db"):
        monkeypatch.setenv("FLEET_GENERATOR_DATABASE", url)
        assert len(expressions()) == 4


def test_kept_alphas_are_counted_by_model_and_mark(filled: Path) -> None:
    database = filled / "alphas.db"
    assert read.marks_by_model(database) == {}  # without daily figures nothing says how much is luck
    with sqlite3.connect(database) as connection:
        for expression, daily in (("rank(b)", 0.5), ("rank(c)", 0.001), ("rank(d)", 0.5)):
            connection.execute(
                "UPDATE evaluations SET daily_sharpe = ?, daily_days = 500, skewness = 0, kurtosis = 3"
                " WHERE expression = ?",
                (daily, expression),
            )
        for source in ("panel", "brain"):
            connection.execute(
                "INSERT OR REPLACE INTO trial_counts VALUES (?, '', 100, 50, 40, 0.002, 0)", (source,)
            )
    assert read.marks_by_model(database) == {"big:3b": {"likely": 1}, "tiny:1b": {"luck": 1}}
    assert read.marks_by_model(database, since=NOW - 15 * 3600) == {"tiny:1b": {"luck": 1}}
    done = CliRunner().invoke(main, ["report", "--json"])
    models = {row["model"]: row for row in json.loads(done.stdout)["models"]}
    assert [models["big:3b"][mark] for mark in ("likely", "unproven", "luck")] == [1, 0, 0]
    assert models["qwen2.5:0.5b"]["likely"] == 0
    assert "likely" in CliRunner().invoke(main, ["report"]).stdout


def test_the_pages_table_shows_pool_luck_and_test(filled: Path) -> None:
    (row,) = read.best_alphas(filled / "alphas.db", 1)
    shown = replace(row, luck="unproven", admitted=True, dsr=0.87, test_sharpe=1.25)
    page = tables.alphas([shown], "fitness", kept=False, contains="")
    assert all(part in page for part in ("unproven", ">pool<", "0.87", "1.25"))
    assert "unproven" not in tables.alphas([row], "fitness", kept=False, contains="")
