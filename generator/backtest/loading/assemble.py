"""Tables to matrices: dates x instruments, with the row that each cell came from."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from generator.backtest.loading import parse
from generator.backtest.loading.columns import GROUPS, Layout, layout_of, number_names, plain_name, translated
from generator.backtest.loading.faults import Faults
from generator.backtest.loading.files import Table
from generator.backtest.loading.memory import require_memory
from generator.backtest.panel import Matrix

Rows = npt.NDArray[np.int64]
_DAYLIGHT_SAVING = 2  # a time zone's midnight is at one of two times in another zone


@dataclass(slots=True)
class Sheet:
    """A panel under construction. `rows` is the file's row of each date and symbol, 0 where there is none."""

    dates: parse.Days
    symbols: tuple[str, ...]
    rows: Rows
    fields: dict[str, Matrix] = field(default_factory=dict)
    groups: dict[str, parse.Codes] = field(default_factory=dict)
    group_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    universe: npt.NDArray[np.bool_] | None = None
    columns: dict[str, str] = field(default_factory=dict)
    """The name of each field's column in the file."""
    cell_columns: dict[tuple[str, str], str] = field(default_factory=dict)
    """In a wide table: the name of the column of each (field, symbol)."""
    files: dict[str, str] = field(default_factory=dict)
    """The file of each symbol in a folder of one file a symbol."""

    def location(self, d: int, s: int, name: str) -> str:
        """Return file (if several), row and column of a field's cell, as text."""
        symbol = self.symbols[s]
        file = f"{self.files[symbol]}: " if symbol in self.files else ""
        return f"{file}row {self.rows[d, s]}, column {self.column_of(name, symbol)}"

    def column_of(self, name: str, symbol: str) -> str:
        """Return the name of the column that holds a field of a symbol."""
        return self.cell_columns.get((name, symbol)) or self.columns.get(name, name)


def assemble(path: Path, table: Table, faults: Faults, free: int, *, symbol: str = "") -> Sheet | None:
    """Return the table's matrices, None after an error; all errors are in `faults`.

    `symbol` is the instrument of a table without a symbol column.
    """
    frame = table.frame
    layout = layout_of(frame.columns, dated_columns(frame))
    if symbol and layout.fields and not layout.symbol:
        frame = frame.with_columns(pl.lit(symbol).alias("symbol"))
        table, layout = replace(table, frame=frame), replace(layout, symbol="symbol")
    if not _complete(frame, layout, faults):
        return None
    _warn_of_names(layout, faults)
    if layout.symbol:
        return _long(path, table, layout, faults, free)
    return _wide(path, table, layout, faults, free)


def dated_columns(frame: pl.DataFrame) -> list[str]:
    """Return the columns of a date or datetime type."""
    return [name for name, kind in frame.schema.items() if kind == pl.Date or isinstance(kind, pl.Datetime)]


def _complete(frame: pl.DataFrame, layout: Layout, faults: Faults) -> bool:
    present = ", ".join(frame.columns[:12]) + (" …" if len(frame.columns) > 12 else "")  # noqa: PLR2004
    if not layout.date:
        faults.error(
            f"there is no date column; the columns are {present}",
            hint="Name the column of dates date, or add one.",
        )
    if not layout.symbol and (layout.fields or (not layout.date and not layout.cells)):
        faults.error(
            f"there is no symbol column; the columns are {present}",
            hint="Name the column of symbols symbol, or add one, for a single symbol the same in each row. "
            "In a wide table name columns as in close_ABC.",
        )
    elif not layout.left_out and not layout.fields and not layout.cells:
        faults.error(
            f"there is no column with values; the columns are {present}",
            hint="Add one, as in date,symbol,close.",
        )
    if layout.left_out and not layout.fields and not layout.cells:
        faults.error(
            f"no expression can write the names of the columns {', '.join(layout.left_out[:12])}",
            hint="Name them in letters from a to z, as in date,symbol,open,close.",
        )
    if layout.date and not len(frame):
        faults.error("there is no row below the header", hint="Add rows.")
    return not faults.errors


def _warn_of_names(layout: Layout, faults: Faults) -> None:
    """Warn of columns that are left out, and of the meaning taken for names in other scripts."""
    for column in layout.left_out:
        faults.warn(
            f"the column {column!r} is left out, since no expression can write its name; "
            "a name in letters from a to z can be used"
        )
    columns = (layout.date, layout.symbol, *(c for c, _ in layout.fields))
    known = [f"{column!r} as {translated(column)}" for column in columns if translated(column)]
    if known:
        faults.warn(f"column names are translated: {', '.join(known)}")


def is_group(series: pl.Series, name: str, *, comma: bool) -> bool:
    """Return True if a column is a grouping: by its name, or if under half of its cells are numbers."""
    if name in GROUPS:
        return True
    return name not in number_names() and not parse.looks_numeric(series, decimal_comma=comma)


# --- long ------------------------------------------------------------------------------------------------------------


def _long(path: Path, table: Table, layout: Layout, faults: Faults, free: int) -> Sheet | None:
    frame, first = table.frame, table.first_row
    day = parse.days(frame[layout.date], first, faults)
    symbols, column = parse.symbols(frame[layout.symbol], first, faults)
    good = ~np.isnat(day) & (column >= 0)
    dates = np.unique(day[good])
    _warn_of_order(day, column, symbols, first, faults)
    require_memory(path, len(dates), max(1, len(symbols)), len(layout.fields), free)
    places = np.searchsorted(dates, day[good]) * len(symbols) + column[good]
    numbers = np.flatnonzero(good) + first
    rows = np.zeros((len(dates), len(symbols)), dtype=np.int64)
    rows.ravel()[places[::-1]] = numbers[::-1]  # of repeated rows the first is kept
    clock = next((c for c in frame.columns if plain_name(c) == "time" and c != layout.date), None)
    times = parse.times_of_day(frame[layout.date]) or (parse.clock_times(frame[clock]) if clock else [])
    _refuse_duplicates(places, numbers, rows, dates, symbols, faults, times)
    sheet = Sheet(dates, symbols, rows)

    def spread(values: Matrix, missing: float) -> Matrix:
        matrix = np.full(rows.shape, missing, dtype=values.dtype)
        matrix.ravel()[places] = values[good]
        return matrix

    for name_in_file, name in layout.fields:
        _refuse_repeated_field(sheet, name, name_in_file, faults)
        _add_column(sheet, name, frame[name_in_file], table, faults, spread)
    return sheet


def _refuse_repeated_field(sheet: Sheet, name: str, column: str, faults: Faults) -> None:
    if name in sheet.columns:
        faults.error(
            f"the columns {sheet.columns[name]!r} and {column!r} both mean {name}",
            hint="Remove or rename one of them.",
        )
    sheet.columns[name] = column


def _add_column(
    sheet: Sheet,
    name: str,
    series: pl.Series,
    table: Table,
    faults: Faults,
    spread: Callable[[Matrix, float], Matrix],
) -> None:
    """Add one column to the sheet, as the universe, a grouping or a field."""
    comma = table.decimal_comma
    if name == "universe":
        sheet.universe = spread(parse.flags(series, table.first_row, faults), 0)
    elif is_group(series, name, comma=comma):
        names, codes = parse.groups(series, faults)
        sheet.groups[name], sheet.group_names[name] = spread(codes, -1), names
    else:
        values = parse.numbers(series, table.first_row, faults, decimal_comma=comma)
        sheet.fields[name] = spread(values, np.nan)


def _refuse_duplicates(
    places: Rows,
    numbers: Rows,
    rows: Rows,
    dates: parse.Days,
    symbols: tuple[str, ...],
    faults: Faults,
    times: list[str],
) -> None:
    count = len(places) - int(np.count_nonzero(rows))
    if refuse_times(
        times, count, faults, hint="Keep one row for each date and symbol, such as the day's last."
    ):
        return
    duplicates = np.flatnonzero(rows.ravel()[places] != numbers)

    def sentence(i: int) -> str:
        d, s = divmod(int(places[i]), len(symbols))
        return (
            f"row {numbers[i]}: {symbols[s]} on {dates[d]} is there already, in row {rows.ravel()[places[i]]} "
            "(columns date and symbol)"
        )

    faults.errors_at(
        (sentence(int(i)) for i in duplicates),
        len(duplicates),
        "rows repeat a date and symbol",
        hint="Keep one row for each date and symbol.",
    )


def refuse_times(times: list[str], duplicates: int, faults: Faults, *, hint: str) -> bool:
    """Report times of day; return True if repeated rows need no report of their own.

    Without repeated rows it is True, and where times of day explain them.
    """
    if len(times) > 1 and duplicates:
        faults.error(
            f"times of day, from {times[0]} to {times[-1]}, would be cut off; a panel has one row a day, and "
            f"{duplicates} rows repeat a day",
            hint=hint,
        )
    elif len(times) > _DAYLIGHT_SAVING:
        faults.warn(f"times of day, from {times[0]} to {times[-1]}, are cut off")
    return not duplicates or len(times) > 1


def _warn_of_order(
    day: parse.Days, column: parse.Codes, symbols: tuple[str, ...], first: int, faults: Faults
) -> None:
    """Warn of dates out of order, unless the rows are sorted by symbol and then by date."""
    known = ~np.isnat(day)
    back = np.flatnonzero((day[1:] < day[:-1]) & known[1:] & known[:-1])
    if not len(back):
        return
    within = back[column[back] == column[back + 1]]
    changes = np.count_nonzero(column[1:] != column[:-1])
    if not len(within) and changes < len(symbols):
        return  # sorted by symbol, then by date
    i = int(within[0] if len(within) else back[0])
    faults.warn(
        f"row {first + i + 1}, column date: {day[i + 1]} comes after {day[i]}; the rows are not sorted "
        f"({len(back)} places); they are sorted when read"
    )


# --- wide ------------------------------------------------------------------------------------------------------------


def _wide(path: Path, table: Table, layout: Layout, faults: Faults, free: int) -> Sheet | None:
    frame, first = table.frame, table.first_row
    day = parse.days(frame[layout.date], first, faults)
    symbols = parse.in_order({symbol for _, _, symbol in layout.cells})
    names = list(dict.fromkeys(name for _, name, _ in layout.cells))
    require_memory(path, len(day), len(symbols), len(names), free)
    order = np.argsort(day, kind="stable")
    dates = day[order]
    duplicates = np.flatnonzero(dates[1:] == dates[:-1])
    hint = "Keep one row for each date, such as the day's last."
    if not refuse_times(parse.times_of_day(frame[layout.date]), len(duplicates), faults, hint=hint):
        faults.errors_at(
            (
                f"row {order[i + 1] + first}, column {layout.date}: {dates[i]} is there already, in row "
                f"{order[i] + first}"
                for i in duplicates
            ),
            len(duplicates),
            "rows repeat a date",
            hint=hint,
        )
    _warn_of_order(day, np.zeros(len(day), dtype=np.int32), symbols, first, faults)
    rows = np.repeat((order + first)[:, None], len(symbols), axis=1)
    sheet = Sheet(dates, symbols, rows)
    if len(names) == 1 and all(column == symbol for column, _, symbol in layout.cells):
        faults.warn("each column is read as the close of the symbol in its name")
    where = {symbol: i for i, symbol in enumerate(symbols)}
    for name in names:
        own = [(column, where[symbol]) for column, other, symbol in layout.cells if other == name]
        sheet.columns[name] = own[0][0]
        sheet.cell_columns |= {(name, symbols[place]): column for column, place in own}
        stacked = pl.concat([_textual(frame[column]) for column, _ in own]).alias(name)
        if is_group(stacked, name, comma=table.decimal_comma):
            _wide_groups(sheet, name, stacked, own, order, faults)
        else:
            _wide_field(sheet, name, frame, own, order, table, faults)
    return sheet


def _textual(series: pl.Series) -> pl.Series:
    return series.cast(pl.String)


def _wide_field(
    sheet: Sheet,
    name: str,
    frame: pl.DataFrame,
    own: list[tuple[str, int]],
    order: Rows,
    table: Table,
    faults: Faults,
) -> None:
    matrix = np.full(sheet.rows.shape, np.nan)
    for column, place in own:
        values = parse.numbers(frame[column], table.first_row, faults, decimal_comma=table.decimal_comma)
        matrix[:, place] = values[order]
    if name == "universe":
        sheet.universe = matrix == 1.0
    else:
        sheet.fields[name] = matrix


def _wide_groups(
    sheet: Sheet, name: str, stacked: pl.Series, own: list[tuple[str, int]], order: Rows, faults: Faults
) -> None:
    names, codes = parse.groups(stacked, faults)
    matrix = np.full(sheet.rows.shape, -1, dtype=np.int32)
    for (_, place), part in zip(own, np.split(codes, len(own)), strict=True):
        matrix[:, place] = part[order]
    sheet.groups[name], sheet.group_names[name] = matrix, names
