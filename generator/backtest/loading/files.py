"""Readers of files: Parquet, or CSV of any dialect, to a table."""

import csv
import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from generator.backtest.errors import PanelError
from generator.backtest.loading.columns import fields_among, find_date, find_symbol, is_unnamed
from generator.backtest.loading.memory import require_memory_to_read
from generator.backtest.loading.parse import as_numbers
from generator.backtest.loading.text import first_lines, open_text, require_text

PARQUET = {".parquet", ".pq"}
_HEAD_ROWS = 2000
_SAVE_AGAIN = "Save it again as CSV UTF-8, or as Parquet."
_NO_MEMORY = "Cannot allocate memory"
_CELL_BYTES = 24  # most bytes that a cell needs while its table becomes a panel
_COMMA_NUMBER = r"^\s*[-+]?(\d+,\d+|\d{1,3}(\.\d{3})+,\d+)\s*$"
_COMMA_THOUSANDS = r"^\s*[-+]?[1-9]\d{0,2}(,\d{3})+\s*$"
_POINT_THOUSANDS = r"^\s*[-+]?\d{1,3}(\.\d{3}){2,}\s*$"
_POINT_GROUP = r"^\s*[-+]?\d{1,3}\.\d{3}\s*$"  # which may be thousands, too
_POINT_NUMBER = r"^\s*[-+]?([\d,]*\.\d+|\d+(,\d{3}){2,})\s*$"  # or two commas, which are no decimal ones
_DAY = re.compile(r"((19|20)\d\d(\d{4}|([-/.])\d{1,2}\4\d{1,2})|\d{1,2}([-/.])\d{1,2}\5(19|20)\d\d)([T ].*)?")


@dataclass(frozen=True, slots=True)
class Table:
    """A frame, the file's row number of its first row (a CSV's header is row 1), and the decimal mark."""

    frame: pl.DataFrame
    first_row: int
    decimal_comma: bool = False


def read_table(path: Path, free: int) -> Table:
    """Return a file's table; raise PanelError if it is not a table or does not fit into `free` bytes."""
    if _is_parquet(path):
        return _parquet(path, free)
    require_memory_to_read(path, 2 * path.stat().st_size, free)
    require_text(path)
    return _csv(path)


def column_names(path: Path) -> list[str]:
    """Return the names of a file's columns without reading the rest; raise PanelError if there are none."""
    try:
        return list(pl.scan_parquet(path).collect_schema()) if _is_parquet(path) else _dialect(path).columns
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, error) from error


def _is_parquet(path: Path) -> bool:
    try:
        if path.stat().st_size == 0:
            raise PanelError(f"{path}: the file is empty", hint="Write it again.")
        with path.open("rb") as stream:
            begin = stream.read(4)
    except OSError as error:
        raise PanelError(f"{path} cannot be read: {error.strerror}", hint="Check the path.") from error
    if begin != b"PAR1" and path.suffix.lower() in PARQUET:
        raise PanelError(
            f"{path}: this is not a Parquet file", hint="Write it again, or name a CSV file .csv."
        )
    return begin == b"PAR1"


def _parquet(path: Path, free: int) -> Table:
    try:
        scan = pl.scan_parquet(path)
        columns = len(scan.collect_schema())
        rows = scan.select(pl.len()).collect().item()
        require_memory_to_read(path, rows * columns * _CELL_BYTES, free)
        frame = pl.read_parquet(path, use_pyarrow=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        if _NO_MEMORY in str(error):
            raise MemoryError(str(error)) from error
        raise _unreadable(path, error) from error
    return Table(frame, 1)


def _unreadable(path: Path, error: Exception) -> PanelError:
    return PanelError(
        f"{path}: the Parquet file cannot be read: {_first_line(error)}", hint="Write it again."
    )


@dataclass(frozen=True, slots=True)
class _Dialect:
    separator: str
    decimal_comma: bool
    columns: list[str]
    headers: int = 1
    """The number of rows that name the columns."""


def _csv(path: Path) -> Table:
    dialect = _dialect(path)
    try:
        frame = _typed(path, dialect)
    except pl.exceptions.PolarsError:
        frame = _as_text(path, dialect)
    if dialect.separator != "," and not dialect.decimal_comma and _late_comma(path, frame, dialect):
        dialect = replace(dialect, decimal_comma=True)
        frame = _as_text(path, dialect)
    return Table(
        _without_empty(path, frame, dialect), dialect.headers + 1, decimal_comma=dialect.decimal_comma
    )


def _dialect(path: Path) -> _Dialect:
    lines = first_lines(path)
    if not lines or not lines[0].strip():
        raise PanelError(
            f"{path}: row 1 is empty; it must name the columns", hint="Remove empty rows before it."
        )
    separator = max(",;\t|", key=lines[0].count)
    if separator not in lines[0] or lines[0].lower().startswith("sep="):
        raise _one_column(path, lines)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    except csv.Error as error:
        raise PanelError(f"{path}: the first rows are not CSV: {error}", hint=_SAVE_AGAIN) from error
    columns, headers = _columns(rows)
    _require_names(path, columns, rows[0])
    cells = pl.Series(itertools.chain.from_iterable(rows[headers:]), dtype=pl.String)
    return _Dialect(separator, separator != "," and _decimal_comma(path, cells), columns, headers)


def _one_column(path: Path, lines: list[str]) -> PanelError:
    message = f"{path}: row 1 has only one column: {lines[0].strip()[:60]!r}"
    if lines[0].lower().startswith("sep="):
        return PanelError(f"{path}: row 1 names no columns: {lines[0].strip()!r}", hint="Remove row 1.")
    for number, line in enumerate(lines[1:], start=2):
        separator = max(",;\t|", key=line.count)
        if separator in line and find_date([one.strip() for one in line.split(separator)]):
            return PanelError(message, hint=f"Remove the rows before row {number}, which names the columns.")
    return PanelError(
        message, hint="Separate columns by commas, semicolons or tabs, and name them in the first row."
    )


def _columns(rows: list[list[str]]) -> tuple[list[str], int]:
    """Return the names of the columns, and the number of rows that name them.

    pandas writes columns of two levels as two rows; they become `('Close', 'AAPL')`. A third row may name the index.
    """
    first, second, third = (*rows, [], [])[:3]
    if not _is_header(first, second):
        return [name or f"Unnamed: {i}" for i, name in enumerate(first)], 1
    labelled = len(third) == len(first) and not any(third[1:]) and not _has_digit(third[0])
    date = next((name for name in (third[0] if labelled else "", first[0]) if find_date([name])), "date")
    pairs = zip(_bare(first[1:]), second[1:], strict=True)
    return [date, *(f"('{a}', '{b}')" for a, b in pairs)], 3 if labelled else 2


def _is_header(first: list[str], second: list[str]) -> bool:
    """Return True if the second row names columns too: fields over symbols, or symbols over fields."""
    if len(first) != len(second) or _has_digit(second[0]) or not all(second[1:]):
        return False
    if find_date(first) and find_symbol(first):
        return False
    upper = _bare(first[1:])
    if fields_among(upper) == fields_among(second[1:]):
        return False
    if find_symbol(first[:1]) and fields_among(upper) > fields_among(second[1:]):
        return False  # a list of instruments: its first row names symbol and sector
    return len(set(upper)) < len(upper) or not any(map(_is_number, second[1:]))


def _has_digit(text: str) -> bool:
    return any(letter.isdigit() for letter in text)


def _bare(names: list[str]) -> list[str]:
    """Return names without the `.1` that pandas adds to a repeated name."""
    bare = [re.sub(r"\.\d+$", "", name) for name in names]
    return [short if short in names else name for short, name in zip(bare, names, strict=True)]


def _is_number(text: str) -> bool:
    return as_numbers(pl.Series([text]), decimal_comma=False).item() is not None


def _require_names(path: Path, columns: list[str], first: list[str]) -> None:
    if not find_date(columns):
        _require_words(path, first)
    repeated = next((name for name in columns if columns.count(name) > 1), None)
    if repeated is not None:
        places = ", ".join(str(i) for i, name in enumerate(columns, start=1) if name == repeated)
        raise PanelError(
            f"{path}: row 1: the column {repeated!r} is repeated (columns {places})",
            hint="Name each column once.",
        )


def _require_words(path: Path, first: list[str]) -> None:
    """Raise PanelError if the first row holds dates or numbers instead of names."""
    days = sum(bool(_DAY.fullmatch(name)) for name in first)
    if days >= max(2, len(first) // 2):
        raise PanelError(
            f"{path}: row 1: the columns are named after dates",
            hint="Transpose the table: a row for each date, a column for each symbol, and the first column named date.",
        )
    if sum(_is_number(name) or bool(_DAY.match(name)) for name in first if name) > len(first) // 2:
        raise PanelError(
            f"{path}: row 1 holds data; it must name the columns",
            hint="Add a first row of names, as in date,symbol,open,high,low,close,volume.",
        )


def _decimal_comma(path: Path, cells: pl.Series) -> bool:
    """Return True if numbers have a decimal comma; raise PanelError if it may be a thousands separator."""
    commas = cells.filter(cells.str.contains(_COMMA_NUMBER))
    if cells.str.contains(_POINT_THOUSANDS).any() or not commas.str.contains(_COMMA_THOUSANDS).all():
        return True
    points = cells.filter(cells.str.contains(_POINT_NUMBER))
    if len(commas) and points.str.contains(_POINT_GROUP).all():
        first = commas[0].strip()
        whole, _, rest = first.partition(",")
        raise PanelError(
            f"{path}: {first!r} may be {first.replace(',', '')} or {whole}.{rest}, and no cell decides it",
            hint="Write numbers without thousands separators, and a point before decimals.",
        )
    return False


def _late_comma(path: Path, frame: pl.DataFrame, dialect: _Dialect) -> bool:
    """Return True if numbers below the first rows, which decided the dialect, have a decimal comma."""
    texts = [column for column in frame.get_columns() if column.dtype == pl.String]
    if not any(column.str.contains(f"{_COMMA_NUMBER}|{_POINT_THOUSANDS}").any() for column in texts):
        return False
    cells = _as_text(path, dialect).get_columns()
    return _decimal_comma(path, pl.concat([column.alias("") for column in cells]))


def _typed(path: Path, dialect: _Dialect) -> pl.DataFrame:
    """Read columns as numbers where the first rows hold numbers; raise PolarsError at a later cell of text."""
    head = _read(path, dialect, dict.fromkeys(dialect.columns, pl.String()), n_rows=_HEAD_ROWS)
    texts = {find_date(dialect.columns), find_symbol(dialect.columns)}
    schema = {
        name: pl.String() if name in texts or not _all_plain(head[name], dialect) else pl.Float64()
        for name in dialect.columns
    }
    return _read(path, dialect, schema, decimal_comma=dialect.decimal_comma)


def _all_plain(cells: pl.Series, dialect: _Dialect) -> bool:
    """Return True if all cells are numbers that the CSV parser reads itself."""
    if dialect.decimal_comma:
        cells = cells.str.replace(".", "thousands", literal=True).str.replace(",", ".", literal=True)
    return bool((cells.cast(pl.Float64, strict=False).is_not_null() | cells.is_null()).all())


def _as_text(path: Path, dialect: _Dialect) -> pl.DataFrame:
    """Read every cell as text."""
    try:
        return _read(path, dialect, dict.fromkeys(dialect.columns, pl.String()))
    except pl.exceptions.PolarsError as error:
        ragged = _ragged(path, dialect)
        hint = "Give every row a cell for each column." if ragged else _SAVE_AGAIN
        raise PanelError(f"{path}: {ragged or _first_line(error)}", hint=hint) from error


def _read(path: Path, dialect: _Dialect, schema: Any, **options: Any) -> pl.DataFrame:
    return pl.read_csv(
        path, separator=dialect.separator, has_header=False, skip_rows=dialect.headers, schema=schema,
        missing_columns="insert", **options,
    )  # fmt: skip


def _ragged(path: Path, dialect: _Dialect) -> str:
    """Return a sentence on the first row with more cells than columns; empty if there is none."""
    with open_text(path) as stream:
        for number, cells in enumerate(csv.reader(stream, delimiter=dialect.separator), start=1):
            if cells and len(cells) > len(dialect.columns):
                return f"row {number} has {len(cells)} cells, and there are {len(dialect.columns)} columns"
    return ""


def _without_empty(path: Path, frame: pl.DataFrame, dialect: _Dialect) -> pl.DataFrame:
    """Return the frame without empty rows at its end and without unnamed empty columns.

    Raises PanelError for an empty row in between.
    """
    empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
    used = len(empty) - int(np.argmin(empty[::-1])) if not empty.all() else 0
    if empty[:used].any():
        raise PanelError(
            f"{path}: row {int(empty.argmax()) + dialect.headers + 1} is empty", hint="Remove empty rows."
        )
    frame = frame.head(used)
    return frame.drop([c.name for c in frame.get_columns()[1:] if is_unnamed(c.name) and c.is_null().all()])


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
