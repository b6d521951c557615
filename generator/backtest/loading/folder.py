"""A folder as a panel: a wide table for each field, in a file named after it."""

from pathlib import Path

import numpy as np
import polars as pl

from generator.backtest.loading import parse
from generator.backtest.loading.assemble import Sheet, is_group
from generator.backtest.loading.columns import field_name, find_date
from generator.backtest.loading.faults import Faults
from generator.backtest.loading.files import Table, read_table
from generator.backtest.loading.memory import require_room

_ENDINGS = (".parquet", ".pq", ".csv", ".tsv", ".txt", ".csv.gz")


def assemble_folder(path: Path, faults: Faults, free: int) -> Sheet | None:
    """Return the matrices of a folder's files over all their dates and symbols, None where there is an error."""
    files = {
        field_name(file.name.partition(".")[0]): file
        for file in sorted(path.iterdir())
        if file.name.lower().endswith(_ENDINGS)
    }
    if not files:
        faults.error(
            "the folder has no Parquet or CSV file", hint="Name files after fields, as in close.csv."
        )
        return None
    parts = [part for name, file in files.items() if (part := _part(name, file, faults, free))]
    if faults.errors:
        return None
    dates = np.unique(np.concatenate([part.days for part in parts]))
    symbols = parse.in_order({symbol for part in parts for symbol in part.symbols})
    require_room(path, len(dates), len(symbols), len(parts), free)
    sheet = Sheet(dates, symbols, np.zeros((len(dates), len(symbols)), dtype=np.int64))
    for part in sorted(
        parts, key=lambda one: one.name == "close"
    ):  # rows are those of the close, if there is one
        part.put(sheet, faults)
    return sheet


class _Part:
    """One field's table."""

    def __init__(self, name: str, file: Path, table: Table, days: parse.Days, frame: pl.DataFrame) -> None:
        self.name, self.file, self.table, self.days, self.frame = name, file, table, days, frame
        self.symbols = [column.strip() for column in frame.columns]

    def put(self, sheet: Sheet, faults: Faults) -> None:
        """Put the field's cells into the sheet."""
        where = {symbol: i for i, symbol in enumerate(sheet.symbols)}
        places = np.ix_(
            np.searchsorted(sheet.dates, self.days), np.array([where[one] for one in self.symbols])
        )
        sheet.rows[places] = (np.arange(len(self.days)) + self.table.first_row)[:, None]
        sheet.columns[self.name] = self.file.name
        columns = self.frame.get_columns()
        stacked = pl.concat([column.cast(pl.String).alias(self.name) for column in columns])
        if is_group(stacked, self.name, comma=self.table.decimal_comma):
            names, codes = parse.groups(stacked)
            matrix = np.full(sheet.rows.shape, -1, dtype=np.int32)
            matrix[places] = codes.reshape(len(columns), -1).T
            sheet.groups[self.name], sheet.group_names[self.name] = matrix, names
            return
        values = np.full(sheet.rows.shape, np.nan)
        values[places] = np.array([_numbers(column, self, faults) for column in columns]).T
        if self.name == "universe":
            sheet.universe = values == 1.0
        else:
            sheet.fields[self.name] = values


def _numbers(column: pl.Series, part: _Part, faults: Faults) -> parse.Numbers:
    named = column.alias(f"{column.name} of {part.file.name}")
    return parse.numbers(named, part.table.first_row, faults, decimal_comma=part.table.decimal_comma)


def _part(name: str, file: Path, faults: Faults, free: int) -> _Part | None:
    table = read_table(file, free)
    date = find_date(table.frame.columns, _dated(table.frame))
    if not date:
        faults.error(f"{file.name}: there is no date column", hint="Name it date.")
        return None
    days = parse.days(table.frame[date], table.first_row, faults)
    known, first = np.unique(days, return_index=True)
    if len(known) < len(days):
        row = min(set(range(len(days))) - set(first.tolist())) + table.first_row
        faults.error(f"{file.name}: row {row}, column {date}: this date is there already")
    frame = table.frame.drop(date)
    if not frame.width:
        faults.error(f"{file.name}: there is no column with values")
        return None
    return _Part(name, file, table, days, frame)


def _dated(frame: pl.DataFrame) -> list[str]:
    return [name for name, kind in frame.schema.items() if kind == pl.Date or isinstance(kind, pl.Datetime)]
