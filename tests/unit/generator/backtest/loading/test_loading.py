import datetime as dt
import gzip
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from generator.backtest.errors import PanelError
from generator.backtest.loading import load_panel
from generator.backtest.loading.cache import PanelCache
from generator.backtest.loading.memory import panel_bytes, usable_address_space
from generator.backtest.panel import Panel

HEADER = "date,symbol,open,high,low,close,volume,sector"
GOOD = [
    "2020-01-02,AAA,10,11,9,10.5,1000,tech",
    "2020-01-02,BBB,20,21,19,20.5,2000,oil",
    "2020-01-03,AAA,10.5,11.5,10,11,1100,tech",
    "2020-01-03,BBB,20.5,22,20,21,2100,oil",
    "2020-01-06,AAA,11,12,10.5,11.5,1200,tech",
    "2020-01-06,BBB,21,22.5,20.5,22,2200,oil",
]
CLOSE = [[10.5, 20.5], [11, 21], [11.5, 22]]
DATES = ["2020-01-02", "2020-01-03", "2020-01-06"]


def file(folder: Path, rows: Sequence[str] = GOOD, header: str = HEADER, name: str = "panel.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def changed(row: int, old: str, new: str) -> list[str]:
    """The good rows with one of them changed; rows count as in the file, whose first is the header."""
    rows = list(GOOD)
    assert old in rows[row - 2]
    rows[row - 2] = rows[row - 2].replace(old, new)
    return rows


def same_close(panel: Panel) -> None:
    assert [str(day) for day in panel.dates] == DATES
    assert panel.symbols == ("AAA", "BBB")
    np.testing.assert_array_equal(panel.fields["close"], CLOSE)


def test_a_long_file_becomes_matrices_with_fields_that_follow(tmp_path: Path) -> None:
    panel = load_panel(file(tmp_path))
    same_close(panel)
    assert panel.source == "panel"
    assert panel.warnings == ()
    np.testing.assert_array_equal(panel.groups["sector"], [[1, 0]] * 3)
    assert panel.group_names["sector"] == ("oil", "tech")
    np.testing.assert_array_equal(panel.fields["returns"][0], [np.nan, np.nan])
    np.testing.assert_allclose(panel.fields["returns"][1], [11 / 10.5 - 1, 21 / 20.5 - 1])
    np.testing.assert_allclose(panel.fields["adv20"][2], [1100, 2100])
    np.testing.assert_allclose(panel.fields["vwap"][0], [30.5 / 3, 60.5 / 3])


def frame(dates: Any = None, symbols: Any = None) -> pl.DataFrame:
    cells = [row.split(",") for row in GOOD]
    return pl.DataFrame(
        {
            "date": dates if dates is not None else [row[0] for row in cells],
            "symbol": symbols if symbols is not None else [row[1] for row in cells],
            "close": [float(row[5]) for row in cells],
            "sector": [row[7] for row in cells],
        }
    )


DAYS = [dt.date.fromisoformat(row[:10]) for row in GOOD]
DATE_KINDS: dict[str, Callable[[], Any]] = {
    "iso": lambda: [day.isoformat() for day in DAYS],
    "date": lambda: DAYS,
    "datetime": lambda: pl.Series(DAYS).cast(pl.Datetime("us")) + dt.timedelta(hours=16),
    "aware": lambda: pl.Series(DAYS).cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York"),
    "int": lambda: [d.year * 10000 + d.month * 100 + d.day for d in DAYS],
    "float": lambda: [float(d.year * 10000 + d.month * 100 + d.day) for d in DAYS],
    "compact": lambda: [f"{d:%Y%m%d}" for d in DAYS],
    "german": lambda: [f"{d:%d.%m.%Y}" for d in DAYS],
    "stamp": lambda: [f"{d}T00:00:00Z" for d in DAYS],
    "spaced": lambda: [f"{d} 00:00:00" for d in DAYS],
    "slashes": lambda: [f"{d:%Y/%m/%d}" for d in DAYS],
    "NSE's": lambda: [f"{d:%d-%b-%y}" for d in DAYS],
    "seconds": lambda: [int(dt.datetime(d.year, d.month, d.day, tzinfo=dt.UTC).timestamp()) for d in DAYS],
    "nanoseconds": lambda: [
        int(dt.datetime(d.year, d.month, d.day, tzinfo=dt.UTC).timestamp()) * 10**9 for d in DAYS
    ],
    "categorical": lambda: pl.Series([d.isoformat() for d in DAYS]).cast(pl.Categorical),
}


@pytest.mark.parametrize("kind", DATE_KINDS)
def test_dates_are_read_however_they_are_written(tmp_path: Path, kind: str) -> None:
    table = frame(dates=DATE_KINDS[kind]())
    table.write_parquet(tmp_path / "p.parquet")
    same_close(load_panel(tmp_path / "p.parquet"))
    if kind not in {"datetime", "aware", "categorical"}:
        table.write_csv(tmp_path / "p.csv")
        same_close(load_panel(tmp_path / "p.csv"))


def test_the_order_of_day_and_month_needs_a_row_that_decides_it(tmp_path: Path) -> None:
    rows = [f"{d},A,{i + 1}" for i, d in enumerate(["01/02/2020", "02/02/2020", "25/02/2020"])]
    panel = load_panel(file(tmp_path, rows, "date,symbol,close"))
    assert [str(day) for day in panel.dates] == ["2020-02-01", "2020-02-02", "2020-02-25"]
    with pytest.raises(PanelError, match="month/day or day/month"):
        load_panel(file(tmp_path, rows[:2], "date,symbol,close"))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([10, 9, 10, 9, 10, 9], ("9", "10")),
        (["010", "9", "010", "9", "010", "9"], ("010", "9")),
        (["NA", "nan", "NA", "nan", "NA", "nan"], ("NA", "nan")),
        (["b", "B", "b", "B", "b", "B"], ("B", "b")),
    ],
)
def test_symbols_are_in_alphabetic_order_and_whole_numbers_in_numeric_order(
    tmp_path: Path, given: list[Any], wanted: tuple[str, ...]
) -> None:
    table = frame(symbols=given)
    table.write_parquet(tmp_path / "p.parquet")
    table.write_csv(tmp_path / "p.csv")
    for name in ("p.parquet", "p.csv"):
        panel = load_panel(tmp_path / name)
        assert panel.symbols == wanted
        order = [wanted.index(str(given[0])), wanted.index(str(given[1]))]
        np.testing.assert_array_equal(panel.fields["close"][:, order], CLOSE)


def wide(names: Callable[[str, str], str]) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {"date": DATES}
    for name in ("close", "sector"):
        for s, symbol in enumerate(("BBB", "AAA")):
            cells = [row[1 - s] for row in CLOSE] if name == "close" else [("oil", "tech")[s]] * 3
            columns[names(name, symbol)] = cells
    return pl.DataFrame(columns)


@pytest.mark.parametrize(
    "names",
    [
        lambda f, s: f"{f}_{s}",
        lambda f, s: f"{s}_{f}",
        lambda f, s: f"{s}.{f.upper()}",
        lambda f, s: f"{f}:{s}",
        lambda f, s: f"('{f}', '{s}')",
        lambda f, s: f"('{s}', '{f}')",
    ],
)
def test_a_wide_file_names_field_and_symbol_in_its_columns(
    tmp_path: Path, names: Callable[[str, str], str]
) -> None:
    wide(names).write_parquet(tmp_path / "w.parquet")
    wide(names).write_csv(tmp_path / "w.csv")
    for name in ("w.parquet", "w.csv"):
        panel = load_panel(tmp_path / name)
        same_close(panel)
        assert panel.group_names["sector"] == ("oil", "tech")
        np.testing.assert_array_equal(panel.groups["sector"], [[1, 0]] * 3)


def test_in_a_wide_file_warnings_name_the_cells_own_column(tmp_path: Path) -> None:
    rows = ["2020-01-01,1,2", "2020-01-02,1,-2"]
    panel = load_panel(file(tmp_path, rows, "date,close_A,close_B"))
    assert panel.warnings == ("row 3, column close_B: close of B on 2020-01-02 is negative (-2)",)


def test_columns_named_after_symbols_hold_closes(tmp_path: Path) -> None:
    rows = [f"{day},{b},{a}" for day, (a, b) in zip(DATES, CLOSE, strict=True)]
    panel = load_panel(file(tmp_path, rows, "date,BBB,AAA"))
    same_close(panel)
    assert "read as the close" in panel.warnings[0]


def test_a_folder_has_a_file_a_field(tmp_path: Path) -> None:
    folder = tmp_path / "panel"
    folder.mkdir()
    file(
        folder, [f"{d},{b},{a}" for d, (a, b) in zip(DATES, CLOSE, strict=True)], "date,BBB,AAA", "close.csv"
    )
    file(folder, ["2020-01-03,oil,tech,5"], "date,BBB,AAA,CCC", "sector.csv")
    pl.DataFrame({"date": DATES[1:], "AAA": [1.0, None]}).write_parquet(folder / "eps.parquet")
    panel = load_panel(folder)
    assert panel.symbols == ("AAA", "BBB", "CCC")
    np.testing.assert_array_equal(panel.fields["close"][:, :2], CLOSE)
    np.testing.assert_array_equal(panel.fields["eps"][:, 0], [np.nan, 1.0, np.nan])
    np.testing.assert_array_equal(panel.groups["sector"][1], [2, 1, 0])
    (folder / "volume.csv").write_text("date,AAA\n2020-01-02,many\n")
    with pytest.raises(PanelError, match=r"row 2, column AAA of volume\.csv: 'many' is not a number"):
        load_panel(folder)


DIALECTS: dict[str, bytes] = {
    "bom": b"\xef\xbb\xbf" + "\n".join([HEADER, *GOOD]).encode(),
    "crlf": "\r\n".join([HEADER, *GOOD, ""]).encode(),
    "semicolons": "\n".join([HEADER, *GOOD]).replace(",", ";").encode(),
    "tabs": "\n".join([HEADER, *GOOD]).replace(",", "\t").encode(),
    "decimal commas": "\n".join([HEADER, *GOOD]).replace(",", ";").replace(".", ",").encode(),
    "quoted": "\n".join(",".join(f'"{c}"' for c in row.split(",")) for row in [HEADER, *GOOD]).encode(),
    "other names": "\n".join(["Date,Ticker,Open,High,Low,Close,Vol,GICS Sector", *GOOD]).encode(),
    "numbered": "\n".join([f",{HEADER}", *(f"{i},{row}" for i, row in enumerate(GOOD))]).encode(),
    "spaces": "\n".join(row.replace(",", " , ") for row in [HEADER, *GOOD]).encode(),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_csv_dialects(tmp_path: Path, dialect: str) -> None:
    (tmp_path / "p.csv").write_bytes(DIALECTS[dialect])
    panel = load_panel(tmp_path / "p.csv")
    same_close(panel)
    assert panel.group_names["sector"] == ("oil", "tech")
    assert {"open", "high", "low", "volume"} <= panel.fields.keys()
    with gzip.open(tmp_path / "p.csv.gz", "wb") as stream:
        stream.write(DIALECTS[dialect])
    same_close(load_panel(tmp_path / "p.csv.gz"))


def test_empty_cells_and_their_words_are_missing(tmp_path: Path) -> None:
    words = ["", "NA", "n/a", "nan", "NULL", "-", "None", "\N{EM DASH}"]
    rows = [f"2020-01-{i + 1:02},A,{word},1" for i, word in enumerate(words)]
    panel = load_panel(file(tmp_path, [*rows, "2020-01-20,A,inf,1"], "date,symbol,eps,close"))
    assert np.isnan(panel.fields["eps"][:-1]).all()
    assert np.isinf(panel.fields["eps"][-1]).all()
    assert any(w.startswith("row 10, column eps: eps of A on 2020-01-20 is infinite") for w in panel.warnings)


def test_any_further_column_is_a_field_or_a_grouping(tmp_path: Path) -> None:
    rows = [
        f"2020-01-{d:02},{s},{d},x{d % 2},{d % 3},{d % 2 == 0},{d > 1},EPS{d}"
        for d in (1, 2, 3)
        for s in "AB"
    ]
    panel = load_panel(file(tmp_path, rows, "date,symbol,close,style,industry,flag,universe,Note"))
    assert set(panel.group_names) == {"style", "industry", "Note"}
    np.testing.assert_array_equal(panel.fields["flag"][:, 1], [0, 1, 0])
    assert panel.group_names["industry"] == ("0", "1", "2")
    assert panel.universe is not None
    np.testing.assert_array_equal(panel.universe[:, 0], [False, True, True])


ERRORS: dict[str, tuple[list[str], str, str]] = {
    "a date and symbol twice": ([*GOOD, GOOD[1]], HEADER, r"row 8: BBB on 2020-01-02 .* in row 3 "),
    "no number": (changed(4, ",11,", ",abc,"), HEADER, r"row 4, column close: 'abc' is not a number"),
    "two numbers in one": (
        changed(4, "1100", '"1,10"'),
        HEADER,
        r"row 4, column volume: '1,10' is not a number",
    ),
    "no date": (changed(5, "2020-01-03", "soon"), HEADER, r"row 5, column date: 'soon' is not a date"),
    "two digits of year": (
        [row.replace("2020-01-0", "0").replace(",", ".01.20,", 1) for row in GOOD],
        HEADER,
        r"row 2, column date: '02\.01\.20' is not a date",
    ),
    "a year of Taiwan": (
        [row.replace("2020-", "109/").replace("-", "/") for row in GOOD],
        HEADER,
        r"row 2, column date: '109/01/02' is not a date",
    ),
    "an empty date": (
        changed(5, "2020-01-03", ""),
        HEADER,
        r"row 5, column date: an empty cell is not a date",
    ),
    "an empty symbol": (changed(3, "BBB", ""), HEADER, r"row 3, column symbol: the symbol is missing"),
    "no symbol column": (
        GOOD,
        HEADER.replace("symbol", "what"),
        r"no symbol column; the columns are date, what",
    ),
    "no date column": (GOOD, HEADER.replace("date", "when"), r"no date column; the columns are when, symbol"),
    "a column twice": (GOOD, HEADER.replace("open", "close"), r"row 1: the column 'close' is repeated"),
    "two names for one": (GOOD, HEADER.replace("open", "vol"), r"'vol' and 'volume' both mean volume"),
    "a long row": (changed(4, "tech", "tech,1,2"), HEADER, r"row 4 has 10 cells, and there are 8 columns"),
    "no rows": ([], HEADER, r"no row below the header"),
    "one column": (["1"], "date", r"row 1 has only one column"),
    "no values": (["2020-01-01,A"], "date,symbol", r"no column with values"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_unusable_cells_are_errors_with_row_and_column(tmp_path: Path, kind: str) -> None:
    rows, header, wanted = ERRORS[kind]
    with pytest.raises(PanelError, match=wanted):
        load_panel(file(tmp_path, rows, header))


WARNINGS: dict[str, tuple[list[str], str]] = {
    "negative price": (changed(4, ",11,", ",-11,"), r"row 4, column close: close of AAA on 2020-01-03 is negative \(-11\)"),
    "zero close before others": (changed(4, ",11,", ",0,"), r"row 4, column close: .* is zero before other closes"),
    "zero close at the end": (changed(6, ",11.5,", ",0,"), r"row 6, column close: .* is zero \(0\)"),
    "zero price": (changed(4, "10.5,11.5", "0,11.5"), r"row 4, column open: open of AAA on 2020-01-03 is zero"),
    "negative volume": (changed(4, "1100", "-5"), r"row 4, column volume: .* is negative"),
    "high below low": (changed(4, "11.5", "9.9"), r"row 4, column high: .* is below low"),
    "close outside": (changed(7, ",22,2200", ",23,2200"), r"row 7, column close: .* is not between low and high"),
    "gap": (GOOD[:2] + GOOD[3:], r"row 5, column close: AAA has a gap from 2020-01-03; 1 of 3 dates are missing"),
    "unsorted": ([*GOOD[2:4], *GOOD[:2], *GOOD[4:]], r"row 4, column date: 2020-01-02 comes after 2020-01-03"),
    "pause": ([row.replace("2020-01-06", "2020-02-06") for row in GOOD], r"no date between 2020-01-03 and 2020-02-06"),
    "split": (changed(7, "20.5,22,", "6,7,"), r"row 7, column close: .* round factor: a split .*\(7\)"),
    "spike": (changed(4, ",11,", ",110,"), r"row 4, column close: .* comes back the next day"),
    "one date": (GOOD[:2], r"only one date, 2020-01-02"),
    "infinite": (changed(4, "1100", "inf"), r"row 4, column volume: .* is infinite"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WARNINGS)
def test_suspicious_values_are_warnings_with_row_and_column(tmp_path: Path, kind: str) -> None:
    rows, wanted = WARNINGS[kind]
    panel = load_panel(file(tmp_path, rows))
    assert any(re.search(wanted, warning) for warning in panel.warnings), panel.warnings


def test_files_sorted_by_symbol_are_in_order_too(tmp_path: Path) -> None:
    panel = load_panel(file(tmp_path, [*GOOD[::2], *GOOD[1::2]]))
    same_close(panel)
    assert panel.warnings == ()


def test_all_errors_come_at_once_and_many_of_a_kind_are_counted(tmp_path: Path) -> None:
    rows = [f"2020-01-{d:02},A,bad,x{d}" for d in range(1, 21)]
    with pytest.raises(PanelError) as caught:
        load_panel(file(tmp_path, [*rows, "never,,1,2"], "date,symbol,close,volume"))
    text = caught.value.message
    for wanted in (
        "row 22, column date",
        "row 22, column symbol",
        "row 2, column close: 'bad'",
        "15 more cells",
    ):
        assert wanted in text
    assert "row 2, column volume: 'x1'" in text


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "row 1"),
        ("date,symbol,close\n2020-01-01,A,1\n".encode("utf-16"), "UTF-8"),
        (b"PAR1 and then nothing", "cannot be read"),
        (b"hello", "only one column"),
    ],
)
def test_files_that_are_not_tables_are_refused(tmp_path: Path, content: bytes, wanted: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(content)
    with pytest.raises(PanelError, match=wanted):
        load_panel(path)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PanelError, match="no such file"):
        load_panel(tmp_path / "none.csv")


def test_a_path_that_cannot_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(PanelError, match="cannot be read: File name too long"):
        load_panel(tmp_path / ("x" * 300))


def test_a_panel_beyond_memory_is_refused_with_the_size_that_fits(tmp_path: Path) -> None:
    days, symbols = 300, 300
    start = np.datetime64("2019-01-01")
    pl.DataFrame(
        {
            "date": (start + np.arange(days)).astype(str),
            "symbol": [f"S{i}" for i in range(symbols)],
            "close": np.ones(days),
        }
    ).write_parquet(tmp_path / "sparse.parquet")
    memory = panel_bytes(days, symbols, 1) // 2
    with pytest.raises(PanelError) as caught:
        load_panel(tmp_path / "sparse.parquet", memory=memory)
    assert "300 dates x 300 instruments x 1 fields need 12.2 MB, and 6.1 MB are free" in caught.value.message
    assert "135 instruments, or 135 dates" in caught.value.message
    with pytest.raises(PanelError, match=r"reading it needs about .* % of it would fit"):
        load_panel(tmp_path / "sparse.parquet", memory=1000)


@pytest.mark.parametrize(
    ("addresses", "usable"),
    [(0, 0), (400 << 20, 100 << 20), (1024 << 20, 256 << 20), (4096 << 20, 3328 << 20)],
)
def test_a_limit_on_addresses_leaves_less_than_it_says(addresses: int, usable: int) -> None:
    assert usable_address_space(addresses) == usable


def _no_numpy_memory(*_: Any) -> None:
    raise MemoryError("Unable to allocate 28.6 MiB for an array")


def _no_polars_memory(*_: Any, **__: Any) -> None:
    raise pl.exceptions.ComputeError("Cannot allocate memory (os error 12)")


@pytest.mark.parametrize(
    ("where", "failing"),
    [
        ("generator.backtest.loading.quality_warnings", _no_numpy_memory),
        ("polars.read_parquet", _no_polars_memory),
    ],
)
def test_memory_that_runs_out_while_reading_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, failing: Callable[..., None]
) -> None:
    path = tmp_path / "panel.parquet"
    pl.DataFrame({"date": DATES, "symbol": ["A"] * 3, "close": [1.0, 2.0, 3.0]}).write_parquet(path)
    monkeypatch.setattr(where, failing)
    with pytest.raises(PanelError, match=r"memory ran out while reading.* may fit") as caught:
        load_panel(path)
    assert "with more memory" in caught.value.hint


# --- the kept form ---------------------------------------------------------------------------------------------------


def cached_folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def test_a_panel_is_read_once_and_then_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = file(tmp_path, changed(4, ",11,", ",-11,")), tmp_path / "panels"
    first = load_panel(path, cache=cache)
    monkeypatch.setattr("generator.backtest.loading.read_panel", None)  # it must not be read again
    again = load_panel(path, cache=cache)
    plain = again.fields["close"]
    assert type(plain) is np.ndarray
    assert isinstance(plain.base, np.memmap)
    assert plain.flags.c_contiguous
    assert again.warnings == first.warnings != ()
    assert again.symbols == first.symbols
    np.testing.assert_array_equal(again.dates, first.dates)
    assert again.fields.keys() == first.fields.keys()
    for name, values in first.fields.items():
        np.testing.assert_array_equal(again.fields[name], values)
    np.testing.assert_array_equal(again.groups["sector"], first.groups["sector"])
    assert again.group_names == first.group_names


def test_a_changed_file_is_read_again_and_its_old_panel_removed(tmp_path: Path) -> None:
    path, cache = file(tmp_path), tmp_path / "panels"
    load_panel(path, cache=cache)
    [old] = cached_folders(cache)
    stamp = path.stat()
    file(tmp_path, changed(4, ",11,", ",12,"))  # the same size
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # and the same time
    assert load_panel(path, cache=cache).fields["close"][1, 0] == 12
    [new] = cached_folders(cache)
    assert new != old


def test_a_touched_file_is_the_same_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = file(tmp_path), tmp_path / "panels"
    load_panel(path, cache=cache)
    os.utime(path, (time.time() - 100, time.time() - 100))
    monkeypatch.setattr("generator.backtest.loading.read_panel", None)
    same_close(load_panel(path, cache=cache))


@pytest.mark.parametrize("touched", [False, True])
def test_a_file_replaced_while_its_panel_is_cached_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, touched: bool
) -> None:
    path, cache = file(tmp_path), tmp_path / "panels"
    if touched:
        load_panel(path, cache=cache)
        os.utime(path, (1.0, 1.0))
    write = PanelCache._write_pointer

    def replaced(*args: Any) -> None:
        file(tmp_path, changed(4, ",11,", ",12,"))
        write(*args)

    monkeypatch.setattr(PanelCache, "_write_pointer", replaced)
    assert load_panel(path, cache=cache).fields["close"][1, 0] == 11
    monkeypatch.undo()
    assert load_panel(path, cache=cache).fields["close"][1, 0] == 12


def test_two_processes_may_tidy_the_cache_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_self: PanelCache) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(PanelCache, "_tidy", gone)
    path, cache = file(tmp_path), tmp_path / "panels"
    assert isinstance(load_panel(path, cache=cache).fields["close"].base, np.memmap)


def test_a_damaged_cached_panel_is_written_again(tmp_path: Path) -> None:
    path, cache = file(tmp_path), tmp_path / "panels"
    load_panel(path, cache=cache)
    [kept] = cached_folders(cache)
    (kept / "0.npy").unlink()
    same_close(load_panel(path, cache=cache))


def test_a_panel_that_cannot_be_cached_loads(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    same_close(load_panel(file(tmp_path), cache=tmp_path / "file" / "panels"))


def test_of_many_files_the_panels_used_last_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generator.backtest.loading.cache._KEPT", 2)
    cache = tmp_path / "panels"
    paths = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths.append(file(folder, changed(4, ",11,", f",1{number},")))
    for place, path in enumerate([paths[0], paths[1], paths[0], paths[2]]):
        load_panel(path, cache=cache)
        for pointer in cache.glob("*.json"):  # older by a second for each later use
            os.utime(pointer, times=(pointer.stat().st_mtime - 1, pointer.stat().st_mtime - 1))
        assert len(cached_folders(cache)) <= 2, place
    left = {json.loads(pointer.read_text())["path"] for pointer in cache.glob("*.json")}
    assert left == {str(paths[0]), str(paths[2])}


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    cache = tmp_path / "panels"
    old, new = cache / ".0123.old", cache / ".0123.new"
    for left in (old, new):
        left.mkdir(parents=True)
    os.utime(old, times=(1.0, 1.0))
    (cache / "fields.json").write_text("{}")
    load_panel(file(tmp_path), cache=cache)
    assert sorted(path.name for path in cache.glob(".*")) == [".0123.new"]
    assert (cache / "fields.json").exists()
