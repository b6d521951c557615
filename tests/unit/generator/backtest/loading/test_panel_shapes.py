"""Files as other tools write them: read by their meaning, or refused with a remedy that works."""

import gzip
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from generator.backtest.errors import PanelError
from generator.backtest.loading import load_panel
from generator.backtest.panel import Panel

DATA = Path(__file__).parents[4] / "data" / "panels"
DAYS = ["2020-01-02", "2020-01-03"]
OHLC = "2020-01-02,19,24,18,20,400\n2020-01-03,21,25,18,22,500\n"


def panel_of(folder: Path, text: str | bytes, name: str = "panel.csv") -> Panel:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_panel(path)


# --- two header rows -------------------------------------------------------------------------------------------------


def test_yfinance_writes_field_and_symbol_in_two_rows() -> None:
    panel = load_panel(DATA / "yf_multi_head.csv")
    assert panel.shape == (3, 12)
    assert {"open", "high", "low", "close", "volume"} <= panel.fields.keys()
    assert panel.fields["close"][:, panel.symbols.index("AAPL")].tolist() == [196.2, 195.12, 191.68]
    assert panel.fields["volume"][2, panel.symbols.index("T")] == 40459717
    assert panel.symbols.index("BRK.B") >= 0
    assert panel.warnings == ()


TWO_ROWS: dict[str, str] = {
    "the older one": ",Close,Close,Open,Open\n,AAPL,MSFT,AAPL,MSFT\nDate,,,,\n",
    'group_by="ticker"': "Ticker,AAPL,MSFT,AAPL,MSFT\nPrice,Close,Close,Open,Open\nDate,,,,\n",
    "no name of the index": "Date,Close,Close,Open,Open\n,AAPL,MSFT,AAPL,MSFT\n",
    "read and written again": "Price,Close,Close.1,Open,Open.1\nTicker,AAPL,MSFT,AAPL,MSFT\nDate,,,,\n",
    "Bloomberg": ",AAPL,MSFT,AAPL,MSFT\nDates,PX_LAST,PX_LAST,PX_OPEN,PX_OPEN\n",
    "adjusted closes": "Price,Adj Close,Adj Close,Open,Open\nTicker,AAPL,MSFT,AAPL,MSFT\nDate,,,,\n",
    "fields as symbols": "Ticker,LOW,OPEN,LOW,OPEN\nPrice,Close,Close,Open,Open\nDate,,,,\n",
    "numbers as symbols": "Price,Close,Close,Open,Open\nTicker,1,2,1,2\nDate,,,,\n",
}


@pytest.mark.parametrize("kind", TWO_ROWS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_two_header_rows_in_any_order(tmp_path: Path, kind: str, separator: str) -> None:
    text = TWO_ROWS[kind] + "2020-01-02,1,2,3,4\n2020-01-03,5,6,7,8\n"
    panel = panel_of(tmp_path, text.replace(",", separator))
    odd = {"numbers as symbols": ("1", "2"), "fields as symbols": ("LOW", "OPEN")}
    assert panel.symbols == odd.get(kind, ("AAPL", "MSFT"))
    np.testing.assert_array_equal(panel.fields["close"], [[1, 2], [5, 6]])
    np.testing.assert_array_equal(panel.fields["open"], [[3, 4], [7, 8]])


@pytest.mark.parametrize(
    "header",
    [
        "Price,Open,High,Low,Close,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,\n",
        "Ticker,AAPL,AAPL,AAPL,AAPL,AAPL\nPrice,Open,High,Low,Close,Volume\nDate,,,,,\n",
    ],
)
def test_one_ticker_has_two_header_rows_too(tmp_path: Path, header: str) -> None:
    panel = panel_of(tmp_path, header + OHLC)
    assert panel.symbols == ("AAPL",)
    assert panel.fields["volume"].tolist() == [[400], [500]]


@pytest.mark.parametrize(
    "text",
    [
        "symbol,date,sector\nAAA,2020-01-02,tech\nAAA,2020-01-03,tech\n",
        "symbol,date,sector,close\nAAA,31.01.2020,tech,1\nAAA,03.02.2020,tech,2\n",
        "date,AAA,BBB\n2020-01-02,1,2\n2020-01-03,3,4\n",
    ],
)
def test_a_row_of_texts_is_no_header(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    try:
        assert load_panel(path).shape[0] == 2
    except PanelError as error:
        assert "no column holds numbers" in error.message  # noqa: PT017


# --- names of other tools and scripts --------------------------------------------------------------------------------


def test_columns_of_other_scripts_are_translated_or_left_out() -> None:
    panel = load_panel(DATA / "ak3_head.csv")
    assert panel.fields["close"].ravel().tolist() == [196.2, 195.12, 191.68, 189.94, 186.21]
    assert panel.fields["open"][0, 0] == 196.75
    assert panel.fields["high"][0, 0] == 197.93
    for column in ("成交额", "振幅", "涨跌幅", "涨跌额", "换手率"):
        assert sum(repr(column) in warning and "left out" in warning for warning in panel.warnings) == 1
    assert "column names are translated: '开盘' as open, '最高' as high, '最低' as low" in panel.warnings
    assert not any("both mean" in warning for warning in panel.warnings)


OTHER_TOOLS: dict[str, tuple[str, tuple[str, ...], set[str]]] = {
    "Kaggle": ("date,open,close,volume,Name\n{day},1,2,3,AAL\n", ("AAL",), {"open", "close", "volume"}),
    "tushare": ("ts_code,trade_date,open,close,vol\n000001.SZ,{compact},1,2,3\n", ("000001.SZ",), {"close", "volume"}),
    "Binance": ("symbol,open_time,open,close,volume,close_time\nBTCUSDT,{epoch},1,2,3,4\n", ("BTCUSDT",), {"close"}),
    "akshare": ("日期,股票代码,开盘,收盘,成交量\n{day},000001,1,2,3\n", ("000001",), {"open", "close", "volume"}),
    "Korean": ("날짜,종목코드,시가,종가,거래량\n{day},005930,1,2,3\n", ("005930",), {"open", "close", "volume"}),
    "Japanese": ("日付,コード,始値,終値,出来高\n{day},7203,1,2,3\n", ("7203",), {"open", "close", "volume"}),
    "Chinese dates": ("date,symbol,close\n{chinese},A,2\n", ("A",), {"close"}),
    "Stooq": ("<TICKER>,<DATE>,<TIME>,<OPEN>,<CLOSE>,<VOL>\nA.US,{compact},000000,1,2,3\n", ("A.US",), {"close", "volume"}),
    "Alpha Vantage": ("timestamp,symbol,1. open,4. close\n{day},A,1,2\n", ("A",), {"open", "close"}),
    "Qlib": ("datetime,instrument,$open,$close\n{day},SH600000,1,2\n", ("SH600000",), {"open", "close"}),
    "Investing": ('Date,Symbol,Price,Open\n"{us}",A,2,1\n', ("A",), {"open", "close"}),
    "NSE": ("SYMBOL,OPEN,CLOSE,TOTTRDQTY,TIMESTAMP,\nACC,1,2,3,{nse},\n", ("ACC",), {"close", "volume"}),
    "Nasdaq": ("Symbol,Date,Close/Last,Volume,Open\nA,{day},2,3,1\n", ("A",), {"open", "close", "volume"}),
    "Wind": ("代码,日期,收盘价(元),成交量\uff08股\uff09\n000001.SZ,{day},2,3\n", ("000001.SZ",), {"close", "volume"}),
    "units": ("date,symbol,Close (USD),Volume (A),Volume (B)\n{day},A,2,3,4\n", ("A",), {"close", "Volume_A", "Volume_B"}),
    "CRSP": ("PERMNO,date,PRC,VOL,SHROUT\n10107,{day},2,3,4\n", ("10107",), {"close", "volume", "sharesout"}),
    "adjusted closes alone": ("Date,Ticker,Adj Close\n{day},A,2\n", ("A",), {"close"}),
    "adjusted closes alone, wide": ("Date,Adj Close_A,Volume_A\n{day},2,3\n", ("A",), {"close", "volume"}),
    "adjusted closes beside others": ("Date,Ticker,Adj Close,Close\n{day},A,1,2\n", ("A",), {"close", "Adj_Close"}),
    "Bloomberg": ("Dates,AAPL US Equity\n{day},2\n", ("AAPL US Equity",), {"close"}),
    "NSE, new": ("TradDt,FinInstrmId,ISIN,TckrSymb,OpnPric,ClsPric\n{day},22,INE0,ACC,1,2\n", ("ACC",), {"close"}),
    "AmiBroker": ("<Ticker>,<DTYYYYMMDD>,<Close>\nVNM,{compact},2\n", ("VNM",), {"close"}),
    "CoinGecko": ("symbol,snapped_at,price,market_cap\nbtc,{day} 00:00:00 UTC,2,3\n", ("btc",), {"close", "cap"}),
    "Databento": ("ts_event,instrument_id,close,symbol\n{day}T00:00:00.000000000Z,32,2,A\n", ("A",), {"close"}),
    "two underscores": ("date,A__close,A__volume\n{day},2,3\n", ("A",), {"close", "volume"}),
    "day names with times": ("Date,Ticker,Close\n{day} 00:00:00-05:00,A,2\n", ("A",), {"close"}),
}  # fmt: skip
WRITTEN = [
    {
        "day": day, "compact": day.replace("-", ""), "us": f"Jan 0{day[-1]}, 2020", "nse": f"0{day[-1]}-JAN-2020",
        "epoch": str(np.datetime64(day, "ms").astype(int)), "chinese": f"2020年1月{day[-1]}日",
    }
    for day in DAYS
]  # fmt: skip


@pytest.mark.parametrize("tool", OTHER_TOOLS)
def test_files_of_other_tools_are_read(tmp_path: Path, tool: str) -> None:
    text, symbols, fields = OTHER_TOOLS[tool]
    header, row = text.split("\n", 1)
    panel = panel_of(tmp_path, f"{header}\n" + "".join(row.format(**day) for day in WRITTEN))
    assert [str(day) for day in panel.dates] == DAYS
    assert panel.symbols == symbols
    assert fields <= panel.fields.keys()
    assert panel.fields["close"].tolist() == [[2], [2]]


@pytest.mark.parametrize(
    "names",
    ["AAPL.US,LOW.US,CAP.US", "BTC/USDT,CAP/USDT,LOW/USDT", "A US,LOW US,OPEN US", "NYSE:LOW,NYSE:OPEN,NYSE:IBM",
     "BTC_USDT,OPEN_USDT", "NASDAQ_AAPL,NASDAQ_OPEN,NYSE_LOW,NYSE_IBM", "AAPL,COIN,LOW"],
)  # fmt: skip
def test_a_ticker_that_is_a_fields_name_too_is_no_field(tmp_path: Path, names: str) -> None:
    cells = ",".join(str(i) for i, _ in enumerate(names.split(","), start=1))
    text = f"date,{names}\n2020-01-02,{cells}\n2020-01-03,{cells}\n"
    panel = panel_of(tmp_path, text)
    assert panel.symbols == tuple(sorted(names.split(",")))
    assert set(panel.fields) == {"close", "returns"}
    folder = write(tmp_path / "p", {"close.csv": text, "volume.csv": text})
    assert load_panel(folder).symbols == panel.symbols


def test_a_folder_of_fields_may_have_tickers_that_are_fields_names(tmp_path: Path) -> None:
    text = "date,AAPL,LOW,CAP\n2020-01-02,1,2,3\n2020-01-03,1,2,3\n"
    panel = load_panel(write(tmp_path / "p", {"close.csv": text, "volume.csv": text}))
    assert panel.symbols == ("AAPL", "CAP", "LOW")
    np.testing.assert_array_equal(panel.fields["close"][0], [1, 3, 2])


@pytest.mark.parametrize(
    "names", ["Open,High,Low", "LOW,CAP,AAPL", "low,AAPL,MSFT", "CLOSE,SMA,RSI", "Open,SMA,RSI"]
)
def test_fields_without_a_symbol_are_no_tickers(tmp_path: Path, names: str) -> None:
    with pytest.raises(PanelError, match="there is no symbol column"):
        panel_of(tmp_path, f"date,{names}\n2020-01-02,1,2,3\n")


def test_a_field_name_with_the_separator_in_it_is_found(tmp_path: Path) -> None:
    header = "date,close_A_SZ,open_interest_A_SZ,换手率_A_SZ,close_B_SZ,open_interest_B_SZ,换手率_B_SZ"
    panel = panel_of(tmp_path, f"{header}\n2020-01-02,1,2,3,4,5,6\n2020-01-03,1,2,3,4,5,6\n")
    assert panel.symbols == ("A_SZ", "B_SZ")
    np.testing.assert_array_equal(panel.fields["open_interest"], [[2, 5], [2, 5]])
    [warning] = panel.warnings
    assert warning.startswith("the column '换手率' is left out")


LATE = "".join(f"{day};A;7\n" for day in np.arange("2019-01-01", "2019-04-10", dtype="datetime64[D]"))
"""Rows without a comma, more than those that decide the dialect."""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('date,symbol,close\n2020-01-02,A,"1,100.5"\n2020-01-03,A,"12,345,678"\n', [1100.5, 12345678]),
        ('date,symbol,close\n2020-01-02,A,"-1,100"\n2020-01-03,A,7\n', [-1100, 7]),
        ("date,symbol,close\n2020-01-02,A,1 100.5\n2020-01-03,A,1'200\n", [1100.5, 1200]),
        ("date;symbol;close;x\n2020-01-02;A;1,100;0.5\n2020-01-03;A;12,345,678;0.5\n", [1100, 12345678]),
        ("date;symbol;close;x\n2020-01-02;A;1,100;1.100.000\n2020-01-03;A;2,250;7\n", [1.1, 2.25]),
        ("date;symbol;close\n2020-01-02;A;1.100\n2020-01-03;A;12.345.678\n", [1100, 12345678]),
        (
            "date;symbol;close\n" + LATE + "2020-01-02;B;1.100\n2020-01-03;B;1.100.000\n",
            [*[7] * 99, 1100, 1100000],
        ),
        ("date;symbol;close\n2020-01-02;A;1,100\n2020-01-03;A;12,345,678\n", [1100, 12345678]),
        ("date;symbol;close;x\n2020-01-02;A;1.100;0,5\n2020-01-03;A;1.234,56;0,5\n", [1100, 1234.56]),
        ("date\tsymbol\tclose\n2020-01-02\tA\t1,5\n2020-01-03\tA\t1,100\n", [1.5, 1.1]),
        ("date;symbol;close\n" + LATE + "2020-01-02;B;1,5\n2020-01-03;B;1,100\n", [*[7] * 99, 1.5, 1.1]),
        ("date;symbol;close;x\n" + LATE + "2020-01-02;B;1,100;0.5\n", [*[7] * 99, 1100]),
    ],
)
def test_separators_of_thousands_are_left_out(tmp_path: Path, text: str, wanted: list[float]) -> None:
    close = panel_of(tmp_path, text).fields["close"].T
    assert close[~np.isnan(close)].tolist() == wanted


# --- a file a symbol -------------------------------------------------------------------------------------------------


def write(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


SYMBOL_FILES: dict[str, Mapping[str, str]] = {
    "Kaggle": {f"{s}.csv": "Date,Open,High,Low,Close,Volume\n" + OHLC for s in ("AAPL", "BRK.B", "LOW")},
    "yfinance": {
        f"{s}.csv": f"Price,Open,High,Low,Close,Volume\nTicker,{s},{s},{s},{s},{s}\nDate,,,,,\n" + OHLC
        for s in ("AAPL", "BRK.B", "LOW")
    },
    "packed by macOS": {
        f"{prefix}{s}.csv": "Date,Open,High,Low,Close,Volume\n" + OHLC if not prefix else "\0\5\26\7"
        for s in ("AAPL", "BRK.B", "LOW")
        for prefix in ("", "._")
    },
    "with units": {
        f"{s}.csv": "Date,Open (USD),High (USD),Low (USD),Close (USD),Volume\n" + OHLC
        for s in ("AAPL", "BRK.B", "LOW")
    },
    "with a symbol column": {
        f"{i}.csv": "Name,Date,Open,High,Low,Close,Volume\n" + re.sub("(?m)^2", f"{s},2", OHLC)
        for i, s in enumerate(("AAPL", "BRK.B", "LOW"))
    },
}


@pytest.mark.parametrize("kind", SYMBOL_FILES)
def test_a_folder_may_have_a_file_a_symbol(tmp_path: Path, kind: str) -> None:
    panel = load_panel(write(tmp_path / "p", SYMBOL_FILES[kind]))
    assert panel.symbols == ("AAPL", "BRK.B", "LOW")
    assert [str(day) for day in panel.dates] == DAYS
    np.testing.assert_array_equal(panel.fields["close"], [[20] * 3, [22] * 3])
    np.testing.assert_array_equal(panel.fields["volume"], [[400] * 3, [500] * 3])
    assert panel.warnings == ()


def test_files_of_a_folder_differ_in_dates_and_columns(tmp_path: Path) -> None:
    files = {
        "A.csv": "date,close,sector,涨跌\n2020-01-02,1,tech,1\n2020-01-03,2,tech,1\n",
        "B.csv": "date,close,sector,涨跌\n2020-01-03,-5,oil,1\n",
        "C.csv": "date,close,eps,sector\n2020-01-06,7,9,\n",
    }
    panel = load_panel(write(tmp_path / "p", files))
    nan = np.nan
    np.testing.assert_array_equal(panel.fields["close"], [[1, nan, nan], [2, -5, nan], [nan, nan, 7]])
    np.testing.assert_array_equal(panel.fields["eps"][2], [nan, nan, 9])
    assert panel.group_names["sector"] == ("oil", "tech")
    np.testing.assert_array_equal(panel.groups["sector"][1], [1, 0, -1])
    assert any("'涨跌' is left out" in one and one.endswith("(in 2 files)") for one in panel.warnings)
    assert any(
        one.startswith("B.csv: row 2, column close: close of B on 2020-01-03 is neg")
        for one in panel.warnings
    )


def test_a_folder_may_have_a_file_a_year(tmp_path: Path) -> None:
    years = {f"{y}.csv": f"date,symbol,close\n{y}-01-02,A,1\n{y}-01-02,B,2\n" for y in (2019, 2020)}
    panel = load_panel(write(tmp_path / "p", years))
    np.testing.assert_array_equal(panel.fields["close"], [[1, 2], [1, 2]])


FOLDER_FAULTS: dict[str, tuple[Mapping[str, str], str, Callable[[Path], object]]] = {
    "a file that is none": (
        {"README.txt": "hello\n"},
        r"README\.txt: row 1 has only one column.*move the file out of the folder",
        lambda folder: (folder / "README.txt").unlink(),
    ),
    "a fault in a file": (
        {"D.csv": "date,close\n2020-01-02,many\n"},
        r"D\.csv: row 2, column close: 'many' is not a number",
        lambda folder: (folder / "D.csv").write_text("date,close\n2020-01-02,\n"),
    ),
    "a list of instruments": (
        {"symbols.csv": "symbol,name,sector\nA,Aa,tech\nB,Bb,oil\n"},
        r"symbols\.csv: there is no date column; the columns are symbol, name, sector.*move a file that is no panel",
        lambda folder: (folder / "symbols.csv").unlink(),
    ),
    "a symbol in two files": (
        {"D.csv": "date,symbol,close\n2020-01-02,A,3\n"},
        r"D\.csv: row 2: A on 2020-01-02 is also in another file",
        lambda folder: (folder / "D.csv").unlink(),
    ),
    "numbers here and texts there": (
        {"D.csv": "date,close,note\n2020-01-02,1,5\n", "E.csv": "date,close,note\n2020-01-02,1,x\n"},
        r"the column note holds numbers in D\.csv and texts in E\.csv",
        lambda folder: (folder / "D.csv").write_text("date,close\n2020-01-02,1\n"),
    ),
}


@pytest.mark.parametrize("kind", FOLDER_FAULTS)
def test_faults_of_a_folder_name_the_file_and_a_remedy(tmp_path: Path, kind: str) -> None:
    files, wanted, mend = FOLDER_FAULTS[kind]
    good = {f"{s}.csv": "date,close\n2020-01-02,1\n2020-01-03,2\n" for s in "ABC"}
    folder = write(tmp_path / "p", {**good, **files})
    with pytest.raises(PanelError) as caught:
        load_panel(folder)
    assert re.search(wanted, f"{caught.value.message} {caught.value.hint}", re.DOTALL), caught.value
    assert caught.value.hint
    mend(folder)
    assert load_panel(folder).shape[0] == 2


BY_FIELD: dict[str, tuple[Mapping[str, str], str, Mapping[str, str]]] = {
    "a name of other letters": (
        {"收盘价格.csv": "date,A\n2020-01-02,1\n2020-01-03,1\n"},
        "no expression can write this file's name",
        {"eps.csv": "date,A\n2020-01-02,1\n2020-01-03,1\n"},
    ),
    "no date": ({"eps.csv": "A,B\n1,2\n3,4\n"}, "no date column", {"eps.csv": "date,A,B\n2020-01-02,1,2\n"}),
    "no symbol": (
        {"eps.csv": "date,\n2020-01-02,\n"},
        "no column with values",
        {"eps.csv": "date,A\n2020-01-02,1\n"},
    ),
    "a date twice": (
        {"eps.csv": "date,A\n2020-01-02,1\n2020-01-02,2\n"},
        "row 3, column date: this date is repeated",
        {"eps.csv": "date,A\n2020-01-02,2\n"},
    ),
    "intraday": (
        {"eps.csv": "date,A\n2020-01-02 09:30,1\n2020-01-02 10:30,2\n"},
        "eps.csv: times of day, from 09:30 to 10:30, would be cut off",
        {"eps.csv": "date,A\n2020-01-02 10:30,2\n"},
    ),
}


@pytest.mark.parametrize("kind", BY_FIELD)
def test_faults_of_a_file_of_one_field_name_a_remedy(tmp_path: Path, kind: str) -> None:
    bad, wanted, good = BY_FIELD[kind]
    close = {"close.csv": "date,A,B\n2020-01-02,1,2\n2020-01-03,1,2\n"}
    folder = write(tmp_path / "p", {**close, **bad})
    with pytest.raises(PanelError, match=wanted) as caught:
        load_panel(folder)
    assert caught.value.hint
    for name in bad:
        (folder / name).unlink()
    assert load_panel(write(folder, good)).fields["close"].shape == (2, 2)


def test_a_csv_file_with_the_name_of_a_parquet_file_is_read_under_its_own(tmp_path: Path) -> None:
    with pytest.raises(PanelError, match="not a Parquet file") as caught:
        panel_of(tmp_path, GOOD, "p.parquet")
    assert "name a CSV file .csv" in caught.value.hint
    (tmp_path / "p.parquet").rename(tmp_path / "p.csv")
    assert load_panel(tmp_path / "p.csv").shape == (2, 2)


@pytest.mark.parametrize(
    "beside", [{}, {"symbols_valid_meta.csv": "Symbol,Security Name,ETF\nA,Agilent,N\n"}]
)
def test_a_folder_of_folders_is_refused_with_the_one_to_name(
    tmp_path: Path, beside: Mapping[str, str]
) -> None:
    write(tmp_path / "all", beside)
    write(tmp_path / "all" / "Stocks", SYMBOL_FILES["Kaggle"])
    with pytest.raises(PanelError) as caught:
        load_panel(tmp_path / "all")
    found = re.search(r"[Nn]ame the folder (.*)\.$", caught.value.hint)
    assert found
    assert load_panel(Path(found[1])).symbols == ("AAPL", "BRK.B", "LOW")


def test_thousands_of_files_with_one_fault_are_counted(tmp_path: Path) -> None:
    bad = {f"S{i}.csv": "date,close,volume\n2020-01-02,x,1\n" for i in range(9)}
    with pytest.raises(PanelError) as caught:
        load_panel(write(tmp_path / "p", bad))
    assert "4 more files have faults" in caught.value.message
    assert len(caught.value.problems) == 6


# --- refusals, and the file after their hint is followed -------------------------------------------------------------

GOOD = "date,symbol,close,volume\n2020-01-02,A,1,5\n2020-01-02,B,2,6\n2020-01-03,A,1,5\n2020-01-03,B,2,6\n"
Mend = Callable[[bytes], bytes]


def text(old: str, new: str) -> Mend:
    def mend(content: bytes) -> bytes:
        assert old in content.decode(), old
        return content.decode().replace(old, new).encode()

    return mend


def decoded(encoding: str) -> Mend:
    return lambda content: content.decode(encoding).encode()


def instead(content: str) -> Mend:
    return lambda _: content.encode()


REFUSED: dict[str, tuple[bytes, str, str, Mend]] = {
    "GBK": (
        (DATA / "akshare_gbk_head.csv").read_bytes(),
        "row 1 is not UTF-8 text .*GBK",
        "iconv -f GBK",
        decoded("gbk"),
    ),
    "GBK later": (
        GOOD.replace("A", "中国").encode("gbk"),
        "row 2 is not UTF-8 text .*GBK",
        "iconv -f GBK",
        decoded("gbk"),
    ),
    "Windows": (
        GOOD.replace("B", "Électricité").encode("cp1252"),
        "row 3 is not UTF-8",
        "iconv -f WINDOWS-1252",
        decoded("cp1252"),
    ),
    "UTF-16": (
        GOOD.encode("utf-16"),
        "row 1 is not UTF-8 text .*UTF-16",
        "iconv -f UTF-16",
        decoded("utf-16"),
    ),
    "UTF-16 without a mark": (
        GOOD.encode("utf-16-le"),
        "not UTF-8 text .*UTF-16",
        "iconv -f UTF-16",
        decoded("utf-16-le"),
    ),
    "intraday": (
        b"datetime,symbol,close\n2020-01-02 09:30:00,A,1\n2020-01-02 10:30:00,A,2\n2020-01-03 09:30:00,A,3\n",
        "times of day, from 09:30:00 to 10:30:00, would be cut off",
        "Keep one row for each date and symbol",
        text("2020-01-02 09:30:00,A,1\n", ""),
    ),
    "intraday since 1970": (
        b"open_time,symbol,close\n1577836800000,A,1\n1577840400000,A,2\n1577923200000,A,3\n",
        "times of day, from 00:00:00.* to 01:00:00.*, would be cut off",
        "Keep one row",
        text("1577836800000,A,1\n", ""),
    ),
    "intraday wide": (
        b"Price,Close\nTicker,A\nDate,\n2020-01-02 14:30:00+00:00,1\n2020-01-02 15:30:00+00:00,1\n2020-01-03 15:30:00,1\n",
        "times of day, from 14:30:00 to 15:30:00, would be cut off",
        "Keep one row for each date",
        text("2020-01-02 14:30:00+00:00,1\n", ""),
    ),
    "intraday, the time in a column of its own": (
        b"<DATE>,<TIME>,<TICKER>,<CLOSE>\n20200102,093000,A,1\n20200102,103000,A,2\n20200103,093000,A,3\n",
        "times of day, from 93000 to 103000, would be cut off",
        "Keep one row for each date and symbol",
        text("20200102,093000,A,1\n", ""),
    ),
    "an open quote": (
        b'date,symbol,close\n2020-01-02,"A,1\n2020-01-03,A,2\n',
        "could not parse",
        "Save it again",
        text('"', ""),
    ),
    "ends of rows": (
        GOOD.replace("\n", "\r").encode(),
        "the first rows are not CSV",
        "Save it again",
        text("\r", "\n"),
    ),
    "no symbol": (
        b"open_time,open,close\n1577836800000,1,2\n1577923200000,1,2\n",
        "there is no symbol column",
        "or add one",
        instead("symbol,open_time,open,close\nBTC,1577836800000,1,2\nBTC,1577923200000,1,2\n"),
    ),
    "no date": (
        text("date", "when")(GOOD.encode()),
        "there is no date column",
        "Name the column of dates date",
        text("when", "date"),
    ),
    "no names": (
        b"1577836800000,A,2,2\n1577923200000,A,2,2\n",
        "row 1 holds data",
        "Add a first row of names",
        lambda content: b"date,symbol,open,close\n" + content,
    ),
    "dates as columns": (
        b"symbol,2020-01-02,2020-01-03\nA,1,2\nB,3,4\n",
        "the columns are named after dates",
        "Transpose the table",
        instead("date,A,B\n2020-01-02,1,3\n2020-01-03,2,4\n"),
    ),
    "dates of the US as columns": (
        b"symbol,01/02/2020,01/03/2020\nA,1,2\nB,3,4\n",
        "the columns are named after dates",
        "Transpose the table",
        instead("date,A,B\n2020-01-02,1,3\n2020-01-03,2,4\n"),
    ),
    "prices that could be days": (
        b"1577836800000,42283.58,44184.10,27174.29\n1577923200000,44179.55,45879.63,65146.40\n",
        "row 1 holds data",
        "Add a first row of names",
        instead(
            "date,symbol,open,close\n1577836800000,A,42283.58,44184.10\n1577923200000,A,44179.55,45879.63\n"
        ),
    ),
    "points and commas before three digits": (
        b"date;symbol;close;volume\n2020-01-02;A;12,345;869.589\n2020-01-03;A;12,500;1.000\n",
        "'12,345' may be 12345 or 12.345",
        "without thousands separators",
        lambda content: content.replace(b".", b"").replace(b",", b"."),
    ),
    "closes of the ticker ID": (
        b"date,AAPL,ID\n2020-01-02,1.5,2.5\n2020-01-03,1.5,2.75\n",
        "column ID is taken for the symbols, and holds numbers such as 2.5",
        "as in close_ID",
        text("AAPL,ID", "close_AAPL,close_ID"),
    ),
    "a decimal comma far below": (
        ("date;symbol;close\n" + LATE + "2020-01-02;A;1,100\n").encode(),
        "'1,100' may be 1100 or 1.100",
        "without thousands separators",
        text("1,100", "1.100"),
    ),
    "a source below": (
        GOOD.encode() + b"Source: exchange\n",
        "row 6, column date: 'Source: exchange' is not a date",
        "remove rows without a date",
        text("Source: exchange\n", ""),
    ),
    "lines before": (
        b"# made by a tool\n\n" + GOOD.encode(),
        "row 1 has only one column",
        "Remove the rows before row 3",
        text("# made by a tool\n\n", ""),
    ),
    "Excel's first line": (
        b"sep=;\n" + GOOD.replace(",", ";").encode(),
        "row 1 names no columns",
        "Remove row 1",
        text("sep=;\n", ""),
    ),
    "an empty row": (
        text("2020-01-03,A", "\n2020-01-03,A")(GOOD.encode()),
        "row 4 is empty",
        "Remove empty rows",
        text("\n\n", "\n"),
    ),
    "1,100": (
        b"date;symbol;close\n2020-01-02;A;1,100\n2020-01-03;A;2,100\n",
        "may be 1100 or 1.100",
        "without thousands separators",
        text(",", ""),
    ),
    "a column twice": (
        text("volume", "close")(GOOD.encode()),
        r"the column 'close' is repeated \(columns 3, 4\)",
        "Name each column once",
        text("close,close", "close,close2"),
    ),
    "two names for one": (
        text("volume", "closing_price")(GOOD.encode()),
        "both mean close",
        "Remove or rename one of them",
        text("closing_price", "second"),
    ),
    "units": (
        text(",5", ",1.2M")(GOOD.encode()),
        "'1.2M' is not a number",
        "Write numbers as 1234.5",
        text("1.2M", "1200000"),
    ),
    "decimal comma": (
        text("1,5", '"1,5",5')(GOOD.encode()),
        "'1,5' is not a number",
        "separated by semicolons",
        lambda content: re.sub(rb',(?!5")', b";", content).replace(b'"', b""),
    ),
    "no values": (
        b"date,symbol\n2020-01-02,A\n",
        "no column with values",
        "date,symbol,close",
        instead(GOOD),
    ),
    "names in other letters": (
        "date,symbol,Закрытие\n2020-01-02,A,1\n2020-01-03,A,2\n".encode(),
        "no expression can write the names of the columns Закрытие",
        "Name them in letters from a to z",
        text("Закрытие", "close"),
    ),
    "all names in other letters": (
        "Дата,Тикер,Закрытие\n2020-01-02,A,1\n2020-01-03,A,2\n".encode(),
        "no date column(.|\n)*no symbol column(.|\n)*no expression can write the names",
        "Name them in letters from a to z",
        text("Дата,Тикер,Закрытие", "date,symbol,close"),
    ),
    "texts alone": (b"date,symbol,note\n2020-01-02,A,x\n", "no column holds numbers", "Add", instead(GOOD)),
    "JSON": (b'[{"date": "2020-01-02", "close": 1}]', "this is JSON", "CSV UTF-8", instead(GOOD)),
    "a workbook": (
        b"PK\x03\x04\x14\x00[Content_Types].xml" + bytes(40),
        "this is an Excel workbook",
        "CSV UTF-8",
        instead(GOOD),
    ),
    "an archive": (
        b"PK\x03\x04\x14\x00a.csv" + bytes(40),
        "this is a zip archive",
        "Unpack it",
        instead(GOOD),
    ),
    "a web page": (b"<!DOCTYPE html>\n<html>a,b", "this is a web page", "Download", instead(GOOD)),
    "half of a gzip file": (
        gzip.compress(GOOD.encode() * 99)[:60],
        "gzip file is damaged",
        "Write it again",
        instead(GOOD),
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_names_a_remedy_that_works(tmp_path: Path, kind: str) -> None:
    content, wanted, hint, mend = REFUSED[kind]
    with pytest.raises(PanelError) as caught:
        panel_of(tmp_path, content)
    assert re.search(wanted, caught.value.message), caught.value.message
    assert hint in caught.value.hint
    panel = panel_of(tmp_path, mend(content))
    assert panel.shape[0] >= 2
    assert np.isfinite(panel.fields["close"]).all()


SUSPICIOUS: dict[str, tuple[str, str]] = {
    "percent": (
        "turnover\n{day},A,1,1.5%\n",
        "the column turnover is read as a grouping, since '1.5%' is no number",
    ),
    "units": ("size\n{day},A,1,$1.2B\n", "the column size is read as a grouping, since '$1.2B'"),
    "returns in percent": (
        "returns\n2020-01-02,A,100,\n2020-01-03,A,102,2\n",
        "row 3, column returns: returns of A on 2020-01-03 are 2, and close moves by 0.02; 1 of 1 returns differ",
    ),
    "returns of the next day": (
        "ret\n2020-01-02,A,100,0.02\n2020-01-03,A,102,-0.03\n2020-01-06,A,98.94,\n",
        "row 3, column ret: returns of A on 2020-01-03 are -0.03, and close moves by 0.02; 1 of 1 returns differ",
    ),
}


@pytest.mark.parametrize("kind", SUSPICIOUS)
def test_columns_that_may_mean_something_else_are_a_warning(tmp_path: Path, kind: str) -> None:
    text, wanted = SUSPICIOUS[kind]
    header, rows = text.split("\n", 1)
    days = DAYS if "{day}" in rows else ["once"]
    content = f"date,symbol,close,{header}\n" + "".join(rows.format(day=day) for day in days)
    [warning] = panel_of(tmp_path, content).warnings
    assert warning.startswith(wanted)


def test_returns_that_fit_close_are_no_warning(tmp_path: Path) -> None:
    rows = "2020-01-02,A,100,\n2020-01-03,A,102,0.02\n2020-01-06,A,99,-0.0294\n2020-01-07,A,98,0.03\n"
    assert panel_of(tmp_path, "date,symbol,close,returns\n" + rows).warnings == ()


def test_times_of_day_without_a_repeated_day_are_a_warning(tmp_path: Path) -> None:
    rows = "".join(f"2020-01-0{d} {10 + d}:00,A,1\n" for d in (2, 3, 6))
    [warning] = panel_of(tmp_path, "date,symbol,close\n" + rows).warnings
    assert warning == "times of day, from 12:00 to 16:00, are cut off"
    closing = rows.replace("12:", "16:").replace("13:", "16:")
    assert panel_of(tmp_path, "date,symbol,close\n" + closing).warnings == ()


def test_a_long_row_of_a_packed_file_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD.replace("A,1,5", "A,1,5,9", 1).encode())
    with pytest.raises(PanelError, match="row 2 has 5 cells, and there are 4 columns"):
        panel_of(tmp_path, packed, "p.csv.gz")


@pytest.mark.parametrize("name", ["date", "time"])
def test_whole_numbers_as_days_of_a_parquet_file_are_no_times_of_day(tmp_path: Path, name: str) -> None:
    days = [20200102, 20200103, 20200106]
    rows = {name: days, "symbol": ["A"] * 3, "close": [1.0, 1.1, 1.2]}
    pl.DataFrame(rows).write_parquet(tmp_path / "panel.parquet")
    assert load_panel(tmp_path / "panel.parquet").warnings == ()
    pl.DataFrame({**rows, name: [*days[:2], days[0]]}).write_parquet(tmp_path / "twice.parquet")
    with pytest.raises(PanelError, match="row 3: A on 2020-01-02 is there already, in row 1"):
        load_panel(tmp_path / "twice.parquet")
