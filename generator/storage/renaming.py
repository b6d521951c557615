"""Digests of stored expressions, made anew after a change of the canonical form."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from sqlalchemy import Connection, bindparam, select, update

from fleet.runtime.logging import fields
from generator.catalogue import Catalogue, DataField, Kind, load_catalogue
from generator.language import ExpressionError, canonical, digest, parse, show
from generator.storage.schema import EvaluationRow, SimulationRow

Row: TypeAlias = Mapping[str, Any]

_log = logging.getLogger(__name__)
_PAGE = 500
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def rename_expressions(connection: Connection) -> None:
    """Store each expression's canonical form and digest of today, and the digest with what BRAIN was sent for it.

    An expression that the catalogue of this version cannot read keeps what it has, and so does one whose new
    digest another row holds already: at worst it is tried once more.
    """
    last, renamed = 0, 0
    while rows := _page(connection, last):
        last = rows[-1]["id"]
        found = [row for row in _settled(rows) if row["name"] != row["digest"]]
        held = _held(connection, [row["name"] for row in found])
        fresh = []
        for row in found:
            key = (row["name"], row["settings_key"], row["source"])
            if key not in held:
                held.add(key)
                fresh.append(row)
        if fresh:
            _rename(connection, fresh)
            renamed += len(fresh)
    if renamed:
        _log.info("database.renamed", extra=fields(expressions=renamed))


def _page(connection: Connection, last: int) -> list[Row]:
    """Return the next rows whose canonical form is not what was written: only those can have another now."""
    row = EvaluationRow
    statement = (
        select(row.id, row.digest, row.settings_key, row.source, row.expression, row.canonical)
        .where(row.id > last, row.expression != row.canonical)
        .order_by(row.id)
        .limit(_PAGE)
    )
    return [dict(found) for found in connection.execute(statement).mappings()]


def _settled(rows: list[Row]) -> Iterator[Row]:
    """Yield the rows that can be read, each with its `form` and `name` of today."""
    catalogue = _reading([row["expression"] for row in rows])
    for row in rows:
        try:
            form = canonical(parse(row["expression"], catalogue), catalogue)
            yield {**row, "form": show(form), "name": digest(form)}
        except (ExpressionError, KeyError):
            continue


def _reading(expressions: Iterable[str]) -> Catalogue:
    """Return a catalogue with all operators, in which whatever is no operator or word is a field."""
    known = load_catalogue(higher=True)
    names = {name for text in expressions for name in _IDENTIFIER.findall(text)}
    names -= known.operators.keys() | known.words
    return Catalogue(known.operators, {name: DataField(name, Kind.MATRIX) for name in names})


def _held(connection: Connection, names: list[str]) -> set[tuple[str, str, str]]:
    """Return which of these digests rows have, under which settings and source."""
    row = EvaluationRow
    statement = select(row.digest, row.settings_key, row.source).where(row.digest.in_(names))
    return {(name, key, source) for name, key, source in connection.execute(statement)}


def _rename(connection: Connection, rows: list[Row]) -> None:
    """Write the new digests, all rows in one statement: one by one takes twenty times as long."""
    of_row = update(EvaluationRow).where(EvaluationRow.id == bindparam("id_"))
    values = [{"id_": row["id"], "digest": row["name"], "canonical": row["form"]} for row in rows]
    connection.execute(of_row, values)
    sent = update(SimulationRow).where(
        SimulationRow.digest == bindparam("old"), SimulationRow.settings_key == bindparam("key")
    )
    values = [{"old": row["digest"], "key": row["settings_key"], "digest": row["name"]} for row in rows]
    connection.execute(sent, values)
