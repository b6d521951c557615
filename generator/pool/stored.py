"""Reader of the pool's data in the database: splits of panels, trials, and the share of luck in an alpha.

The functions get an open database from `read.open_database`. A database of an earlier version has no data of the pool.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, TypeAlias

from generator.domain import Moments, Split
from generator.pool.luck import Trials, dsr_of, luck_of, variance_over

Rows: TypeAlias = Callable[[str, Mapping[str, Any]], Iterable[Mapping[str, Any]]]
"""Function that runs a statement with named values and returns its rows."""
TrialsOf: TypeAlias = Mapping[tuple[str, str], Trials]
"""Trials by source and panel; the panel is empty for BRAIN."""

_VERSION = 6
"""The first version of the tables with the pool."""
MOMENTS = ("daily_sharpe", "daily_days", "skewness", "kurtosis")
_PLAIN = (
    "validation_sharpe", "validation_fitness", "test_sharpe", "test_fitness", "admitted", "admission",
    "self_correlation", "failed_checks", "origin", "parents",
)  # fmt: skip
POOL_COLUMNS = (*_PLAIN, *MOMENTS)
"""Columns of an evaluation that `pool_fields` reads."""


def has_pool(rows: Rows) -> bool:
    """Return True if the database has the pool's tables and columns."""
    versions = [row["version"] for row in rows("SELECT version FROM schema_version", {})]
    return bool(versions) and versions[0] >= _VERSION


def stored_split(rows: Rows, panel: str) -> Split | None:
    """Return the stored split of a panel."""
    if has_pool(rows):
        statement = "SELECT validation_from, test_from FROM splits WHERE panel = :panel"
        for row in rows(statement, {"panel": panel}):
            return Split(date.fromisoformat(row["validation_from"]), date.fromisoformat(row["test_from"]))
    return None


def stored_trials(rows: Rows) -> TrialsOf:
    """Return the trials of each source and panel."""
    if not has_pool(rows):
        return {}
    statement = "SELECT source, panel, trials, sampled, distinct_sampled, variance FROM trial_counts"
    return {
        (row["source"], row["panel"]): Trials(
            row["trials"], row["sampled"], row["distinct_sampled"], row["variance"]
        )
        for row in rows(statement, {})
    }


def pool_fields(row: Mapping[str, Any], settings: Mapping[str, Any], trials: TrialsOf) -> dict[str, Any]:
    """Return an alpha's figures on validation and test, its place in the pool, and its luck by today's trials."""
    found = {name: row.get(name) for name in _PLAIN}
    found["origin"] = found["origin"] or "model"
    parents = found["parents"]
    found["parents"] = (json.loads(parents) if isinstance(parents, str) else parents) or []
    found["admitted"] = None if found["admitted"] is None else bool(found["admitted"])
    return {**found, **luck_by_trials(row, settings, trials)}


def luck_by_trials(row: Mapping[str, Any], settings: Mapping[str, Any], trials: TrialsOf) -> dict[str, Any]:
    """Return an alpha's luck by today's trials, nothing if its moments or the trials are unknown."""
    so_far = trials.get((row["source"], str(settings.get("panel", ""))))
    moments: list[Any] = [row.get(name) for name in MOMENTS]
    if so_far is None or None in moments:
        return {}
    measured = Moments(*moments)
    dsr = dsr_of(measured, so_far)
    return {
        "dsr": dsr,
        "luck": luck_of(dsr),
        "trials": so_far.count,
        "effective_trials": so_far.effective,
        "trials_variance": None if dsr is None else variance_over(measured.days, so_far),
    }
