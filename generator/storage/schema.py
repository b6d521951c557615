"""Tables. An evaluation's row is written before the evaluation and completed after it.

No expression is lost when the generator ends in between: the next start evaluates the pending rows of its owner.
Several machines may share one database.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
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
    """An expression under one ruleset: pending, done, or failed with its reason."""

    __tablename__ = "evaluations"
    __table_args__ = (
        UniqueConstraint("digest", "settings_key", "source", name="evaluated_once"),
        Index("evaluations_by_state", "state", "time"),
        Index("evaluations_by_fitness", "state", "fitness"),
        Index("evaluations_by_call", "call_id"),
        # Partial index: kept alphas are few, and those that the hopeful file lacks fewer still.
        Index(
            "evaluations_kept", "published", "id",
            sqlite_where=text("kept IS 1"), postgresql_where=text("kept IS true"),
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
    created: Mapped[float] = mapped_column(Float)
    time: Mapped[float | None] = mapped_column(Float)


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
