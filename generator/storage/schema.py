"""Tables. An evaluation's row is written before the evaluation and completed after it.

No expression is lost when the generator ends in between: the next start evaluates the pending rows of its owner.
Several machines may share one database.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PENDING, DONE, FAILED = "pending", "done", "failed"
QUEUED, SENDING, RUNNING, READING, ENDED, LOST = "queued", "sending", "running", "reading", "ended", "lost"
OPEN = frozenset({QUEUED, SENDING, RUNNING, READING})
"""States of a simulation whose candidate has no result yet."""


class Base(DeclarativeBase):
    """The declarative base of the generator's tables."""


class SchemaRow(Base):
    """The version of the tables; one row."""

    __tablename__ = "schema_version"

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)


class CallRow(Base):
    """A call to Ollama. `prompt` and `reply` are emptied after `keep_calls`; the row stays for the report."""

    __tablename__ = "calls"
    __table_args__ = (
        Index("calls_by_end", "ended"),
        # Partial index: finds rows to empty without reading the many that are empty.
        Index(
            "calls_with_texts", "ended",
            sqlite_where=text("prompt IS NOT NULL"), postgresql_where=text("prompt IS NOT NULL"),
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    started: Mapped[float] = mapped_column(Float)
    ended: Mapped[float] = mapped_column(Float)
    model: Mapped[str] = mapped_column(String(512))
    rung: Mapped[int] = mapped_column(Integer)
    switches: Mapped[int] = mapped_column(Integer)
    prompt: Mapped[str | None] = mapped_column(Text)
    reply: Mapped[str | None] = mapped_column(Text)
    status: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    done_reason: Mapped[str] = mapped_column(String(32))
    prompt_tokens: Mapped[int | None] = mapped_column(Integer)
    reply_tokens: Mapped[int | None] = mapped_column(Integer)
    seed: Mapped[int] = mapped_column(Integer)
    source: Mapped[str] = mapped_column(String(16))
    valid: Mapped[int] = mapped_column(Integer)
    invalid: Mapped[int] = mapped_column(Integer)
    duplicates: Mapped[int] = mapped_column(Integer)


class EvaluationRow(Base):
    """An expression under one ruleset: pending, done, or failed with its reason.

    Where the panel has a split, the unprefixed figures and `checks` are those of the train days. `admitted` is NULL
    without a decision of the pool. `pnl` is float32, and only a member of the pool has one.
    """

    __tablename__ = "evaluations"
    __table_args__ = (
        UniqueConstraint("digest", "settings_key", "source", name="evaluated_once"),
        Index("evaluations_by_state", "state", "time"),
        Index("evaluations_by_fitness", "state", "fitness"),
        Index("evaluations_by_call", "call_id"),
        # Partial index: the oldest pending rows are found without reading the others.
        Index(
            "evaluations_pending", "settings_key", "source", "id",
            sqlite_where=text("state = 'pending'"), postgresql_where=text("state = 'pending'"),
        ),
        # Partial index: kept alphas are few, and those that the hopeful file lacks fewer still.
        Index(
            "evaluations_kept", "published", "id",
            sqlite_where=text("kept IS 1"), postgresql_where=text("kept IS true"),
        ),
        Index(
            "evaluations_admitted", "settings_key", "fitness",
            sqlite_where=text("admitted IS 1"), postgresql_where=text("admitted IS true"),
        ),
        Index(
            "evaluations_with_checks", "time",
            sqlite_where=text("checks IS NOT NULL"), postgresql_where=text("checks IS NOT NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    settings_key: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(8))
    owner: Mapped[str] = mapped_column(String(255))
    expression: Mapped[str] = mapped_column(Text)
    canonical: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(String(512))
    call_id: Mapped[str | None] = mapped_column(ForeignKey("calls.id"))
    settings: Mapped[dict[str, object]] = mapped_column(JSON)
    sharpe: Mapped[float | None] = mapped_column(Float)
    turnover: Mapped[float | None] = mapped_column(Float)
    fitness: Mapped[float | None] = mapped_column(Float)
    returns: Mapped[float | None] = mapped_column(Float)
    drawdown: Mapped[float | None] = mapped_column(Float)
    margin: Mapped[float | None] = mapped_column(Float)
    long_count: Mapped[float | None] = mapped_column(Float)
    short_count: Mapped[float | None] = mapped_column(Float)
    days: Mapped[int | None] = mapped_column(Integer)
    checks: Mapped[list[object] | None] = mapped_column(JSON)
    alpha_id: Mapped[str | None] = mapped_column(String(64))
    grade: Mapped[str | None] = mapped_column(String(32))
    error: Mapped[str | None] = mapped_column(Text)
    kept: Mapped[bool] = mapped_column(Boolean)
    published: Mapped[bool] = mapped_column(Boolean)
    claim: Mapped[int] = mapped_column(Integer, server_default="0")
    created: Mapped[float] = mapped_column(Float)
    time: Mapped[float | None] = mapped_column(Float)
    origin: Mapped[str] = mapped_column(String(8), server_default="model")
    parents: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    validation_sharpe: Mapped[float | None] = mapped_column(Float)
    validation_turnover: Mapped[float | None] = mapped_column(Float)
    validation_fitness: Mapped[float | None] = mapped_column(Float)
    validation_returns: Mapped[float | None] = mapped_column(Float)
    validation_days: Mapped[int | None] = mapped_column(Integer)
    test_sharpe: Mapped[float | None] = mapped_column(Float)
    test_turnover: Mapped[float | None] = mapped_column(Float)
    test_fitness: Mapped[float | None] = mapped_column(Float)
    test_returns: Mapped[float | None] = mapped_column(Float)
    test_days: Mapped[int | None] = mapped_column(Integer)
    admitted: Mapped[bool | None] = mapped_column(Boolean)
    admission: Mapped[str | None] = mapped_column(Text)
    self_correlation: Mapped[float | None] = mapped_column(Float)
    failed_checks: Mapped[int | None] = mapped_column(Integer)
    hard_failures: Mapped[int | None] = mapped_column(Integer)
    daily_sharpe: Mapped[float | None] = mapped_column(Float)
    daily_days: Mapped[int | None] = mapped_column(Integer)
    skewness: Mapped[float | None] = mapped_column(Float)
    kurtosis: Mapped[float | None] = mapped_column(Float)
    pnl: Mapped[bytes | None] = mapped_column(LargeBinary)


class SplitRow(Base):
    """The split of a panel: the first dates of validation and of test, kept from the first reading on."""

    __tablename__ = "splits"

    panel: Mapped[str] = mapped_column(Text, primary_key=True)
    validation_from: Mapped[str] = mapped_column(String(10))
    test_from: Mapped[str] = mapped_column(String(10))
    created: Mapped[float] = mapped_column(Float)


class TrialCountRow(Base):
    """Trials of one source on one panel, and the last figures of their sample.

    `trials` only grows. `distinct_sampled` of the `sampled` trials do not correlate; `variance` is that of their
    daily Sharpe ratios.
    """

    __tablename__ = "trial_counts"

    source: Mapped[str] = mapped_column(String(16), primary_key=True)
    panel: Mapped[str] = mapped_column(Text, primary_key=True)
    trials: Mapped[int] = mapped_column(Integer)
    sampled: Mapped[int] = mapped_column(Integer)
    distinct_sampled: Mapped[int] = mapped_column(Integer)
    variance: Mapped[float | None] = mapped_column(Float)
    updated: Mapped[float | None] = mapped_column(Float)


class TrialSampleRow(Base):
    """A trial of the sample with its daily PnL (float32) before the test. The sample are the smallest ranks."""

    __tablename__ = "trial_sample"
    __table_args__ = (Index("trial_sample_by_rank", "source", "panel", "rank"),)

    source: Mapped[str] = mapped_column(String(16), primary_key=True)
    panel: Mapped[str] = mapped_column(Text, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    rank: Mapped[int] = mapped_column(BigInteger)
    sharpe: Mapped[float] = mapped_column(Float)
    last_day: Mapped[int] = mapped_column(Integer)
    pnl: Mapped[bytes] = mapped_column(LargeBinary)


class LeaseRow(Base):
    """An owner's lease, or a turn to sign in, in Unix seconds of the database's clock."""

    __tablename__ = "leases"

    owner: Mapped[str] = mapped_column(String(255), primary_key=True)
    until: Mapped[float] = mapped_column(Float)


class SimulationRow(Base):
    """One request to BRAIN to simulate an expression; `generator.brain.states` has its states.

    `place` is the position in a multi-simulation, whose rows share a location. A row that was never sent has 0 in
    `sent`.
    """

    __tablename__ = "simulations"
    __table_args__ = (
        Index("simulations_by_expression", "digest", "settings_key"),
        Index("simulations_by_state", "state", "due"),
        Index("simulations_by_time", "sent"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    settings_key: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(255))
    account: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(8))
    tries: Mapped[int] = mapped_column(Integer, server_default="1")
    asks: Mapped[int] = mapped_column(Integer, server_default="0")
    due: Mapped[float] = mapped_column(Float, server_default="0")
    since: Mapped[float] = mapped_column(Float, server_default="0")
    location: Mapped[str | None] = mapped_column(Text)
    place: Mapped[int | None] = mapped_column(Integer)
    alone: Mapped[bool] = mapped_column(Boolean, server_default=false())
    sent: Mapped[float] = mapped_column(Float)
    ended: Mapped[float | None] = mapped_column(Float)
    status: Mapped[str | None] = mapped_column(String(16))
    alpha_id: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None] = mapped_column(Text)
