"""`hopeful_alphas.json`: the alphas worth a look, in the original's form, shared with its scripts.

Others delete from it and may read it at any time: it is read again before each write, only added to, and
replaced in one step, under a lock of its own. A damaged file is set aside and never overwritten.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.logging import tell
from fleet.runtime.units import Seconds
from generator.domain import Evaluated

_LOCK_TIMEOUT: Seconds = 1.0
_log = logging.getLogger(__name__)


class HopefulFile:
    """The file and its lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, alphas: Sequence[Evaluated]) -> bool:
        """Merge alphas into the file; return False, having told why, if it cannot be written now."""
        from filelock import FileLock, Timeout  # noqa: PLC0415  # not before there is something to write

        lock = FileLock(
            self._path.with_name(self._path.name + ".lock"), timeout=_LOCK_TIMEOUT, fallback_to_soft=False
        )
        try:
            with lock:
                self._merge([hopeful_row(one) for one in alphas])
        except (OSError, Timeout) as error:
            sentence = f"{self._path} cannot be written: {error}; it is brought up to date later"
            _log.error("hopeful.unwritten", extra=tell(sentence, path=self._path))
            return False
        return True

    def _merge(self, rows: Sequence[Mapping[str, Any]]) -> None:
        present = self._read()
        merged = merge(present, rows)
        if merged != present:
            replace_text(self._path, json.dumps(merged, indent=2) + "\n", durable=True)

    def _read(self) -> list[Any]:
        try:
            rows = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except (ValueError, RecursionError):
            rows = None
        if isinstance(rows, list):
            return rows
        aside = self._path.with_name(f"{self._path.name}.corrupt-{time.time_ns() // 10**6}")
        self._path.rename(aside)
        sentence = f"{self._path} was damaged and is set aside as {aside.name}; a new one is begun"
        _log.error("hopeful.damaged", extra=tell(sentence, path=self._path, aside=aside))
        return []


def merge(present: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the file's rows with the new ones: an expression once, and BRAIN's figures rather than a panel's."""
    merged = list(present)
    places = {str(row.get("expression")): place for place, row in enumerate(merged) if isinstance(row, dict)}
    for row in rows:
        place = places.get(row["expression"])
        if place is None:
            places[row["expression"]] = len(merged)
            merged.append(dict(row))
        elif row["alpha_id"] and not merged[place].get("alpha_id"):
            merged[place] = dict(row)
    return merged


def hopeful_row(evaluated: Evaluated) -> dict[str, Any]:
    """Return an alpha's row in the original's form; `timestamp` is Unix seconds as it wrote them."""
    if evaluated.performance is None:
        raise ValueError("an evaluation without figures is not hopeful")
    figures = evaluated.performance.figures()
    return {
        "expression": evaluated.candidate.expression,
        "timestamp": int(evaluated.time),
        "alpha_id": evaluated.performance.alpha_id,
        "fitness": figures["fitness"],
        "sharpe": figures["sharpe"],
        "turnover": figures["turnover"],
        "returns": figures["returns"],
        "grade": evaluated.performance.grade,
        "checks": [dict(check) for check in evaluated.performance.checks],
    }
