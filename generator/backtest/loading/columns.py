"""What a table's columns are, by their names: the date, the symbol, fields, groupings, the universe. Pure.

A long table has a row for each date and symbol. A wide one has a row for each date, and a column for each field and
symbol (`close_ABC`, `ABC.close`, `('close', 'ABC')`) or for each symbol alone, which is then taken as its close.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from generator.catalogue import Kind, load_catalogue

DATES = ("date", "datetime", "day", "trade_date", "trading_date", "tradedate", "timestamp", "time", "dt")
SYMBOLS = (
    "symbol", "ticker", "instrument", "asset", "security", "stock", "code", "tic", "sid", "secid", "permno",
    "isin", "cusip", "figi", "ric", "instrument_id", "asset_id", "security_id", "id",
)  # fmt: skip
GROUPS = ("market", "sector", "industry", "subindustry", "country", "exchange", "currency")
UNIVERSE = ("universe", "in_universe")
PRICES = ("open", "high", "low", "close", "vwap")
AMOUNTS = ("volume", "cap", "adv20", "sharesout")
_UNNAMED = ("", "index", "level_0", "unnamed: 0", "__index_level_0__", "column_0", "_duplicated_0")
_OTHER_NAMES = {
    "vol": "volume", "market_cap": "cap", "marketcap": "cap", "mktcap": "cap", "mkt_cap": "cap",
    "shares_outstanding": "sharesout", "ret": "returns", "return": "returns", "sub_industry": "subindustry",
    "gics_sector": "sector", "gics_industry": "industry", "gics_sub_industry": "subindustry",
}  # fmt: skip
_SEPARATORS = ("_", ".", ":", "|", "/", " ", "-")
_PAIR = re.compile(r"""\(\s*['"]([^'"]*)['"]\s*,\s*['"]?([^'"]*?)['"]?\s*\)""")
_WORD = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column is what. In a wide table `cells` names the field and symbol of each column; `symbol` is empty."""

    date: str
    symbol: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    """(column, name) of a long table's other columns."""
    cells: tuple[tuple[str, str, str], ...] = ()
    """(column, field, symbol) of a wide table's other columns."""


@cache
def number_names() -> frozenset[str]:
    """Return the names that always mean numbers."""
    catalogue = load_catalogue(higher=True)
    return frozenset({*catalogue.fields_of(Kind.MATRIX), *PRICES, *AMOUNTS, "returns"})


def _plain(column: str) -> str:
    return _WORD.sub("_", column.strip().lower()).strip("_")


def field_name(column: str) -> str:
    """Return what a column is called in expressions: known names in lower case, others as they stand."""
    plain = _plain(column)
    plain = _OTHER_NAMES.get(plain, plain)
    if plain in number_names() or plain in GROUPS or plain in UNIVERSE:
        return "universe" if plain in UNIVERSE else plain
    return _WORD.sub("_", column.strip()).strip("_")


def is_known(name: str) -> bool:
    """Say whether a field's name is one that the catalogue has."""
    return name in number_names() or name in GROUPS or name == "universe"


def _role(columns: Sequence[str], names: Sequence[str]) -> str:
    plain = {_plain(column): column for column in reversed(columns)}
    return next((plain[name] for name in names if name in plain), "")


def find_date(columns: Sequence[str], dated: Sequence[str] = ()) -> str:
    """Return the date's column: by its name, else the first whose type says so, else an unnamed index."""
    named = _role(columns, DATES)
    if named:
        return named
    if dated:
        return dated[0]
    return next((column for column in columns[:1] if column.strip().lower() in _UNNAMED), "")


def find_symbol(columns: Sequence[str]) -> str:
    """Return the symbol's column, empty if there is none."""
    named = _role(columns, SYMBOLS)
    return named or next((column for column in columns if column == "__index_level_1__"), "")


def layout_of(columns: Sequence[str], dated: Sequence[str] = ()) -> Layout:
    """Return what the columns are; one without a date or of no known form has an empty `date` or no columns."""
    date, symbol = find_date(columns, dated), find_symbol(columns)
    others = [column for column in columns if column not in {date, symbol}]
    if symbol or not date:
        kept = [column for column in others if not _is_index(column)]
        return Layout(date, symbol, fields=tuple((column, field_name(column)) for column in kept))
    cells = _split(others)
    if cells:
        return Layout(date, cells=cells)
    if any(is_known(field_name(column)) for column in others):
        return Layout(date, fields=tuple((column, field_name(column)) for column in others))
    return Layout(date, cells=tuple((column, "close", column.strip()) for column in others))


def _is_index(column: str) -> bool:
    """Say whether a column is only a table's row numbers, as pandas writes them."""
    return column.strip().lower() in {"", "unnamed: 0", "__index_level_0__", "index"}


def _split(columns: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """Return (column, field, symbol) if all columns are made of both in one way, else nothing."""
    best: tuple[tuple[str, str, str], ...] = ()
    most = 0
    pairs = [_PAIR.fullmatch(column.strip()) for column in columns]
    if columns and all(pairs):
        halves = [(match.group(1), match.group(2)) for match in pairs if match]
        return _halved(columns, halves) or _halved(columns, [(b, a) for a, b in halves])
    for separator in _SEPARATORS:
        for first in (True, False):
            halves = [_halve(column, separator, field_first=first) for column in columns]
            found = _halved(columns, halves)
            known = sum(is_known(name) for _, name, _ in found)
            if known > most:
                best, most = found, known
    return best


def _halve(column: str, separator: str, *, field_first: bool) -> tuple[str, str]:
    if field_first:
        name, _, symbol = column.strip().partition(separator)
    else:
        symbol, _, name = column.strip().rpartition(separator)
    return name, symbol


def _halved(columns: Sequence[str], halves: Sequence[tuple[str, str]]) -> tuple[tuple[str, str, str], ...]:
    cells = tuple(
        (column, field_name(name), symbol.strip())
        for column, (name, symbol) in zip(columns, halves, strict=True)
    )
    if not all(name and symbol for _, name, symbol in cells):
        return ()
    known = {symbol for _, name, symbol in cells if is_known(name)}
    return cells if known and known.issuperset(symbol for _, _, symbol in cells) else ()
