"""Files to tables: Parquet, or CSV in whatever dialect it is written."""

import csv
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from generator.backtest.errors import PanelError
from generator.backtest.loading.columns import find_date, find_symbol
from generator.backtest.loading.memory import require_room_to_read

PARQUET = {".parquet", ".pq"}
_COMMA_NUMBER = re.compile(r"[-+]?\d+,\d+")
_HEAD = 2000
_NO_MEMORY = "Cannot allocate memory"
_CELL = 24  # bytes that a cell of a table takes at most while it becomes a panel


@dataclass(frozen=True, slots=True)
class Table:
    """A frame, the number of its first row in the file (a CSV's header is row 1), and how its texts write 1.5."""

    frame: pl.DataFrame
    first_row: int
    decimal_comma: bool = False


def read_table(path: Path, free: int) -> Table:
    """Return a file's table; raise PanelError for one that is none, or too large for `free` bytes."""
    try:
        size = path.stat().st_size
        if size == 0:
            raise PanelError(f"{path}: the file is empty")
        with path.open("rb") as stream:
            begin = stream.read(4)
    except OSError as error:
        raise PanelError(f"{path} cannot be read: {error.strerror}", hint="Check the path.") from error
    if begin == b"PAR1":
        return _parquet(path, free)
    if path.suffix.lower() in PARQUET:
        raise PanelError(f"{path}: this is no Parquet file", hint="Write it again, or name a CSV file .csv.")
    require_room_to_read(path, 2 * size, free)
    return _csv(path)


def _parquet(path: Path, free: int) -> Table:
    try:
        scan = pl.scan_parquet(path)
        columns = len(scan.collect_schema())
        rows = scan.select(pl.len()).collect().item()
        require_room_to_read(path, rows * columns * _CELL, free)
        frame = pl.read_parquet(path, use_pyarrow=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        if _NO_MEMORY in str(error):
            raise MemoryError(str(error)) from error
        raise PanelError(
            f"{path}: this Parquet file cannot be read: {_line(error)}", hint="Write it again."
        ) from error
    return Table(frame, 1)


@dataclass(frozen=True, slots=True)
class _Dialect:
    separator: str
    decimal_comma: bool
    header: list[str]


def _csv(path: Path) -> Table:
    dialect = _dialect(path)
    repeated = sorted({name for name in dialect.header if dialect.header.count(name) > 1})
    if repeated:
        raise PanelError(
            f"{path}: row 1: the column {repeated[0]!r} is there twice", hint="Name each column once."
        )
    try:
        frame = _typed(path, dialect)
    except pl.exceptions.PolarsError:
        frame = _as_text(path, dialect)
    return Table(frame, 2, decimal_comma=dialect.decimal_comma)


def _dialect(path: Path) -> _Dialect:
    lines = _first_lines(path)
    if not lines or not lines[0].strip():
        raise PanelError(f"{path}: row 1 is empty, and should name the columns")
    header = lines[0]
    separator = max(",;\t|", key=header.count)
    if separator not in header:
        raise PanelError(
            f"{path}: row 1 has one column only: {header.strip()[:60]!r}",
            hint="Separate columns by commas, semicolons or tabs, and name them in the first row.",
        )
    cells = itertools.chain.from_iterable(csv.reader(lines[1:], delimiter=separator))
    comma = separator != "," and any(_COMMA_NUMBER.fullmatch(cell.strip()) for cell in cells)
    names = next(csv.reader([header], delimiter=separator))
    return _Dialect(separator, comma, [name.strip() for name in names])


def _first_lines(path: Path) -> list[str]:
    """Return the first lines as text; raise PanelError where the file is not UTF-8."""
    raw = pl.read_csv(
        path, has_header=False, separator="\x01", quote_char=None, n_rows=50, encoding="utf8-lossy",
        infer_schema=False, truncate_ragged_lines=True,
    ).to_series(0).cast(pl.String).fill_null("").to_list()  # fmt: skip
    if any("\x00" in line for line in raw):
        raise PanelError(
            f"{path}: this is no text in UTF-8 (it may be UTF-16)",
            hint="Save it as CSV UTF-8, or as Parquet.",
        )
    return [line.removeprefix("\ufeff") for line in raw]


def _typed(path: Path, dialect: _Dialect) -> pl.DataFrame:
    """Read numbers as numbers, by what the first rows hold; raise PolarsError if a later cell is none."""
    comma = dialect.decimal_comma
    head = _read(path, dialect, decimal_comma=comma, n_rows=_HEAD, infer_schema_length=_HEAD)
    texts = {find_date(head.columns), find_symbol(head.columns)}
    schema = {
        name: pl.Float64() if kind.is_numeric() and name not in texts else pl.String()
        for name, kind in head.schema.items()
    }
    return _read(path, dialect, decimal_comma=comma, schema_overrides=schema)


def _as_text(path: Path, dialect: _Dialect) -> pl.DataFrame:
    """Read every cell as it stands."""
    try:
        return _read(path, dialect, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise PanelError(
            f"{path}: {_ragged(path, dialect) or _line(error)}", hint="Give every row a cell for each column."
        ) from error


def _read(path: Path, dialect: _Dialect, **options: Any) -> pl.DataFrame:
    return pl.read_csv(path, separator=dialect.separator, encoding="utf8-lossy", **options)


def _ragged(path: Path, dialect: _Dialect) -> str:
    """Return a sentence that names the first row with another number of cells than the header."""
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        for number, cells in enumerate(csv.reader(stream, delimiter=dialect.separator), start=1):
            if cells and len(cells) > len(dialect.header):
                return f"row {number} has {len(cells)} cells, and there are {len(dialect.header)} columns"
    return ""


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
