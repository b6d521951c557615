"""`hopeful_alphas.json`: kept alphas of real markets, in a format shared with other scripts.

Other programs read the file at any time and delete rows. Each write reads the file again, adds
rows and replaces the file atomically, under a lock of its own. A damaged file is renamed, never overwritten.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.logging import with_sentence
from fleet.runtime.units import Seconds
from generator.domain import Evaluated

_LOCK_TIMEOUT: Seconds = 1.0
_log = logging.getLogger(__name__)


class HopefulFile:
    """Writes the file under its lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, alphas: Sequence[Evaluated]) -> bool:
        """Merge alphas into the file; log the reason and return False if it cannot be written."""
        from filelock import FileLock, Timeout  # noqa: PLC0415  # not before there is something to write

        lock = FileLock(
            self._path.with_name(self._path.name + ".lock"), timeout=_LOCK_TIMEOUT, fallback_to_soft=False
        )
        try:
            with lock:
                self._merge([hopeful_row(one) for one in alphas])
        except (OSError, Timeout) as error:
            sentence = f"{self._path} cannot be written: {error}; the next kept alpha tries again"
            _log.error("hopeful.unwritten", extra=with_sentence(sentence, path=self._path))
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
        sentence = f"{self._path} was damaged and is now {aside.name}; a new file is created"
        _log.error("hopeful.damaged", extra=with_sentence(sentence, path=self._path, aside=aside))
        return []


def merge(present: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the file's rows with the new ones: one row an expression, BRAIN's figures instead of a panel's."""
    merged = list(present)
    positions = {
        str(row.get("expression")): position for position, row in enumerate(merged) if isinstance(row, dict)
    }
    for row in rows:
        position = positions.get(row["expression"])
        if position is None:
            positions[row["expression"]] = len(merged)
            merged.append(dict(row))
        elif row["alpha_id"] and not merged[position].get("alpha_id"):
            merged[position] = dict(row)
    return merged


def hopeful_row(evaluated: Evaluated) -> dict[str, Any]:
    """Return an alpha's row; `timestamp` is Unix seconds."""
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
