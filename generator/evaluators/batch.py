"""A batch of variants on its way to a dask worker and back, as JSON text (pure).

A worker is another machine's program. Its answer is read field by field, and refused for a number that is not finite.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from math import isfinite, isnan, nan
from typing import Any

from fleet.config.keep_rule import COUNTS, METRICS
from fleet.runtime.errors import GeneratorError
from fleet.runtime.untrusted import printable
from generator.domain import AlphaFigures, ExpressionFault, Moments, Result, Split, Stretch

_MOST_TEXT = 2000
_MOST_CHECKS = 100
_MOST_DAYS = 100_000
_FLOAT32 = 4


class BatchError(GeneratorError):
    """A worker's answer, or a job, that cannot be read."""


@dataclass(frozen=True, slots=True)
class Job:
    """Expressions to be evaluated on a panel, by its content hash; `settings` are those of `[panel]`."""

    panel: str
    settings: Mapping[str, Any]
    split: Split | None
    expressions: Sequence[str]

    def as_text(self) -> str:
        """Return the job as JSON."""
        return json.dumps({**asdict(self), "split": None if self.split is None else self.split.as_json()})


def read_job(text: str) -> Job:
    """Return the job of a text; raise BatchError if it is none."""
    try:
        row = json.loads(text)
        split = row["split"] and Split(
            date.fromisoformat(row["split"]["validation_from"]), date.fromisoformat(row["split"]["test_from"])
        )
        return Job(str(row["panel"]), dict(row["settings"]), split, [str(one) for one in row["expressions"]])
    except (ValueError, KeyError, TypeError) as error:
        raise BatchError(f"the job cannot be read: {error}") from error


def results_text(results: Sequence[Result]) -> str:
    """Return results as JSON; NaN is null there."""
    return json.dumps({"results": [_row(one) for one in results]}, allow_nan=False)


def _row(result: Result) -> dict[str, Any]:
    if isinstance(result, ExpressionFault):
        return {"fault": result.reason}
    pnl = base64.b64encode(result.pnl).decode("ascii")
    row: dict[str, Any] = _without_nan({**asdict(result), "pnl": pnl, "checks": list(result.checks)})
    return row


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and isnan(value) else value


def read_results(text: str, count: int) -> list[Result]:
    """Return the results of a worker's answer, `count` of them; raise BatchError if it is malformed."""
    try:
        rows = _list(json.loads(text, parse_constant=_refuse)["results"])
        return [_result(row) for row, _ in zip(rows, range(count), strict=True)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BatchError(f"a worker's answer cannot be read: {printable(str(error))}") from error


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no finite number")


def _result(row: Mapping[str, Any]) -> Result:
    if "fault" in row:
        return ExpressionFault(_text(row["fault"]) or "the worker gives no reason")
    pnl = base64.b64decode(row["pnl"], validate=True)
    days = _optional_whole(row["days"])
    _check_series(pnl, days)
    figures: dict[str, Any] = {name: _number(row[name]) for name in (*METRICS, *COUNTS) if name != "days"}
    return AlphaFigures(
        **figures,
        days=days,
        checks=_checks(row["checks"]),
        grade=None if row["grade"] is None else _text(row["grade"]),
        reason=_text(row["reason"]),
        validation=_stretch(row["validation"]),
        test=_stretch(row["test"]),
        moments=_moments(row["moments"]),
        pnl=pnl,
    )


def _check_series(pnl: bytes, days: int | None) -> None:
    """Raise ValueError unless the bytes are finite float32 numbers, at least `days` of them."""
    if len(pnl) % _FLOAT32 or len(pnl) > _FLOAT32 * _MOST_DAYS or len(pnl) < _FLOAT32 * (days or 0):
        raise ValueError(f"its daily PnL has {len(pnl)} bytes for {days} days")
    if not all(map(isfinite, memoryview(pnl).cast("f"))):
        raise ValueError("its daily PnL is not finite")


def _number(value: Any) -> float:
    """Return a finite number, NaN for null."""
    if value is None:
        return nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_DAYS:
        raise ValueError(f"{value!r} is no number of days")
    return value


def _optional_whole(value: Any) -> int | None:
    return None if value is None else _whole(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return printable(value, _MOST_TEXT)


def _checks(rows: Any) -> list[dict[str, Any]]:
    few = _list(rows)[:_MOST_CHECKS]
    return [{_text(name): _scalar(value) for name, value in row.items()} for row in few]


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    return _text(value) if isinstance(value, str) else _number(value)


def _stretch(row: Any) -> Stretch | None:
    if row is None:
        return None
    figures = {name: _number(row[name]) for name in ("sharpe", "turnover", "fitness", "returns")}
    return Stretch(**figures, days=_whole(row["days"]))


def _moments(row: Any) -> Moments | None:
    if row is None:
        return None
    figures = {name: _number(row[name]) for name in ("sharpe", "skewness", "kurtosis")}
    return Moments(**figures, days=_whole(row["days"]))
