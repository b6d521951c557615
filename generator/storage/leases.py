"""Leases: an owner holds its pending candidates while it renews its lease, by the database's clock.

Any owner may claim a candidate of an owner without a lease. Each claim raises the candidate's fencing number (`claim`).
`AlphaStore.finish` stores a result only under the number at the beginning of its evaluation.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, exists, func, literal_column, select, true, update

from fleet.runtime.units import Seconds
from generator.domain import Candidate, Ruleset, Source
from generator.storage.dialect import database_time, insert_of, lock_writers
from generator.storage.rows import CANDIDATE_COLUMNS, candidate_of
from generator.storage.schema import OPEN, QUEUED, EvaluationRow, LeaseRow, SimulationRow
from generator.storage.store import AlphaStore


def renew(store: AlphaStore, seconds: Seconds) -> bool:
    """Renew the owner's lease; return False if it had none: others may have claimed its candidates."""
    with store.transaction() as connection:
        now = database_time(connection)
        until = connection.scalar(select(LeaseRow.until).where(LeaseRow.owner == store.owner))
        _hold(connection, store.owner, now + seconds)
    return until is not None and until > now


def take_turn(store: AlphaStore, name: str, holder: str, seconds: Seconds) -> Seconds:
    """Take a turn that one holder has at a time. Return the seconds that another holder still has it, else 0."""
    row = LeaseRow
    others = select(func.max(row.until)).where(
        row.owner.startswith(f"{name} "), row.owner != f"{name} {holder}"
    )
    with store.transaction() as connection:
        lock_writers(connection)
        now = database_time(connection)
        until = connection.scalar(others) or 0.0
        if until > now:
            return float(until - now)
        _hold(connection, f"{name} {holder}", now + seconds)
    return 0.0


def hold_turn(store: AlphaStore, name: str, holder: str, seconds: Seconds) -> None:
    """Keep a turn for this long from now on; 0 ends it."""
    with store.transaction() as connection:
        _hold(connection, f"{name} {holder}", database_time(connection) + seconds)


def _hold(connection: Connection, name: str, until: float) -> None:
    statement = insert_of(connection)(LeaseRow).values(owner=name, until=until)
    connection.execute(statement.on_conflict_do_update(index_elements=["owner"], set_={"until": until}))


def claim(store: AlphaStore, rules: Ruleset, *, limit: int) -> Sequence[Candidate]:
    """Claim at most `limit` pending candidates of owners without a lease, the oldest first.

    Before them come all that BRAIN simulates already, beyond `limit`: they need no new slot, and hold one until polled.
    """
    with store.transaction() as connection:
        if connection.dialect.name == "sqlite":
            lock_writers(connection)
        sent: list[Candidate] = []
        if rules.source is Source.BRAIN:
            sent = _claimed(connection, rules, store.owner, _sent(rules), None)
        found = sent + _claimed(connection, rules, store.owner, true(), limit)
        if found and rules.source is Source.BRAIN:
            _claim_simulations(connection, [one.digest for one in found], rules, store.owner)
    return found


def _sent(rules: Ruleset) -> ColumnElement[bool]:
    row = SimulationRow
    return exists().where(
        row.digest == EvaluationRow.digest,
        row.settings_key == rules.key,
        row.state.in_(sorted(OPEN - {QUEUED})),
    )


def _claimed(
    connection: Connection, rules: Ruleset, owner: str, which: ColumnElement[bool], limit: int | None
) -> list[Candidate]:
    row, lease = EvaluationRow, LeaseRow
    held = exists().where(lease.owner == row.owner, lease.until > database_time(connection))
    abandoned = (
        select(row.id)
        .where(
            # As a literal: only then is the partial index of pending rows used.
            row.state == literal_column("'pending'"),
            row.settings_key == rules.key,
            row.source == rules.source.value,
            row.owner != owner,
            ~held,
            which,
        )
        .order_by(row.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=row)
    )
    columns = [getattr(row, name) for name in ("id", *CANDIDATE_COLUMNS)]
    claimed = (
        update(row).where(row.id.in_(abandoned)).values(owner=owner, claim=row.claim + 1).returning(*columns)
    )
    found = sorted(connection.execute(claimed).mappings(), key=lambda one: int(one["id"]))
    return [candidate_of(dict(one)) for one in found]


def _claim_simulations(connection: Connection, digests: Sequence[str], rules: Ruleset, owner: str) -> None:
    row = SimulationRow
    ours = (row.digest.in_(digests), row.settings_key == rules.key, row.state.in_(sorted(OPEN)))
    connection.execute(update(row).where(*ours).values(owner=owner))
