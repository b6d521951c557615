"""Calls, candidates and evaluations as tests of the storage use them."""

from sqlalchemy import select

from generator.domain import AlphaFigures, CallRecord, Candidate, Evaluated, Ruleset, Source
from generator.storage.rows import evaluated_of
from generator.storage.schema import DONE, EvaluationRow
from generator.storage.store import AlphaStore

PANEL = Ruleset(Source.PANEL, {"delay": 1, "panel": "mine.parquet"})
STANDIN = Ruleset(Source.STANDIN, {"delay": 1, "panel": "synthetic"})


def call(name: str = "c1", ended: float = 2.0, error: str | None = None) -> CallRecord:
    return CallRecord(
        name, ended - 1.0, ended, "m:1b", 0, 0, "prompt", 200, reply="reply", error=error, reply_tokens=50
    )


def candidate(name: str, of: str = "c1") -> Candidate:
    return Candidate(name, f"rank({name})", f"rank({name})", of, "m:1b")


def figures(fitness: float = 1.0, sharpe: float = 1.5) -> AlphaFigures:
    return AlphaFigures(
        sharpe=sharpe, turnover=0.2, fitness=fitness, returns=0.1, drawdown=0.1, margin=0.001,
        long_count=10.0, short_count=11.0, days=500, checks=[{"name": "LOW_SHARPE", "result": "PASS"}],
    )  # fmt: skip


def finish(
    store: AlphaStore, name: str, *, rules: Ruleset = PANEL, kept: bool = False, fitness: float = 1.0
) -> Evaluated:
    done = Evaluated(
        candidate(name), rules.source, rules.settings, figures(fitness), kept=kept, time=100.0 + fitness
    )
    return store.finish(done, rules)


def done_rows(store: AlphaStore, rules: Ruleset) -> list[Evaluated]:
    """Return the results under a ruleset, those of the highest fitness first."""
    row = EvaluationRow
    statement = (
        select(*row.__table__.columns)
        .where(row.settings_key == rules.key, row.source == rules.source.value, row.state == DONE)
        .order_by(row.fitness.desc())
    )
    with store.transaction() as connection:
        return [evaluated_of(dict(found)) for found in connection.execute(statement).mappings()]
