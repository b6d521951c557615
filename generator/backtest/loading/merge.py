"""Several sheets to one, over all their dates and symbols."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from generator.backtest.loading import parse
from generator.backtest.loading.assemble import Sheet
from generator.backtest.loading.faults import Faults
from generator.backtest.loading.memory import require_room

Places = npt.NDArray[np.signedinteger]


def merge(path: Path, sheets: list[tuple[str, Sheet]], faults: Faults, free: int) -> Sheet:
    """Return what files hold together; a date and symbol in two of them is an error."""
    dates = np.unique(np.concatenate([sheet.dates for _, sheet in sheets]))
    symbols = parse.in_order({symbol for _, sheet in sheets for symbol in sheet.symbols})
    names = {name for _, sheet in sheets for name in (*sheet.fields, *sheet.groups)}
    require_room(path, len(dates), len(symbols), len(names), free)
    whole = Sheet(dates, symbols, np.zeros((len(dates), len(symbols)), dtype=np.int64))
    whole.group_names = _group_names(sheets)
    if any(sheet.universe is not None for _, sheet in sheets):
        whole.universe = np.zeros(whole.rows.shape, dtype=bool)
    _refuse_mixtures(sheets, faults)
    where = {symbol: i for i, symbol in enumerate(symbols)}
    for file, sheet in sheets:
        days = np.searchsorted(dates, sheet.dates)
        columns = np.array([where[symbol] for symbol in sheet.symbols])
        _refuse_doubles(whole, file, sheet, days, columns, faults)
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
            continue  # it has no cell here
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


def _refuse_doubles(
    whole: Sheet, file: str, sheet: Sheet, days: Places, columns: Places, faults: Faults
) -> None:
    doubles = np.argwhere((whole.rows[np.ix_(days, columns)] > 0) & (sheet.rows > 0))
    faults.errors_at(
        (
            f"{file}: row {sheet.rows[d, s]}: {sheet.symbols[s]} on {sheet.dates[d]} is in another file too"
            for d, s in doubles
        ),
        len(doubles),
        f"rows of {file} are in another file too",
        hint="Keep one row for each date and symbol.",
    )


def _refuse_mixtures(sheets: list[tuple[str, Sheet]], faults: Faults) -> None:
    """Refuse a column that holds numbers in one file and texts in another; empty in one of them it is neither."""
    groups = {name: file for file, sheet in sheets for name in sheet.groups}
    for file, sheet in sheets:
        for name, values in sheet.fields.items():
            if name in groups and not np.isnan(values).all():
                faults.error(
                    f"the column {name} holds numbers in {file} and texts in {groups[name]}",
                    hint="Leave it out, or hold the same in all files.",
                )
                return
