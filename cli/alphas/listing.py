"""`alphas`: list the best alphas so far, or export them to a file."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.target import Fleet
from fleet.runtime.errors import ConfigError, FleetError
from fleet.runtime.logging import plain_text
from generator.storage.read import AlphaRow, Filters, best_alphas, database_location

_FIGURES = ("fitness", "sharpe", "turnover", "returns", "drawdown", "margin")
_JUDGED = (
    "validation_sharpe", "validation_fitness", "test_sharpe", "test_fitness", "self_correlation", "dsr",
    "effective_trials", "trials_variance",
)  # fmt: skip
_SHOWN = 20
_ALL = 2**31 - 1
_NUMBERS = 5
_NESTED = ("settings", "checks", "parents")


def find_alphas(
    fleet: Fleet, filters: Filters, *, sort: str, reverse: bool, limit: int | None, export: bool
) -> Sequence[AlphaRow]:
    """Return the fleet's alphas, best first (worst first if `reverse`).

    The default limit is 20 for a listing and none for an export.
    """
    place = database_location(fleet.settings.generator.database, fleet.home)
    count = limit or (_ALL if export else _SHOWN)
    return best_alphas(place, count, sort=sort, worst=reverse, filters=filters)


def alpha_rows(alphas: Sequence[AlphaRow]) -> list[dict[str, Any]]:
    """Return the JSON rows of alphas; `time` is in Unix seconds."""
    return [alpha_row(alpha) for alpha in alphas]


def alpha_row(alpha: AlphaRow) -> dict[str, Any]:
    """Return the JSON row of an alpha."""
    return asdict(alpha)


def alpha_lines(alphas: Sequence[AlphaRow], *, filtered: bool) -> list[str]:
    """Return a table of alphas for a terminal: figures, source, model, time, expression."""
    if not alphas:
        return ["no alpha passes these filters" if filtered else "there are no alphas yet"]
    table: list[tuple[str, ...]] = [
        (
            "fitness",
            "Sharpe",
            "turnover",
            "returns",
            "test",
            "kept",
            "pool",
            "luck",
            "source",
            "model",
            "time (UTC)",
            "id",
            "",
        ),
        *map(_cells, alphas),
    ]
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]) - 1)]
    return [*(_line(row, widths) for row in table), *_trials(alphas)]


def _trials(alphas: Sequence[AlphaRow]) -> list[str]:
    """Return a line for each number of trials behind marks; nothing without a mark."""
    marked = [alpha for alpha in alphas if alpha.luck is not None]
    seen = {(alpha.source, alpha.trials, alpha.effective_trials or 0.0) for alpha in marked}
    return [
        f"luck by {trials} trials so far ({source}), of which {effective:.0f} differ"
        for source, trials, effective in sorted(seen, key=str)
    ]


def _cells(alpha: AlphaRow) -> tuple[str, ...]:
    figures = (alpha.fitness, alpha.sharpe, alpha.turnover, alpha.returns)
    test = "" if alpha.test_sharpe is None else f"{alpha.test_sharpe:.2f}"
    return (
        *("none" if value is None else f"{value:.2f}" for value in figures),
        test,
        "yes" if alpha.kept else "",
        "yes" if alpha.admitted else "",
        alpha.luck or "",
        alpha.source,
        plain_text(alpha.model),
        f"{_utc(alpha.time):%m-%d %H:%M}",
        str(alpha.id),
        plain_text(alpha.expression if alpha.reason is None else f"{alpha.expression} ({alpha.reason})"),
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if place < _NUMBERS else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  ".join([*cells, row[-1]]).rstrip()


def _utc(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def format_of(path: Path) -> str:
    """Return the export format of a file's suffix; raise ConfigError for an unknown suffix."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in _WRITERS:
        raise ConfigError(
            f"--export: {path.name!r} ends in none of .csv, .json and .parquet",
            hint="The suffix names the format of the file.",
        )
    return suffix


def export(alphas: Sequence[AlphaRow], path: Path) -> None:
    """Write alphas to a file, atomically, in its suffix's format; raise FleetError if the write fails."""
    content = _WRITERS[format_of(path)](alphas)
    part = path.with_name(f".{path.name}.part")
    try:
        # Default permissions: unlike our own files, an export is meant for others.
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise FleetError(
            f"{path} cannot be written: {error.strerror}", hint="Check its folder, permissions and disk."
        ) from error


def _json(alphas: Sequence[AlphaRow]) -> bytes:
    return (json.dumps(alpha_rows(alphas), indent=2) + "\n").encode()


def _csv(alphas: Sequence[AlphaRow]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(AlphaRow.__slots__)
    writer.writerows(_flat(alpha, time=_utc(alpha.time).isoformat()).values() for alpha in alphas)
    return out.getvalue().encode()


def _parquet(alphas: Sequence[AlphaRow]) -> bytes:
    try:
        import polars as pl  # noqa: PLC0415  # the import takes 0.25 s
    except ModuleNotFoundError as error:
        raise FleetError(
            "Parquet needs the package polars, which is not installed",
            hint="Install it with: pip install polars; or export to .csv or .json.",
        ) from error
    text, number, whole = pl.String, pl.Float64, pl.Int64
    types: dict[str, Any] = {
        "time": pl.Datetime("us", "UTC"),
        **dict.fromkeys(("kept", "admitted"), pl.Boolean),
        **dict.fromkeys(("id", "days", "failed_checks", "trials"), whole),
        **dict.fromkeys((*_FIGURES, *_JUDGED, "long_count", "short_count"), number),
    }  # fmt: skip
    rows = [_flat(alpha, time=_utc(alpha.time)) for alpha in alphas]
    schema = {name: types.get(name, text) for name in AlphaRow.__slots__}
    out = io.BytesIO()
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(out)
    return out.getvalue()


def _flat(alpha: AlphaRow, *, time: object) -> dict[str, Any]:
    """Return an alpha as a flat row; nested values become JSON text."""
    row = asdict(alpha)
    return {**row, **{name: json.dumps(row[name]) for name in _NESTED}, "time": time}


_WRITERS: Mapping[str, Callable[[Sequence[AlphaRow]], bytes]] = {
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
}
