"""Mapping between the domain's values and the rows of the tables. Pure."""

from collections.abc import Mapping
from typing import Any

from fleet.config.keep_rule import COUNTS, METRICS
from generator.domain import AlphaFigures, CallRecord, Candidate, Evaluated, Ruleset, Source
from generator.storage.schema import DONE, FAILED, PENDING

_NO_COLUMNS = frozenset({"thinking", "load_seconds", "first_token_seconds"})


def call_row(call: CallRecord) -> dict[str, Any]:
    """Return the row of a call whose reply is not counted yet."""
    # Thinking goes to calls.log only: it is long, and nothing reads it again.
    row = {name: getattr(call, name) for name in CallRecord.__slots__ if name not in _NO_COLUMNS}
    return {**row, "valid": 0, "invalid": 0, "duplicates": 0}


def result_columns(evaluated: Evaluated) -> dict[str, Any]:
    """Return the columns that a result completes in its candidate's row."""
    row: dict[str, Any] = {"time": evaluated.time, "kept": evaluated.kept}
    if evaluated.performance is None:
        return {**row, "state": FAILED, "error": evaluated.error or "no reason was given"}
    performance = evaluated.performance
    return {
        **row,
        **performance.figures(),
        "state": DONE,
        "checks": [dict(check) for check in performance.checks],
        "alpha_id": performance.alpha_id,
        "grade": performance.grade,
        "error": performance.reason or None,
    }


def candidate_row(one: Candidate, rules: Ruleset, owner: str, now: float) -> dict[str, Any]:
    """Return the row of a pending candidate."""
    return {
        "digest": one.digest,
        "settings_key": rules.key,
        "source": rules.source.value,
        "state": PENDING,
        "owner": owner,
        "expression": one.expression,
        "canonical": one.canonical,
        "model": one.model,
        "call_id": one.call,
        "settings": dict(rules.settings),
        "kept": False,
        "published": False,
        "created": now,
    }


def candidate_of(row: Mapping[str, Any]) -> Candidate:
    """Return the candidate of a row."""
    return Candidate(row["digest"], row["expression"], row["canonical"], row["call_id"], row["model"])


def evaluated_of(row: Mapping[str, Any]) -> Evaluated:
    """Return the evaluation of a row in state `done`; NULL figures become NaN."""
    figures: dict[str, Any] = {
        name: row[name] if row[name] is not None else float("nan") for name in (*METRICS, *COUNTS)
    }
    return Evaluated(
        candidate=candidate_of(row),
        source=Source(row["source"]),
        settings=row["settings"],
        performance=AlphaFigures(
            **figures,
            checks=row["checks"] or (),
            alpha_id=row["alpha_id"],
            grade=row["grade"],
            reason=row["error"] or "",
        ),
        kept=row["kept"],
        time=row["time"] or 0.0,
        id=row["id"],
    )
