from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from generator.catalogue import load_catalogue
from generator.language import read
from generator.storage.migrations import STEPS, migrate
from generator.storage.schema import Base
from tests.reference.stored_rows import PANEL

BEFORE = STEPS[:2]
"""What led to version 3, whose canonical form gathered signs and constants."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'alphas.db'}")
    migrate(engine, BEFORE)
    yield engine
    engine.dispose()


def evaluation(connection: Connection, digest: str, expression: str, canonical: str, key: str = "k") -> None:
    table = Base.metadata.tables["evaluations"]
    row = {
        "digest": digest, "settings_key": key, "source": PANEL.source.value, "state": "done", "owner": "me",
        "expression": expression, "canonical": canonical, "model": "m", "settings": {}, "kept": False,
        "published": False, "created": 0.0,
    }  # fmt: skip
    connection.execute(table.insert().values(row))


def simulation(connection: Connection, digest: str, key: str = "k") -> None:
    table = Base.metadata.tables["simulations"]
    row = {"digest": digest, "settings_key": key, "owner": "me", "state": "ended", "sent": 0.0}
    connection.execute(table.insert().values(row))


def digests(engine: Engine, table: str) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT digest FROM {table} ORDER BY id")).scalars())


def now(expression: str) -> str:
    return read(expression, load_catalogue()).digest


def test_stored_expressions_get_the_names_of_today(engine: Engine) -> None:
    with engine.begin() as connection:
        evaluation(connection, "old1", "rank(multiply(-1, close))", "rank(reverse(close))")
        evaluation(connection, "old2", "rank(close)", "rank(close)")
        evaluation(connection, "old1", "rank(reverse(close))", "rank(reverse(close))", key="other")
        evaluation(connection, "old3", "ts_mean(multiply(1, close), 5)", "ts_mean(close, 5)", key="other")
    assert migrate(engine) == 1 + len(STEPS)
    assert digests(engine, "evaluations") == [
        now("rank(multiply(-1, close))"),
        "old2",
        "old1",
        now("ts_mean(multiply(1, close), 5)"),
    ]
    with engine.connect() as connection:
        forms = connection.execute(text("SELECT canonical FROM evaluations ORDER BY id")).scalars().all()
    assert forms[0] == "rank(multiply(-1, close))"


def test_what_was_sent_to_brain_goes_by_the_same_name(engine: Engine) -> None:
    with engine.begin() as connection:
        evaluation(connection, "old1", "rank(multiply(-1, close))", "rank(reverse(close))")
        simulation(connection, "old1")
        simulation(connection, "old1", key="other")
    migrate(engine)
    assert digests(engine, "simulations") == [now("rank(multiply(-1, close))"), "old1"]


def test_fields_of_an_account_or_a_panel_are_understood(engine: Engine) -> None:
    expression = "group_rank(multiply(1, est_eps), my_group)"
    with engine.begin() as connection:
        evaluation(connection, "old", expression, "group_rank(est_eps, my_group)")
    migrate(engine)
    [name] = digests(engine, "evaluations")
    assert name != "old"


def test_what_cannot_be_read_or_has_a_namesake_keeps_its_name(engine: Engine) -> None:
    expression = "rank(multiply(-1, close))"
    with engine.begin() as connection:
        evaluation(connection, "unread", "no_such_operator(1, close)", "no_such_operator(close)")
        evaluation(connection, "cut", "rank(close", "rank(x)")
        evaluation(connection, now(expression), "whatever", "whatever")
        evaluation(connection, "late", expression, "rank(reverse(close))")
        for name in ("twin", "later twin"):
            evaluation(connection, name, "multiply(2, open)", "x")
    migrate(engine)
    assert digests(engine, "evaluations") == [
        "unread", "cut", now(expression), "late", now("multiply(2, open)"), "later twin"
    ]  # fmt: skip


def test_more_rows_than_a_page_are_renamed(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(1, 1100):
            evaluation(connection, f"d{number}", f"ts_mean(multiply(1, close), {number})", "old")
    migrate(engine)
    assert not any(name.startswith("d") and len(name) < 9 for name in digests(engine, "evaluations"))
