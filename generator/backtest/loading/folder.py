"""A folder of files to matrices: a wide table for each field, or a table for each symbol or period."""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from generator.backtest.errors import PanelError
from generator.backtest.loading import parse
from generator.backtest.loading.assemble import Sheet, assemble, dated_columns, is_group, refuse_times
from generator.backtest.loading.columns import field_name, find_date, is_known, layout_of
from generator.backtest.loading.faults import MAX_SHOWN, Faults
from generator.backtest.loading.files import Table, column_names, read_table
from generator.backtest.loading.memory import require_memory

_ENDINGS = (".parquet", ".pq", ".csv.gz", ".csv", ".tsv", ".txt")
_SAMPLED_FILES = 25

Places = npt.NDArray[np.signedinteger]


def assemble_folder(path: Path, faults: Faults, free: int) -> Sheet | None:
    """Return the matrices of a folder's files over all their dates and symbols, None after an error."""
    files = _files(path)
    sheet = None
    if not files:
        faults.error("the folder has no Parquet or CSV file")
    else:
        sheet = (_joined if _has_tables(files) else _by_field)(path, files, faults, free)
    if faults.errors:
        inside = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _files(folder)]
        if inside:
            of_them = "the folder" if len(inside) == 1 else f"one of the {len(inside)} folders, as"
            faults.hints.append(f"{'Or name' if faults.hints else 'Name'} {of_them} {inside[0]}.")
        elif not files:
            faults.hints.append("Name files after fields, as in close.csv.")
    return sheet


def _files(path: Path) -> list[Path]:
    """Return the folder's tables, without hidden files, such as those that macOS packs beside each file."""
    names = (file for file in path.iterdir() if not file.name.startswith("."))
    return sorted(file for file in names if file.is_file() and file.name.lower().endswith(_ENDINGS))


def _has_tables(files: list[Path]) -> bool:
    """Return True if most files are tables of several fields, not of one field."""
    tables = 0
    looked_at = files[:_SAMPLED_FILES]
    for file in looked_at:
        try:
            layout = layout_of(column_names(file))
        except PanelError:
            continue  # reading the file reports the fault
        names = {name for _, name in layout.fields}
        names |= {name for column, name, symbol in layout.cells if column.strip() != symbol}
        known = sum(map(is_known, names))
        tables += "close" in names or (2 * known > len(names) and not is_known(field_name(_stem(file))))
    return 2 * tables > len(looked_at)


def _stem(file: Path) -> str:
    ending = next(ending for ending in _ENDINGS if file.name.lower().endswith(ending))
    return file.name[: -len(ending)]


# --- one table a symbol or period -----------------------------------------------------------------------------------------


def _joined(path: Path, files: list[Path], faults: Faults, free: int) -> Sheet | None:
    """Return the matrices of files that hold one symbol or one period each."""
    sheets: list[tuple[str, Sheet]] = []
    warnings: Counter[str] = Counter()
    faulty = 0
    for file in files:
        own = Faults()
        sheet = _read(file, own, free)
        warnings.update(own.warnings)
        if sheet is not None and not own.errors:
            sheets.append((file.name, sheet))
            continue
        faulty += 1
        if faulty <= MAX_SHOWN:
            for error in own.errors:
                faults.error(f"{file.name}: {error}")
            faults.hints += [hint for hint in own.hints if hint not in faults.hints]
    if faulty > MAX_SHOWN:
        faults.error(f"{faulty - MAX_SHOWN} more files have faults")
    if faulty and sheets and not any("out of the folder" in hint for hint in faults.hints):
        faults.hints.append("Or move a file that is no panel out of the folder.")
    if faults.errors:
        return None
    for warning, count in warnings.items():
        faults.warn(warning if count == 1 else f"{warning} (in {count} files)")
    return _merge(path, sheets, faults, free)


def _read(file: Path, faults: Faults, free: int) -> Sheet | None:
    try:
        return assemble(file, read_table(file, free), faults, free, symbol=_stem(file))
    except PanelError as error:
        hint = error.hint.removesuffix(".")
        faults.error(
            error.message.removeprefix(f"{file}: "), hint=f"{hint}, or move the file out of the folder."
        )
        return None


def _merge(path: Path, sheets: list[tuple[str, Sheet]], faults: Faults, free: int) -> Sheet:
    """Return the sheet of all files; a date and symbol in two files is an error."""
    dates = np.unique(np.concatenate([sheet.dates for _, sheet in sheets]))
    symbols = parse.in_order({symbol for _, sheet in sheets for symbol in sheet.symbols})
    names = {name for _, sheet in sheets for name in (*sheet.fields, *sheet.groups)}
    require_memory(path, len(dates), len(symbols), len(names), free)
    whole = Sheet(dates, symbols, np.zeros((len(dates), len(symbols)), dtype=np.int64))
    whole.group_names = _group_names(sheets)
    if any(sheet.universe is not None for _, sheet in sheets):
        whole.universe = np.zeros(whole.rows.shape, dtype=bool)
    _refuse_mixtures(sheets, faults)
    where = {symbol: i for i, symbol in enumerate(symbols)}
    for file, sheet in sheets:
        days = np.searchsorted(dates, sheet.dates)
        columns = np.array([where[symbol] for symbol in sheet.symbols])
        _refuse_duplicates(whole, file, sheet, days, columns, faults)
        _put(whole, sheet, days, columns)
        for symbol in sheet.symbols:
            whole.files[symbol] = "" if symbol in whole.files else file
    whole.files = {symbol: file for symbol, file in whole.files.items() if file}
    return whole


def _group_names(sheets: list[tuple[str, Sheet]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for _, sheet in sheets:
        for name, values in sheet.group_names.items():
            found.setdefault(name, set()).update(values)
    return {name: parse.in_order(values) for name, values in found.items()}


def _put(whole: Sheet, sheet: Sheet, days: Places, columns: Places) -> None:
    there = sheet.rows > 0
    d, s = np.nonzero(there)
    places = (days[d], columns[s])
    whole.rows[places] = sheet.rows[there]
    shape = whole.rows.shape
    for name, values in sheet.fields.items():
        if name in whole.group_names:
            continue  # a grouping in another file; this file's column is empty
        if name not in whole.fields:
            whole.fields[name] = np.full(shape, np.nan)
        whole.fields[name][places] = values[there]
    for name, codes in sheet.groups.items():
        if name not in whole.groups:
            whole.groups[name] = np.full(shape, -1, dtype=np.int32)
        recoded = [whole.group_names[name].index(one) for one in sheet.group_names[name]]
        whole.groups[name][places] = np.array([*recoded, -1])[codes[there]]
    if whole.universe is not None:
        whole.universe[places] = True if sheet.universe is None else sheet.universe[there]
    whole.columns = sheet.columns | whole.columns
    whole.cell_columns |= sheet.cell_columns


def _refuse_duplicates(
    whole: Sheet, file: str, sheet: Sheet, days: Places, columns: Places, faults: Faults
) -> None:
    duplicates = np.argwhere((whole.rows[np.ix_(days, columns)] > 0) & (sheet.rows > 0))
    faults.errors_at(
        (
            f"{file}: row {sheet.rows[d, s]}: {sheet.symbols[s]} on {sheet.dates[d]} is also in another file"
            for d, s in duplicates
        ),
        len(duplicates),
        f"rows of {file} are also in another file",
        hint="Keep one row for each date and symbol.",
    )


def _refuse_mixtures(sheets: list[tuple[str, Sheet]], faults: Faults) -> None:
    """Add an error for a column that holds numbers in one file and texts in another; empty columns are ignored."""
    groups = {name: file for file, sheet in sheets for name in sheet.groups}
    for file, sheet in sheets:
        for name, values in sheet.fields.items():
            if name in groups and not np.isnan(values).all():
                faults.error(
                    f"the column {name} holds numbers in {file} and texts in {groups[name]}",
                    hint="Remove the column, or use one type in all files.",
                )
                return


# --- one file a field --------------------------------------------------------------------------------------------------


def _by_field(path: Path, files: list[Path], faults: Faults, free: int) -> Sheet | None:
    parts = [part for file in files if (part := _field_table(field_name(_stem(file)), file, faults, free))]
    if faults.errors:
        return None
    dates = np.unique(np.concatenate([part.days for part in parts]))
    symbols = parse.in_order({symbol for part in parts for symbol in part.symbols})
    require_memory(path, len(dates), len(symbols), len(parts), free)
    sheet = Sheet(dates, symbols, np.zeros((len(dates), len(symbols)), dtype=np.int64))
    # The last table decides the rows that warnings name: those of the close.
    for part in sorted(parts, key=lambda one: one.name == "close"):
        part.add_to(sheet, faults)
    return sheet


class _FieldTable:
    """The wide table of one field."""

    def __init__(self, name: str, file: Path, table: Table, days: parse.Days, frame: pl.DataFrame) -> None:
        self.name, self.file, self.table, self.days, self.frame = name, file, table, days, frame
        self.symbols = [column.strip() for column in frame.columns]

    def add_to(self, sheet: Sheet, faults: Faults) -> None:
        """Add the field to the sheet."""
        where = {symbol: i for i, symbol in enumerate(sheet.symbols)}
        places = np.ix_(
            np.searchsorted(sheet.dates, self.days), np.array([where[one] for one in self.symbols])
        )
        sheet.rows[places] = (np.arange(len(self.days)) + self.table.first_row)[:, None]
        sheet.columns[self.name] = self.file.name
        columns = self.frame.get_columns()
        stacked = pl.concat([column.cast(pl.String).alias(self.name) for column in columns])
        if is_group(stacked, self.name, comma=self.table.decimal_comma):
            names, codes = parse.groups(stacked, faults)
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


def _numbers(column: pl.Series, part: _FieldTable, faults: Faults) -> parse.Numbers:
    named = column.alias(f"{column.name} of {part.file.name}")
    return parse.numbers(named, part.table.first_row, faults, decimal_comma=part.table.decimal_comma)


def _field_table(name: str, file: Path, faults: Faults, free: int) -> _FieldTable | None:
    table = read_table(file, free)
    date = find_date(table.frame.columns, dated_columns(table.frame))
    frame = table.frame.drop(date) if date else table.frame
    before = len(faults.errors)
    if not name:
        faults.error(
            f"{file.name}: no expression can write this file's name as a field",
            hint="Name files as in close.csv.",
        )
    if not date:
        faults.error(
            f"{file.name}: there is no date column", hint="Name the column of dates date, or add one."
        )
    elif not frame.width:
        faults.error(f"{file.name}: there is no column with values", hint="Add one for each symbol.")
    if len(faults.errors) > before:
        return None
    days = parse.days(table.frame[date], table.first_row, faults)
    _refuse_days(file, table, date, days, faults)
    return _FieldTable(name, file, table, days, frame)


def _refuse_days(file: Path, table: Table, date: str, days: parse.Days, faults: Faults) -> None:
    """Add errors for repeated dates, and report times of day."""
    known, first = np.unique(days, return_index=True)
    own = Faults()
    hint = "Keep one row for each date, such as the day's last."
    times = parse.times_of_day(table.frame[date])
    if not refuse_times(times, len(days) - len(known), own, hint=hint):
        row = min(set(range(len(days))) - set(first.tolist())) + table.first_row
        own.error(f"row {row}, column {date}: this date is repeated", hint=hint)
    for error in own.errors:
        faults.error(f"{file.name}: {error}", hint=hint)
    for warning in own.warnings:
        faults.warn(f"{file.name}: {warning}")
