"""Rows of the pool and of the trials: members and their correlations, splits of panels, counts and sample of trials.

The functions run in an open transaction of the store. Counts of trials only grow: they hold after rows are deleted.
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from generator.domain import BASIS, Evaluated, Origin, Ruleset, Source, Split
from generator.pool.luck import SAMPLE, Trials
from generator.pool.model import MOST_MEMBERS
from generator.storage.dialect import insert_of, lock_writers
from generator.storage.rows import evaluated_of
from generator.storage.schema import (
    DONE,
    CallRow,
    EvaluationRow,
    SplitRow,
    TrialCountRow,
    TrialSampleRow,
)

_REPLACED = "replaced by "
"""Beginning of a former member's reason."""


def panel_key(settings: Mapping[str, Any]) -> str:
    """Return the panel that the settings name; empty for BRAIN."""
    return str(settings.get("panel", ""))


def trial_of(digest: str, settings: Mapping[str, Any]) -> str:
    """Return the identity of a trial on its panel: the digest and the user's settings."""
    chosen = {name: value for name, value in settings.items() if name not in (*BASIS, "panel")}
    return f"{digest} {json.dumps(chosen, sort_keys=True)}"


def count_old_trials(connection: Connection) -> None:
    """Insert the counts of a database that has none: its distinct trials with figures."""
    row = EvaluationRow
    statement = select(row.source, row.digest, row.settings).where(row.state == DONE)
    trials = {
        (source, panel_key(settings), trial_of(digest, settings))
        for source, digest, settings in connection.execute(statement)
    }
    for (source, panel), count in Counter((source, panel) for source, panel, _ in trials).items():
        _add_trials(connection, source, panel, count)


def record_outcome(connection: Connection, evaluated: Evaluated, rules: Ruleset) -> None:
    """Record the changes of a new result beside its own row: the pool and the trials."""
    if evaluated.performance is None:
        return
    _update_members(connection, evaluated, rules)
    if evaluated.new_trial:
        _add_trials(connection, rules.source.value, panel_key(rules.settings), 1)
    _sample(connection, evaluated, rules)


def _update_members(connection: Connection, evaluated: Evaluated, rules: Ruleset) -> None:
    """Remove the members that an admitted alpha replaces, and raise the correlations of the others."""
    admission, row = evaluated.admission, EvaluationRow
    if admission is None or not admission.admitted:
        return
    under = (row.settings_key == rules.key, row.source == rules.source.value, row.admitted.is_(True))
    if admission.replaced:
        left = {"admitted": False, "admission": f"{_REPLACED}{evaluated.candidate.expression}", "pnl": None}
        connection.execute(update(row).where(*under, row.digest.in_(admission.replaced)).values(left))
    for digest, r in evaluated.correlations.items():
        lower = or_(row.self_correlation.is_(None), row.self_correlation < r)
        of_member = (row.digest == digest, row.settings_key == rules.key, row.source == rules.source.value)
        connection.execute(update(row).where(*of_member, lower).values(self_correlation=r))


def is_new_trial(connection: Connection, evaluated: Evaluated, rules: Ruleset, number: int) -> bool:
    """Return True if a result has figures and is its trial's first.

    Later results are of other data or another version.
    """
    if evaluated.performance is None:
        return False
    row, digest = EvaluationRow, evaluated.candidate.digest
    same = (row.digest == digest, row.source == rules.source.value, row.state == DONE, row.id != number)
    trial, panel = trial_of(digest, rules.settings), panel_key(rules.settings)
    return all(
        (trial_of(digest, settings), panel_key(settings)) != (trial, panel)
        for settings in connection.scalars(select(row.settings).where(*same))
    )


def _add_trials(connection: Connection, source: str, panel: str, count: int) -> None:
    values = {"source": source, "panel": panel, "trials": count, "sampled": 0, "distinct_sampled": 0}
    row = TrialCountRow
    grown = insert_of(connection)(row).values(values)
    connection.execute(
        grown.on_conflict_do_update(index_elements=["source", "panel"], set_={"trials": row.trials + count})
    )


def read_members(connection: Connection, rules: Ruleset, *, limit: int) -> Sequence[Evaluated]:
    """Return the members of a ruleset's pool, the highest train fitness first."""
    row = EvaluationRow
    statement = (
        select(*row.__table__.columns)
        .where(row.admitted.is_(True), row.settings_key == rules.key, row.source == rules.source.value)
        .order_by(row.fitness.desc(), row.digest)
        .limit(limit)
    )
    return [evaluated_of(dict(found)) for found in connection.execute(statement).mappings()]


class PoolMovedError(Exception):
    """Another lane or fleet admitted a member that an admission was not compared with."""


def member_ids(connection: Connection, rules: Ruleset, *, limit: int = MOST_MEMBERS) -> set[int]:
    """Return the row numbers of the members that `read_members` returns."""
    row = EvaluationRow
    statement = (
        select(row.id)
        .where(row.admitted.is_(True), row.settings_key == rules.key, row.source == rules.source.value)
        .order_by(row.fitness.desc(), row.digest)
        .limit(limit)
    )
    return set(connection.scalars(statement))


def require_known_members(connection: Connection, rules: Ruleset, known: Collection[int]) -> None:
    """Keep other admissions out until the transaction ends; raise PoolMovedError for a member that is not known."""
    lock_writers(connection)
    if not member_ids(connection, rules) <= set(known):
        raise PoolMovedError


def rank_of(digest: str) -> int:
    """Return a trial's rank in the sample.

    The sample are the trials of the smallest ranks. The sample is uniform and does not depend on order, machine or
    restarts.
    """
    return int.from_bytes(blake2b(digest.encode(), digest_size=8, key=b"trials").digest()) >> 1


def _sample(connection: Connection, evaluated: Evaluated, rules: Ruleset) -> None:
    """Put a trial into the sample if its rank is small enough; the largest rank leaves a full sample."""
    figures, row = evaluated.performance, TrialSampleRow
    if figures is None or figures.moments is None or not math.isfinite(figures.moments.sharpe):
        return
    digest = evaluated.candidate.digest
    of_panel = (row.source == rules.source.value, row.panel == panel_key(rules.settings))
    size, largest = connection.execute(select(func.count(), func.max(row.rank)).where(*of_panel)).one()
    rank = rank_of(digest)
    if size >= SAMPLE and rank > largest:
        return
    values = {
        "sharpe": figures.moments.sharpe,
        "last_day": last_day(rules.settings),
        "pnl": figures.pnl[: 4 * figures.moments.days],
    }
    key = {"source": rules.source.value, "panel": panel_key(rules.settings), "digest": digest, "rank": rank}
    new = insert_of(connection)(row).values({**key, **values})
    connection.execute(new.on_conflict_do_update(index_elements=["source", "panel", "digest"], set_=values))
    if size >= SAMPLE and rank < largest:
        grown = connection.scalar(select(func.count()).where(*of_panel))
        if grown is not None and grown > SAMPLE:
            connection.execute(delete(row).where(*of_panel, row.rank == largest))


def last_day(settings: Mapping[str, Any]) -> int:
    """Return a number for the day that a trial's PnL ends before or on; 0 if it is not known."""
    day = settings.get("test_from") or settings.get("last_date")
    return date.fromisoformat(day).toordinal() if isinstance(day, str) else 0


@dataclass(frozen=True, slots=True)
class SampledTrial:
    """A trial of the sample: its daily Sharpe ratio, and its PnL, which ends with `last_day`."""

    sharpe: float
    last_day: int
    pnl: bytes


def read_sample(
    connection: Connection, source: Source, settings: Mapping[str, Any]
) -> Sequence[SampledTrial]:
    """Return the sample of the settings' panel, in the order of the ranks."""
    row = TrialSampleRow
    statement = (
        select(row.sharpe, row.last_day, row.pnl)
        .where(row.source == source.value, row.panel == panel_key(settings))
        .order_by(row.rank)
    )
    return [SampledTrial(*found) for found in connection.execute(statement)]


def read_trials(connection: Connection, source: Source, settings: Mapping[str, Any]) -> Trials:
    """Return the trials of a source on the settings' panel."""
    row = TrialCountRow
    statement = select(row.trials, row.sampled, row.distinct_sampled, row.variance).where(
        row.source == source.value, row.panel == panel_key(settings)
    )
    found = connection.execute(statement).first()
    return Trials() if found is None else Trials(*found)


def write_trials(
    connection: Connection, source: Source, settings: Mapping[str, Any], trials: Trials, now: float
) -> None:
    """Store the figures of the sample; the count stays unchanged."""
    row = TrialCountRow
    connection.execute(
        update(row)
        .where(row.source == source.value, row.panel == panel_key(settings))
        .values(
            sampled=trials.sampled, distinct_sampled=trials.distinct, variance=trials.variance, updated=now
        )
    )


def read_split(connection: Connection, panel: str) -> Split | None:
    """Return the stored split of a panel."""
    row = SplitRow
    found = connection.execute(select(row.validation_from, row.test_from).where(row.panel == panel)).first()
    return None if found is None else Split(*map(date.fromisoformat, found))


def write_split(connection: Connection, panel: str, split: Split, now: float) -> None:
    """Store the split of a panel in the place of an earlier one."""
    dates = {**split.as_json(), "created": now}
    new = insert_of(connection)(SplitRow).values(panel=panel, **dates)
    connection.execute(new.on_conflict_do_update(index_elements=["panel"], set_=dates))


def read_theme_results(connection: Connection, rules: Ruleset, *, limit: int) -> list[tuple[int, bool]]:
    """Return the seeds of calls with the admission of each of their alphas, the oldest first; the newest `limit`.

    A former member was admitted once.
    """
    row = EvaluationRow
    statement = (
        select(CallRow.seed, or_(row.admitted.is_(True), row.admission.startswith(_REPLACED)))
        .join(CallRow, CallRow.id == row.call_id)
        .where(
            row.state == DONE,
            row.settings_key == rules.key,
            row.source == rules.source.value,
            row.origin == Origin.MODEL.value,
            row.admitted.is_not(None),
        )
        .order_by(row.time.desc(), row.id.desc())
        .limit(limit)
    )
    return [(seed, bool(admitted)) for seed, admitted in reversed(connection.execute(statement).all())]
