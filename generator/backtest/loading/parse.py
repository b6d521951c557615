"""Parsers of columns: cells to numbers, days, symbols and group codes; unreadable cells become faults."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from generator.backtest.loading.faults import Faults

Days = npt.NDArray[np.datetime64]
Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

_MISSING = (
    "", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "-nan", "nat", "null", "\\n", "none", "-", "--", "---", ".", "#value!",
    "#div/0!", "\N{EN DASH}", "\N{EM DASH}", "\N{EM DASH}\N{EM DASH}",
)  # fmt: skip
_FORMATS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%b-%Y", "%Y.%m.%d", "%m-%d-%Y", "%d-%m-%Y",
    "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%Y年%m月%d日",
)  # fmt: skip
_AMBIGUOUS = {
    "%m/%d/%Y": "%d/%m/%Y", "%d/%m/%Y": "%m/%d/%Y", "%m-%d-%Y": "%d-%m-%Y", "%d-%m-%Y": "%m-%d-%Y"
}  # fmt: skip
_FIRST, _LAST = 18000101, 22001231
_EPOCHS: tuple[tuple[float, Literal["s", "ms", "us", "ns"]], ...] = (
    (5e9, "s"),
    (5e12, "ms"),
    (5e15, "us"),
    (1e19, "ns"),
)
_NUMBER_DAY = r"^\d{8,19}(\.0*)?$"
_WHOLE = r"^(0|[1-9]\d*)$"
_DATE_HINT = "Write dates as 2020-01-31, and remove rows without a date."
_TIME = r"[T ](\d{1,2}:\d{2}[^+Z]*)"
_DAY_PART = r"^(.+?)(?:[T ]+\d{1,2}:\d{2}.*)?$"
_THOUSANDS = r"^[-+]?\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d*)?$|^[-+]?\d{1,3}(?:[ '\u00a0\u202f]\d{3})+(?:\.\d*)?$"
_THOUSANDS_COMMA = r"^[-+]?\d{1,3}(?:[. '\u00a0\u202f]\d{3})+(?:,\d*)?$"
_WITH_UNIT = re.compile(
    r"[-+(]?\d[\d,.]*\s?(?:[%kmb)]|bn|mn|\u4e07|\u4ebf)$|[-+(]?[$\u20ac\u00a3\u00a5]\s?\d", re.IGNORECASE
)
_FRACTION = r"^\d+[.,]\d*[1-9]\d*$"
_MOSTLY = 0.5


def _indices(bad: pl.Series) -> Sequence[int]:
    found: Sequence[int] = bad.arg_true().to_list()
    return found


def _clean(cells: pl.Series) -> pl.Series:
    """Return texts without surrounding space, null for a text that means a missing value."""
    text = cells.cast(pl.String).str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(list(_MISSING)), None)


def numbers(cells: pl.Series, first_row: int, faults: Faults, *, decimal_comma: bool = False) -> Numbers:
    """Return a column's numbers, NaN for missing cells; add an error for each cell that is not a number."""
    if cells.dtype == pl.Boolean or cells.dtype.is_numeric() or cells.dtype.is_decimal():
        return _floats(cells)
    if cells.dtype == pl.Null:
        return np.full(len(cells), np.nan)
    if cells.dtype not in (pl.String, pl.Categorical, pl.Enum):
        faults.error(f"column {cells.name}: it holds {cells.dtype}, not numbers", hint="Leave it out.")
        return np.full(len(cells), np.nan)
    text = _clean(cells)
    values = as_numbers(text, decimal_comma=decimal_comma)
    bad = _indices(text.is_not_null() & values.is_null())
    if bad:
        comma = "," in str(text[bad[0]])
        hint = "Decimal commas are read in files that are separated by semicolons or tabs."
        faults.errors_at(
            (f"row {first_row + i}, column {cells.name}: {text[i]!r} is not a number" for i in bad),
            len(bad),
            f"cells of column {cells.name} are not numbers",
            hint=hint if comma else "Write numbers as 1234.5, and leave cells without a number empty.",
        )
    return _floats(values)


def as_numbers(text: pl.Series, *, decimal_comma: bool) -> pl.Series:
    """Return texts as numbers, null for other texts; true and false are 1 and 0.

    Thousands separators are removed: 1,100 and 1 100; with a decimal comma also 1.100.
    """
    text = text.str.to_lowercase().replace({"true": "1", "false": "0"})
    marked = text.str.contains(_THOUSANDS_COMMA if decimal_comma else _THOUSANDS).fill_null(value=False)
    if marked.any():
        separators = r"[. '\u00a0\u202f]" if decimal_comma else r"[, '\u00a0\u202f]"
        text = text.zip_with(~marked, text.str.replace_all(separators, ""))
    if decimal_comma:
        text = text.str.replace(",", ".", literal=True)
    return text.cast(pl.Float64, strict=False)


def looks_numeric(cells: pl.Series, *, decimal_comma: bool) -> bool:
    """Return True if at least half of a column's known cells are numbers, or none is known."""
    if cells.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return True
    text = _clean(cells)
    known = len(text) - text.null_count()
    return len(text) - as_numbers(text, decimal_comma=decimal_comma).null_count() >= _MOSTLY * known


def _floats(cells: pl.Series) -> Numbers:
    return cells.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def days(cells: pl.Series, first_row: int, faults: Faults) -> Days:
    """Return a column's days without times of day; add an error for each cell that is not a date."""
    kind = cells.dtype
    if kind == pl.Date:
        found = cells
    elif isinstance(kind, pl.Datetime):
        found = cells.dt.replace_time_zone(None).dt.date()
    elif kind.is_numeric():
        found = _days_of_numbers(cells)
    elif kind in (pl.String, pl.Categorical, pl.Enum):
        found = _days_of_texts(cells.cast(pl.String).str.strip_chars(), faults)
    else:
        faults.error(f"column {cells.name}: it holds {kind}, not dates", hint=_DATE_HINT)
        return np.full(len(cells), np.datetime64("NaT"), dtype="datetime64[D]")
    bad = _indices(found.is_null())
    faults.errors_at(
        (f"row {first_row + i}, column {cells.name}: {_shown(cells[i])} is not a date" for i in bad),
        len(bad),
        f"cells of column {cells.name} are not dates",
        hint=_DATE_HINT,
    )
    return found.cast(pl.Date).to_numpy().astype("datetime64[D]")


def times_of_day(cells: pl.Series) -> list[str]:
    """Return the distinct times of day in a column of dates, in order."""
    kind = cells.dtype
    if isinstance(kind, pl.Datetime):
        times = cells.dt.time().cast(pl.String)
    elif kind in (pl.String, pl.Categorical, pl.Enum):
        text = cells.cast(pl.String)
        if text.str.contains(":", literal=True).any():
            times = text.str.extract(_TIME).str.strip_chars()
        else:
            times = _clock(text.cast(pl.Float64, strict=False))
    elif kind.is_numeric():
        times = _clock(cells.cast(pl.Float64))
    else:
        return []
    return sorted(times.drop_nulls().unique().to_list())


def clock_times(cells: pl.Series) -> list[str]:
    """Return the distinct times of day in a column of times alone, in order."""
    if cells.dtype.is_numeric():
        return [str(one) for one in sorted(cells.drop_nulls().cast(pl.Int64).unique().to_list())]
    text = cells.cast(pl.String).str.strip_chars()
    return sorted(text.filter(text.str.contains(r"^\d{1,2}:?\d{2}(:?\d{2}(\.\d+)?)?$")).unique().to_list())


def _clock(stamps: pl.Series) -> pl.Series:
    """Return the times of day of numbers that count seconds (to nanoseconds) since 1970; empty for yyyymmdd."""
    whole = stamps.fill_nan(None)
    unit = _unit(whole)
    if unit is None:
        return pl.Series([], dtype=pl.String)
    return pl.from_epoch(whole.cast(pl.Int64, strict=False), time_unit=unit).dt.time().cast(pl.String)


def _shown(cell: object) -> str:
    return "an empty cell" if cell is None or cell == "" else repr(cell)


def _days_of_numbers(cells: pl.Series) -> pl.Series:
    """Return days from yyyymmdd, or from seconds (to nanoseconds) since 1970 if all numbers are too large."""
    whole = cells.cast(pl.Float64).fill_nan(None)
    unit = _unit(whole)
    if unit is not None:
        return pl.from_epoch(cells.cast(pl.Int64, strict=False), time_unit=unit).cast(pl.Date)
    dated = whole.is_between(_FIRST, _LAST) & (whole == whole.floor())
    text = whole.set(~dated.fill_null(value=False), None).cast(pl.Int64).cast(pl.String)
    return text.str.to_date("%Y%m%d", strict=False)


def _unit(stamps: pl.Series) -> Literal["s", "ms", "us", "ns"] | None:
    """Return the unit of times since 1970; None if the numbers may be yyyymmdd."""
    least, most = stamps.min(), stamps.max()
    if not (isinstance(least, float) and isinstance(most, float) and least > _LAST):
        return None
    return next((unit for bound, unit in _EPOCHS if most < bound), _EPOCHS[-1][1])


def _days_of_texts(text: pl.Series, faults: Faults) -> pl.Series:
    if text.str.contains(_NUMBER_DAY).fill_null(value=True).all():
        return _days_of_numbers(text.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False))
    day = text.str.extract(_DAY_PART)
    different = day.unique(maintain_order=True)
    read: dict[str, int] = {}
    for form in _FORMATS:
        read[form] = len(different) - _dated(different, form).null_count()
        if read[form] == len(different) and form not in _AMBIGUOUS:
            break
    best = max(read, key=lambda form: read[form])
    other = _AMBIGUOUS.get(best)
    if other and read[best] == read[other]:
        faults.error(
            f"column {text.name}: {day[0]!r} may be month/day or day/month, and no row decides it",
            hint=_DATE_HINT,
        )
    return _dated(day, best)


def _dated(text: pl.Series, form: str) -> pl.Series:
    """Return texts as dates of one form, null for others and for years such as 24, which %Y reads too."""
    dates = text.str.to_date(form, strict=False)
    return dates.set(~dates.dt.year().is_between(_FIRST // 10000, _LAST // 10000), None)


def symbols(cells: pl.Series, first_row: int, faults: Faults) -> tuple[tuple[str, ...], Codes]:
    """Return the symbols in order and each row's index among them; add an error for each missing symbol."""
    text = _integers(cells).cast(pl.String).str.strip_chars()
    bad = _indices(text.is_null() | (text == ""))
    faults.errors_at(
        (f"row {first_row + i}, column {cells.name}: the symbol is missing" for i in bad),
        len(bad),
        "rows have no symbol",
        hint="Give each row a symbol.",
    )
    fractions = text.filter(text.str.contains(_FRACTION))
    if len(fractions) > _MOSTLY * len(text):
        faults.error(
            f"column {cells.name} is taken for the symbols, and holds numbers such as {fractions[0]}",
            hint=f"Rename it if it holds prices, as in close_{cells.name}, or write symbols in it.",
        )
    return _coded(text)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return distinct names in order: numeric if all are whole numbers, else alphabetic."""
    text = pl.Series(sorted(set(names)), dtype=pl.String)
    if len(text) and text.str.contains(_WHOLE).all() and text.str.len_chars().max() < 19:  # type: ignore[operator]  # noqa: PLR2004
        return tuple(sorted(text.to_list(), key=int))
    return tuple(text.to_list())


def _coded(text: pl.Series) -> tuple[tuple[str, ...], Codes]:
    names = in_order(text.drop_nulls().unique().to_list())
    codes = text.cast(pl.Enum(names)).to_physical().cast(pl.Int32).fill_null(-1)
    return names, codes.to_numpy().astype(np.int32, copy=False)


def groups(cells: pl.Series, faults: Faults) -> tuple[tuple[str, ...], Codes]:
    """Return the names of a column's groups in order, and each row's code, -1 for no group.

    Adds a warning if most names are numbers with a sign or a unit.
    """
    names, codes = _coded(_clean(_integers(cells)))
    units = [name for name in names if _WITH_UNIT.match(name)]
    if len(units) > _MOSTLY * len(names):
        faults.warn(
            f"the column {cells.name} is read as a grouping, since {units[0]!r} is no number; "
            "numbers without a sign or a unit can be used as a field"
        )
    return names, codes


def _integers(cells: pl.Series) -> pl.Series:
    """Return floats as integers if all are whole: a column with missing cells is read as floats."""
    if not cells.dtype.is_float():
        return cells
    known = cells.fill_nan(None)
    whole = known.cast(pl.Int64, strict=False)
    return whole if (whole.cast(pl.Float64) == known).fill_null(value=True).all() else known


def flags(cells: pl.Series, first_row: int, faults: Faults) -> npt.NDArray[np.bool_]:
    """Return a column's flags: True for true or 1, False for anything else and for missing cells."""
    inside: npt.NDArray[np.bool_] = numbers(cells, first_row, faults) == 1.0
    return inside
