"""Digests of stored expressions, made anew after a change of the canonical form."""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.orm import aliased

from fleet.logs import fields
from generator.catalogue import Catalogue, DataField, Kind, load_catalogue
from generator.language import ExpressionError, canonical, digest, parse, show
from generator.storage.models import EvaluationRow, SimulationRow

_log = logging.getLogger(__name__)
_PAGE = 1000
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def rename_expressions(connection: Connection) -> None:
    """Store each expression's canonical form and digest of today, and the digest with what BRAIN was sent for it.

    An expression that the catalogue of this version cannot read keeps what it has, and so does one whose new
    digest another row holds already: at worst it is tried once more.
    """
    last, renamed = 0, 0
    while rows := _page(connection, last):
        last = rows[-1]["id"]
        for row, form, name in _settled(rows):
            renamed += _rename(connection, row, form, name)
    if renamed:
        _log.info("database.renamed", extra=fields(expressions=renamed))


def _page(connection: Connection, last: int) -> list[Mapping[str, Any]]:
    """Return the next rows whose canonical form is not what was written: only those can have another now."""
    row = EvaluationRow
    statement = (
        select(row.id, row.digest, row.settings_key, row.source, row.expression, row.canonical)
        .where(row.id > last, row.expression != row.canonical)
        .order_by(row.id)
        .limit(_PAGE)
    )
    return [dict(found) for found in connection.execute(statement).mappings()]


def _settled(rows: list[Mapping[str, Any]]) -> Iterable[tuple[Mapping[str, Any], str, str]]:
    catalogue = _reading([row["expression"] for row in rows])
    for row in rows:
        try:
            form = canonical(parse(row["expression"], catalogue), catalogue)
            yield row, show(form), digest(form)
        except (ExpressionError, KeyError):
            continue


def _reading(expressions: Iterable[str]) -> Catalogue:
    """Return a catalogue with all operators, in which whatever is no operator or word is a field."""
    known = load_catalogue(higher=True)
    names = {name for text in expressions for name in _IDENTIFIER.findall(text)}
    names -= known.operators.keys() | known.words
    return Catalogue(known.operators, {name: DataField(name, Kind.MATRIX) for name in names})


def _rename(connection: Connection, row: Mapping[str, Any], form: str, name: str) -> int:
    other = aliased(EvaluationRow)
    taken = select(other.id).where(
        other.digest == name, other.settings_key == row["settings_key"], other.source == row["source"]
    )
    if name == row["digest"] or connection.scalar(taken) is not None:
        return 0
    of_row = update(EvaluationRow).where(EvaluationRow.id == row["id"])
    connection.execute(of_row.values(digest=name, canonical=form))
    sent = update(SimulationRow).where(
        SimulationRow.digest == row["digest"], SimulationRow.settings_key == row["settings_key"]
    )
    connection.execute(sent.values(digest=name))
    return 1
