"""Reader of one alpha: its row, the call that it came from, and its simulations."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generator.pool.stored import Rows, has_pool, pool_fields, stored_trials
from generator.storage.read import decoded, open_database

_JSON = ("settings", "checks", "parents")
_BINARY = frozenset({"pnl"})


@dataclass(frozen=True, slots=True)
class AlphaDetails:
    """The database's data on an alpha; `call` is None for an alpha without a call of a model.

    The keys are the columns of the tables, and the luck by today's trials. A database of an older version lacks the
    newer columns.
    """

    alpha: Mapping[str, Any]
    call: Mapping[str, Any] | None = None
    simulations: list[Mapping[str, Any]] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return the data as one JSON object."""
        return {**self.alpha, "call": self.call, "simulations": self.simulations}


def alpha_details(location: Path | str, number: int) -> AlphaDetails | None:
    """Return the alpha with this id, None if there is none; raise DatabaseUnreadError."""
    with open_database(location) as rows:
        if rows is None or number > sys.maxsize:  # the drivers refuse a larger number
            return None
        found = _first(rows, "SELECT * FROM evaluations WHERE id = :id", {"id": number})
        if found is None:
            return None
        alpha = {name: value for name, value in found.items() if name not in _BINARY}
        alpha |= {name: decoded(alpha[name]) for name in _JSON if name in alpha}
        alpha["kept"] = bool(alpha["kept"])
        if has_pool(rows):
            alpha |= pool_fields(alpha, alpha["settings"] or {}, stored_trials(rows))
        call = _first(rows, "SELECT * FROM calls WHERE id = :id", {"id": alpha.get("call_id")})
        simulations = rows(
            "SELECT * FROM simulations WHERE digest = :digest AND settings_key = :key ORDER BY id",
            {"digest": alpha["digest"], "key": alpha["settings_key"]},
        )
        return AlphaDetails(alpha, call, [dict(row) for row in simulations])


def _first(rows: Rows, statement: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
    return next((dict(row) for row in rows(statement, values)), None)
