"""Loader of the user's panel: Parquet or CSV, long or wide, checked, and cached as memory-mapped arrays.

    text       text files: first lines, encoding, refusal of other formats
    files      a Parquet or CSV file to a table
    columns    the meaning of columns, by their names (pure)
    parse      columns to numbers, days, symbols, group codes
    assemble   a table to matrices, with the row that each cell came from
    folder     the files of a folder to matrices
    quality    warnings of suspicious values
    faults     collected errors and warnings
    memory     free memory, and refusal of panels that do not fit
    cache      panels on disk as arrays that are memory-mapped

A folder has one wide table a field (`close.csv`, `volume.parquet` …), or one table for each symbol or year.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from generator.backtest.errors import PanelError
from generator.backtest.loading.assemble import Sheet, assemble
from generator.backtest.loading.cache import PanelCache, stamp_of
from generator.backtest.loading.faults import Faults
from generator.backtest.loading.files import read_table
from generator.backtest.loading.folder import assemble_folder
from generator.backtest.loading.memory import free_bytes, out_of_memory
from generator.backtest.loading.quality import quality_warnings
from generator.backtest.panel import Panel, gaps_of, with_derived


def load_panel(path: Path, *, cache: Path | None = None, memory: int | None = None) -> Panel:
    """Return the panel of a file or folder, with derived fields and its warnings.

    `cache` is the folder of cached panels; a panel of the same content is only memory-mapped. `memory` is the limit in
    bytes, by default the free memory. Raises PanelError with all faults.
    """
    free = free_bytes() if memory is None else memory
    try:
        if not path.exists():
            raise PanelError(f"{path}: no such file or folder", hint="Name a Parquet or CSV file.")
        stamp = stamp_of(path)
        cached = PanelCache(cache).find(path, stamp) if cache is not None else None
        if cached is not None:
            return cached
        panel = read_panel(path, free)
        return panel if cache is None else PanelCache(cache).store(path, stamp, panel)
    except MemoryError as error:
        raise out_of_memory(path, free) from error
    except OSError as error:
        raise PanelError(f"{path} cannot be read: {error.strerror}", hint="Check its permissions.") from error


def read_panel(path: Path, free: int) -> Panel:
    """Read and check a file or folder; raise PanelError with all faults."""
    faults = Faults()
    sheet = _sheet(path, faults, free)
    faults.raise_errors(path)
    assert sheet is not None  # a missing sheet comes with an error, which was raised above
    if not sheet.fields:
        raise PanelError(
            f"{path}: no column holds numbers", hint="Add a column of numbers, as in date,symbol,close."
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
    # A file's own `returns` are used as they are: only derived ones span gaps.
    derives_returns = "close" in panel.fields and "returns" not in panel.fields
    gaps = gaps_of(panel.fields["close"]) if derives_returns else panel.gaps
    return replace(with_derived(panel), warnings=tuple(faults.warnings), gaps=gaps)
