"""Mapping between the domain's values and the rows of the tables. Pure."""

import math
from collections.abc import Mapping
from typing import Any

from fleet.config.keep_rule import COUNTS, METRICS
from generator.domain import (
    Admission,
    AlphaFigures,
    CallRecord,
    Candidate,
    Evaluated,
    Moments,
    Origin,
    Ruleset,
    Source,
    Stretch,
    finite,
)
from generator.pool.checks import failed_checks, hard_failures
from generator.storage.schema import DONE, FAILED, PENDING, CallRow

_CALL_COLUMNS = tuple(name for name in CallRecord.__slots__ if name in CallRow.__table__.columns)
"""The parts of a call that are stored; the others go to files and counters only."""


def call_row(call: CallRecord) -> dict[str, Any]:
    """Return the row of a call whose reply is not counted yet."""
    # Thinking goes to calls.log, rate and version to signals.jsonl, durations into counters: nothing reads them here.
    row = {name: getattr(call, name) for name in _CALL_COLUMNS}
    return {**row, "valid": 0, "invalid": 0, "duplicates": 0}


def result_columns(evaluated: Evaluated) -> dict[str, Any]:
    """Return the columns that a result completes in its candidate's row."""
    row: dict[str, Any] = {"time": evaluated.time, "kept": evaluated.kept}
    if evaluated.performance is None:
        return {**row, "state": FAILED, "error": evaluated.error or "no reason was given"}
    performance, admission = evaluated.performance, evaluated.admission
    admitted = None if admission is None else admission.admitted
    return {
        **row,
        **performance.figures(),
        **_stretch_columns("validation", performance.validation),
        **_stretch_columns("test", performance.test),
        **_moment_columns(performance.moments),
        "admitted": admitted,
        "admission": None if admission is None else admission.reason or None,
        "self_correlation": evaluated.self_correlation,
        "failed_checks": len(failed_checks(performance.checks)),
        "hard_failures": len(hard_failures(performance.checks)),
        "pnl": performance.pnl or None if admitted else None,
        "state": DONE,
        "checks": [{name: finite(value) for name, value in check.items()} for check in performance.checks],
        "alpha_id": performance.alpha_id,
        "grade": performance.grade,
        "error": performance.reason or None,
    }


def _stretch_columns(prefix: str, stretch: Stretch | None) -> dict[str, Any]:
    names = Stretch.__slots__
    return {f"{prefix}_{name}": None if stretch is None else finite(getattr(stretch, name)) for name in names}


def _stretch(prefix: str, row: Mapping[str, Any]) -> Stretch | None:
    if row[f"{prefix}_days"] is None:
        return None
    values = {name: row[f"{prefix}_{name}"] for name in Stretch.__slots__}
    known: dict[str, Any] = {name: math.nan if value is None else value for name, value in values.items()}
    return Stretch(**known)


def _moment_columns(moments: Moments | None) -> dict[str, Any]:
    if moments is None:
        return {"daily_sharpe": None, "daily_days": None, "skewness": None, "kurtosis": None}
    return {
        "daily_sharpe": finite(moments.sharpe),
        "daily_days": moments.days,
        "skewness": finite(moments.skewness),
        "kurtosis": finite(moments.kurtosis),
    }


def moments_of(row: Mapping[str, Any]) -> Moments | None:
    """Return the moments of a row's daily PnL; None if one of them is not known."""
    values = (row["daily_sharpe"], row["daily_days"], row["skewness"], row["kurtosis"])
    return None if None in values else Moments(*values)


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
        "origin": one.origin.value,
        "parents": list(one.parents) or None,
        "claim": one.claim,
    }


CANDIDATE_COLUMNS = ("digest", "expression", "canonical", "call_id", "model", "origin", "parents", "claim")
"""Columns that `candidate_of` reads."""


def candidate_of(row: Mapping[str, Any]) -> Candidate:
    """Return the candidate of a row."""
    return Candidate(
        digest=row["digest"],
        expression=row["expression"],
        canonical=row["canonical"],
        call=row["call_id"],
        model=row["model"],
        origin=Origin(row["origin"]),
        parents=tuple(row["parents"] or ()),
        claim=row["claim"],
    )


def evaluated_of(row: Mapping[str, Any]) -> Evaluated:
    """Return the evaluation of a row in state `done`; NULL figures become NaN."""
    figures: dict[str, Any] = {
        name: row[name] if row[name] is not None else math.nan for name in (*METRICS, *COUNTS)
    }
    figures["days"] = row["days"]
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
            validation=_stretch("validation", row),
            test=_stretch("test", row),
            moments=moments_of(row),
            pnl=row["pnl"] or b"",
        ),
        kept=row["kept"],
        time=row["time"] or 0.0,
        id=row["id"],
        admission=None if row["admitted"] is None else Admission(row["admitted"], row["admission"] or ""),
        self_correlation=row["self_correlation"],
    )
