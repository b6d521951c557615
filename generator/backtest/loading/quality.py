"""Warnings of suspicious values, with row and column. The values stay as they are."""

import numpy as np
import numpy.typing as npt

from generator.backtest.loading.assemble import Sheet
from generator.backtest.loading.columns import AMOUNTS, PRICES
from generator.backtest.loading.faults import Faults
from generator.backtest.panel import Matrix, gaps_of, returns_of

_LONG_PAUSE = np.timedelta64(10, "D")
_SPLITS = np.array([1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 50, 100])
_SPLIT_TOLERANCE = 0.02
_LEAST_SPLIT = 1.4
_SPIKE = 3.0  # factor of a move that may be an error
_DIFFERENT = 0.005  # a return that is further from the move of close, plus a tenth of it, is another one
_RETURNED = 1.25  # largest factor of the two moves of a spike together

Mask = npt.NDArray[np.bool_]


def quality_warnings(sheet: Sheet, faults: Faults) -> None:
    """Add a warning for each kind of value that a person should check."""
    if len(sheet.dates) == 1:
        faults.warn(f"there is only one date, {sheet.dates[0]}; positions earn from one date to the next")
    if "close" not in sheet.fields and "returns" not in sheet.fields:
        faults.warn("there is neither close nor returns: expressions get values, but no figures")
    _pauses(sheet, faults)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        _gaps(sheet, faults)
        for name, values in sheet.fields.items():
            _signs(sheet, name, values, faults)
            _warn_of_cells(sheet, faults, name, np.isinf(values), "is infinite", "cells are infinite")
        _bounds(sheet, faults)
        if "close" in sheet.fields:
            _jumps(sheet, faults)
        if {"close", "returns"} <= sheet.fields.keys():
            _returns(sheet, faults)


def _warn_of_cells(sheet: Sheet, faults: Faults, name: str, mask: Mask, finding: str, kind: str) -> None:
    """Warn of the cells of a field that the mask selects, in the order of the file."""
    places = np.argwhere(mask)
    if not len(places):
        return
    rows = sheet.rows[places[:, 0], places[:, 1]]
    places = places[np.argsort(rows, kind="stable")]

    def sentence(d: int, s: int) -> str:
        cell = f"{name} of {sheet.symbols[s]} on {sheet.dates[d]}"
        return f"{sheet.location(d, s, name)}: {cell} {finding} ({sheet.fields[name][d, s]:g})"

    faults.warnings_at((sentence(int(d), int(s)) for d, s in places), len(places), kind)


def _pauses(sheet: Sheet, faults: Faults) -> None:
    """Warn of pauses of more than ten days between dates."""
    long = np.flatnonzero(np.diff(sheet.dates) > _LONG_PAUSE)
    faults.warnings_at(
        (f"there is no date between {sheet.dates[i]} and {sheet.dates[i + 1]}" for i in map(int, long)),
        len(long),
        "long pauses between dates",
    )


def _gaps(sheet: Sheet, faults: Faults) -> None:
    """Warn of instruments with gaps, each by its gap with the largest move.

    The largest moves come first, because positions earn them.
    """
    name = "close" if "close" in sheet.fields else next(iter(sheet.fields))
    field = np.where(sheet.rows > 0, sheet.fields[name], np.nan)
    gaps = gaps_of(field)
    last, after, instrument = gaps.T
    move = field[after, instrument] / field[last, instrument] - 1
    size = np.abs(np.log1p(move)) if name == "close" else np.zeros(len(gaps))
    order = np.argsort(-np.nan_to_num(size), kind="stable")
    _, places = np.unique(instrument[order], return_index=True)

    def sentence(gap: int) -> str:
        d, s = int(after[gap]), int(instrument[gap])
        known = np.flatnonzero(~np.isnan(field[:, s]))
        span = int(known[-1] - known[0]) + 1
        moved = f", and close moves by {move[gap]:+.1%}" if name == "close" else ""
        return (
            f"{sheet.location(d, s, name)}: {sheet.symbols[s]} has a gap from {sheet.dates[last[gap] + 1]}; "
            f"{span - len(known)} of {span} dates are missing{moved}"
        )

    chosen = order[np.sort(places)]
    faults.warnings_at((sentence(int(gap)) for gap in chosen), len(chosen), "instruments have gaps")


def _signs(sheet: Sheet, name: str, values: Matrix, faults: Faults) -> None:
    if name in PRICES:
        _warn_of_cells(sheet, faults, name, values < 0, "is negative", "prices are negative")
        passing = (
            (values == 0) & _has_later(values) if name == "close" else np.zeros(values.shape, dtype=bool)
        )
        finding = "is zero before other closes, a loss of 100 %: leave it empty if there was no trade"
        _warn_of_cells(sheet, faults, name, passing, finding, "closes are zero before others")
        _warn_of_cells(sheet, faults, name, (values == 0) & ~passing, "is zero", "prices are zero")
    elif name in AMOUNTS:
        _warn_of_cells(sheet, faults, name, values < 0, "is negative", f"cells of {name} are negative")


def _has_later(close: Matrix) -> Mask:
    """Return where a later close is above zero."""
    later: Mask = np.maximum.accumulate(close[::-1] > 0, axis=0)[::-1]
    return later


def _bounds(sheet: Sheet, faults: Faults) -> None:
    fields = sheet.fields
    if {"high", "low"} <= fields.keys():
        _warn_of_cells(
            sheet, faults, "high", fields["high"] < fields["low"], "is below low", "days have high below low"
        )
        for name in ("open", "close"):
            if name in fields:
                outside = (fields[name] > fields["high"] * 1.0001) | (fields[name] < fields["low"] * 0.9999)
                finding = "is not between low and high"
                _warn_of_cells(
                    sheet, faults, name, outside, finding, f"cells of {name} are not between low and high"
                )


def _returns(sheet: Sheet, faults: Faults) -> None:
    """Warn of returns that mostly differ from the moves of close, as those in percent or of the next day do."""
    given, moves = sheet.fields["returns"], returns_of(sheet.fields["close"])
    different = np.abs(given - moves) > _DIFFERENT + np.abs(moves) / 10
    wrong, known = np.count_nonzero(different), np.count_nonzero(np.isfinite(given - moves))
    if 2 * wrong > known:
        d, s = map(int, np.argwhere(different)[0])
        faults.warn(
            f"{sheet.location(d, s, 'returns')}: returns of {sheet.symbols[s]} on {sheet.dates[d]} are "
            f"{given[d, s]:g}, and close moves by {moves[d, s]:g}; {wrong} of {known} returns differ from close: "
            "are they in percent, or another day's?"
        )


def _jumps(sheet: Sheet, faults: Faults) -> None:
    """Warn of closes that change by a round factor, as at an unadjusted split, and of single outliers."""
    close = sheet.fields["close"]
    change = np.full(close.shape, np.nan)
    change[1:] = close[1:] / close[:-1]
    size = np.maximum(change, 1 / change)
    size[~np.isfinite(size)] = np.nan  # zero, negative and infinite closes have warnings of their own
    back = np.zeros(close.shape, dtype=bool)
    back[1:-1] = (size[1:-1] > _SPIKE) & (np.abs(np.log(change[1:-1] * change[2:])) < np.log(_RETURNED))
    large = (size > _LEAST_SPLIT) & ~back
    large[1:] &= ~back[:-1]
    split = np.zeros(close.shape, dtype=bool)
    split[large] = (np.abs(size[large][:, None] / _SPLITS - 1) < _SPLIT_TOLERANCE).any(axis=1)
    _warn_of_cells(
        sheet,
        faults,
        "close",
        back,
        "jumps and comes back the next day: an error?",
        "closes jump and come back",
    )
    finding = "changes by a round factor: a split that was not adjusted?"
    _warn_of_cells(sheet, faults, "close", split, finding, "closes change by a round factor")
