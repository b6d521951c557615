"""The meaning of a table's columns, by their names: date, symbol, fields, groupings, universe (pure).

A long table has a row for each date and symbol. A wide table has a row for each date. Its columns are named after a
field and a symbol: `close_ABC`, `ABC.close`, `('close', 'ABC')`. A column named after a symbol alone holds its close.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from generator.catalogue import Kind, load_catalogue

DATES = (
    "date", "datetime", "day", "trade_date", "trading_date", "tradedate", "timestamp", "time", "dt", "date_time",
    "trading_day", "tradingday", "trade_dt", "trddt", "datadate", "as_of_date", "open_time", "opentime", "window_start",
    "start_time", "time_key", "dates", "dtyyyymmdd", "ts_event", "snapped_at", "traddt",
)  # fmt: skip
SYMBOLS = (
    "symbol", "ticker", "tckrsymb", "instrument", "asset", "security", "stock", "code", "tic", "sid", "secid", "permno",
    "isin", "cusip", "figi", "ric", "instrument_id", "asset_id", "security_id", "ts_code", "stock_code", "wind_code",
    "order_book_id", "stkcd", "secucode", "sec_code", "ticker_symbol", "stock_symbol", "act_symbol", "pair", "name", "id",
)  # fmt: skip
GROUPS = ("market", "sector", "industry", "subindustry", "country", "exchange", "currency")
UNIVERSE = ("universe", "in_universe")
PRICES = ("open", "high", "low", "close", "vwap")
AMOUNTS = ("volume", "cap", "adv20", "sharesout")

SYNONYMS = {
    "vol": "volume", "market_cap": "cap", "marketcap": "cap", "mktcap": "cap", "mkt_cap": "cap",
    "shares_outstanding": "sharesout", "shrout": "sharesout", "ret": "returns", "return": "returns",
    "open_price": "open", "high_price": "high", "low_price": "low", "close_price": "close", "closing_price": "close",
    "close_last": "close", "prc": "close", "px_last": "close",
    "px_open": "open", "px_high": "high", "px_low": "low", "px_volume": "volume",
    "openprice": "open", "highprice": "high", "lowprice": "low", "closeprice": "close", "price_close": "close",
    "opnpric": "open", "hghpric": "high", "lwpric": "low", "clspric": "close", "ttltradgvol": "volume",
    "tottrdqty": "volume", "trade_volume": "volume", "volume_weighted_average_price": "vwap",
    "sub_industry": "subindustry", "gics_sector": "sector", "gics_industry": "industry",
    "gics_sub_industry": "subindustry",
}  # fmt: skip
SECOND_CHOICE = {
    "price": "close", "last": "close", "adj_close": "close", "adjclose": "close", "adjusted_close": "close",
    "close_adj": "close", "closeadj": "close",
}  # fmt: skip
"""Names that mean a field only if no other column means it."""

OTHER_SCRIPTS = {
    "日期": "date", "交易日期": "date", "交易日": "date", "时间": "date", "日付": "date", "날짜": "date", "일자": "date",
    "股票代码": "symbol", "证券代码": "symbol", "代码": "symbol", "基金代码": "symbol", "指数代码": "symbol",
    "合约代码": "symbol", "證券代號": "symbol", "股票代號": "symbol", "銘柄コード": "symbol", "コード": "symbol",
    "종목코드": "symbol", "티커": "symbol",
    "开盘": "open", "开盘价": "open", "今开": "open", "開盤價": "open", "始値": "open", "시가": "open",
    "最高": "high", "最高价": "high", "最高價": "high", "高値": "high", "고가": "high",
    "最低": "low", "最低价": "low", "最低價": "low", "安値": "low", "저가": "low",
    "收盘": "close", "收盘价": "close", "收盤價": "close", "終値": "close", "종가": "close",
    "成交量": "volume", "成交股數": "volume", "出来高": "volume", "거래량": "volume",
    "总市值": "cap", "시가총액": "cap", "行业": "industry", "所属行业": "industry", "板块": "sector",
}  # fmt: skip

_UNNAMED = ("", "level_0", "__index_level_0__", "column_0")
_SEPARATORS = ("__", "_", ".", ":", "|", "/", " ", "-")
_PAIR = re.compile(r"""\(\s*['"]([^'"]*)['"]\s*,\s*['"]?([^'"]*?)['"]?\s*\)""")
_WORD = re.compile(r"[^A-Za-z0-9_]+")
_UNIT = re.compile(r"\s*[(\[\uff08][^()\uff08\uff09]*[)\]\uff09]$")  # "Close (USD)"
_NUMBERED = re.compile(r"^\d+\.\s+")  # Alpha Vantage's "1. open"

Cell = tuple[str, str, str]
"""A wide table's column, its field and its symbol."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns' meaning. In a wide table `cells` has the field and symbol of each column, and `symbol` is empty."""

    date: str
    symbol: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    """(column, name) of a long table's other columns."""
    cells: tuple[Cell, ...] = ()
    left_out: tuple[str, ...] = ()
    """Columns whose names an expression cannot write."""


@cache
def number_names() -> frozenset[str]:
    """Return the names that always mean numbers."""
    catalogue = load_catalogue(higher=True)
    return frozenset({*catalogue.fields_of(Kind.MATRIX), *PRICES, *AMOUNTS, "returns"})


def plain_name(column: str) -> str:
    """Return a column's name in lower case with underscores; known names of other scripts in English."""
    text = _NUMBERED.sub("", column.strip())
    return OTHER_SCRIPTS.get(text) or _WORD.sub("_", text.lower()).strip("_")


@lru_cache(maxsize=1 << 14)
def field_name(column: str) -> str:
    """Return a column's name in expressions: known names in lower case, others unchanged.

    The name is empty if an expression cannot write it: letters of other scripts, or a digit in front.
    """
    plain = plain_name(column)
    plain = SYNONYMS.get(plain, plain)
    if plain in UNIVERSE:
        return "universe"
    if plain in number_names() or plain in GROUPS:
        return plain
    name = _WORD.sub("_", column.strip()).strip("_")
    foreign = any(letter.isalpha() and not letter.isascii() for letter in column)
    return "" if foreign or name[:1].isdigit() else name


def is_known(name: str) -> bool:
    """Return True if the catalogue has a field of this name."""
    return name in number_names() or name in GROUPS or name == "universe"


def translated(column: str) -> str:
    """Return the meaning of a column name in another script; empty for all other names."""
    return OTHER_SCRIPTS.get(_UNIT.sub("", column.strip()), "")


def _role(columns: Sequence[str], names: Sequence[str]) -> str:
    plain = {plain_name(column): column for column in reversed(columns)}
    return next((plain[name] for name in names if name in plain), "")


def find_date(columns: Sequence[str], dated: Sequence[str] = ()) -> str:
    """Return the date column: by name, else the first of a date type, else an unnamed index; empty if none."""
    named = _role(columns, DATES)
    if named:
        return named
    if dated:
        return dated[0]
    return next((c for c in columns[:1] if is_unnamed(c) or c.strip().lower() == "index"), "")


def find_symbol(columns: Sequence[str]) -> str:
    """Return the symbol column, empty if there is none."""
    named = _role(columns, SYMBOLS)
    return named or next((column for column in columns if column == "__index_level_1__"), "")


def layout_of(columns: Sequence[str], dated: Sequence[str] = ()) -> Layout:
    """Return the layout of columns.

    `date` is empty without a date column; `fields` and `cells` are empty for an unknown form.
    """
    date, symbol = find_date(columns, dated), find_symbol(columns)
    others = [column for column in columns if column not in {date, symbol} and not is_unnamed(column)]
    cells = () if symbol or not date else _split(others)
    if cells and not all(_UNIT.fullmatch(unit) for _, _, unit in cells):
        names = dict(_named(list(dict.fromkeys(name for _, name, _ in cells))))
        named = tuple((column, names[name], symbol) for column, name, symbol in cells if names[name])
        return Layout(date, cells=named, left_out=tuple(name for name in names if not names[name]))
    fields = _named([column for column in others if column.strip().lower() != "index"])
    if date and not symbol and _are_tickers([column for column, _ in fields]):
        return Layout(date, cells=tuple((column, "close", column.strip()) for column in others))
    unwritable = tuple(column for column, name in fields if not name)
    return Layout(date, symbol, fields=tuple(one for one in fields if one[1]), left_out=unwritable)


def _are_tickers(names: Sequence[str]) -> bool:
    """Return True if no name is a field's, or only a few that are tickers too, as LOW and OPEN."""
    known = [name for name in names if _is_field(name)]
    odd = any(_earns(field_name(name).lower()) or name != name.upper() for name in known)
    return not known or (not odd and 2 * len(known) < len(names))


def _named(columns: Sequence[str]) -> list[tuple[str, str]]:
    """Return (column, name); a second-choice name counts only if no other column has its meaning.

    So does a known name with a unit behind it, if no other column differs from it by the unit alone.
    """
    named = [(column, field_name(column)) for column in columns]
    bare = [field_name(_UNIT.sub("", column.strip())) for column in columns]
    for number, (column, name) in enumerate(named):
        own = bare[number]
        meaning = own if is_known(own) and bare.count(own) == 1 else SECOND_CHOICE.get(name.lower())
        if meaning and all(other != meaning for _, other in named):
            named[number] = (column, meaning)
    return named


def is_unnamed(column: str) -> bool:
    """Return True if a column has no name, as the index that pandas writes."""
    plain = column.strip().lower()
    return plain in _UNNAMED or plain.startswith(("unnamed: ", "_duplicated_"))


def _split(columns: Sequence[str]) -> tuple[Cell, ...]:
    """Return the cells if all names join field and symbol in one way, else nothing."""
    if all(column.strip().endswith(" Equity") for column in columns):
        return ()  # Bloomberg's names of shares; equity is a field too
    pairs = [_PAIR.fullmatch(column.strip()) for column in columns]
    if columns and all(pairs):
        halves = [[(match.group(1), match.group(2))] for match in pairs if match]
        ways = [halves, [[(b, a) for a, b in one] for one in halves]]
    else:
        ways = [
            [_cuts(column.strip(), separator, field_first=first) for column in columns]
            for separator in _SEPARATORS
            for first in (True, False)
        ]
    found = [_matched(columns, way) for way in ways]
    return max(found, key=lambda cells: fields_among([name for _, name, _ in cells]))


def _is_field(name: str) -> bool:
    known = field_name(name)
    return is_known(known) or known.lower() in SECOND_CHOICE


def fields_among(names: Sequence[str]) -> tuple[bool, int, int]:
    """Return True if closes are among the names, the number of names of known fields, and of distinct ones.

    They distinguish fields from symbols: LOW is a ticker too.
    """
    known = [field_name(name).lower() for name in names if _is_field(name)]
    return any(map(_earns, known)), len(known), len(set(known))


def _earns(name: str) -> bool:
    return name in {"close", "returns", *SECOND_CHOICE}


def _cuts(column: str, separator: str, *, field_first: bool) -> list[tuple[str, str]]:
    """Return each (field, symbol) that a column's name can be cut into."""
    parts = column.split(separator)
    cuts = [(separator.join(parts[:i]), separator.join(parts[i:])) for i in range(1, len(parts))]
    return cuts if field_first else [(b, a) for a, b in reversed(cuts)]


def _matched(columns: Sequence[str], halves: Sequence[Sequence[tuple[str, str]]]) -> tuple[Cell, ...]:
    """Return the cells if each column's symbol also has a known field, else nothing.

    A known field of one symbol alone may be a ticker, as in LOW.US beside AAPL.US, unless it is a close.

    Of several cuts the one whose symbol has most known fields wins: `open_interest_A` beside `close_A`, `volume_A`.
    """
    often = Counter(symbol.strip() for cuts in halves for _, symbol in cuts)
    with_known = Counter(symbol.strip() for cuts in halves for name, symbol in cuts if _is_field(name))
    cells = []
    for column, cuts in zip(columns, halves, strict=True):
        good = [(name, symbol.strip()) for name, symbol in cuts if name.strip() and symbol.strip()]
        if not good:
            return ()
        name, symbol = max(good, key=lambda cut: (with_known[cut[1]], often[cut[1]]))
        cells.append((column, name, symbol))
    known = [(field_name(name).lower(), symbol) for _, name, symbol in cells if _is_field(name)]
    fields = Counter(name for name, _ in known)
    if not any(count > 1 or _earns(name) for name, count in fields.items()):
        return ()
    return tuple(cells) if {symbol for _, symbol in known}.issuperset(one for _, _, one in cells) else ()
