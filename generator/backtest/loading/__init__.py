"""The user's panel: from Parquet or CSV, long or wide, checked and kept in a form that loads at once.

    text       the refusal of files that are no text
    files      a file to a table, in whatever dialect
    columns    what the columns are (pure)
    parse      columns to numbers, days, symbols, codes
    assemble   a table to matrices, with the row that each cell came from
    folder     a folder's files to matrices
    quality    what looks wrong about the values
    faults     the errors and warnings found
    memory     whether it fits into memory
    cache      the kept form

A folder has one wide table a field (`close.csv`, `volume.parquet` …), or a table of its own for each symbol or year.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from generator.backtest.errors import PanelError
from generator.backtest.gaps import gaps_of
from generator.backtest.loading.assemble import Sheet, assemble
from generator.backtest.loading.cache import Shelf, stamp_of
from generator.backtest.loading.faults import Faults
from generator.backtest.loading.files import read_table
from generator.backtest.loading.folder import assemble_folder
from generator.backtest.loading.memory import free_bytes, ran_out
from generator.backtest.loading.quality import quality_warnings
from generator.backtest.panel import Panel, with_derived


def load_panel(path: Path, *, shelf: Path | None = None, memory: int | None = None) -> Panel:
    """Return the panel of a file, with fields that follow from others; warnings are in it.

    `shelf` is the folder of kept panels: one whose content is there already is only mapped. `memory` is what may be
    used, else what is free. Raises PanelError with all that is wrong.
    """
    free = free_bytes() if memory is None else memory
    if not path.exists():
        raise PanelError(f"{path}: there is no such file", hint="Name a Parquet or CSV file.")
    try:
        stamp = stamp_of(path)
        kept = Shelf(shelf).find(path) if shelf is not None else None
        if kept is not None:
            return kept
        panel = read_panel(path, free)
        return panel if shelf is None else Shelf(shelf).keep(path, stamp, panel)
    except MemoryError as error:
        raise ran_out(path, free) from error
    except OSError as error:
        raise PanelError(f"{path} cannot be read: {error.strerror}", hint="Check its permissions.") from error


def read_panel(path: Path, free: int) -> Panel:
    """Read and check a file or folder; raise PanelError with all that is wrong."""
    faults = Faults()
    sheet = _sheet(path, faults, free)
    faults.raise_errors(path)
    assert sheet is not None  # else there was an error
    if not sheet.fields:
        raise PanelError(
            f"{path}: no column holds numbers", hint="Add one that does, as in date,symbol,close."
        )
    quality_warnings(sheet, faults)
    return _panel(sheet, faults)


def _sheet(path: Path, faults: Faults, free: int) -> Sheet | None:
    if path.is_dir():
        return assemble_folder(path, faults, free)
    return assemble(path, read_table(path, free), faults, free)


def _panel(sheet: Sheet, faults: Faults) -> Panel:
    panel = Panel(
        dates=sheet.dates,
        symbols=sheet.symbols,
        fields={name: np.ascontiguousarray(values) for name, values in sheet.fields.items()},
        groups=sheet.groups,
        group_names=sheet.group_names,
        universe=sheet.universe,
    )
    follows = "close" in panel.fields and "returns" not in panel.fields
    gaps = gaps_of(panel.fields["close"]) if follows else panel.gaps
    return replace(with_derived(panel), warnings=tuple(faults.warnings), gaps=gaps)
