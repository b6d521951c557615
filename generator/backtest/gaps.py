"""Gaps: days without a close between two with one, as of a suspended share. Pure.

A suspended share cannot be sold. The position of its last close therefore earns the move across the gap, on the day of
the next close. That day is not known beforehand: positions, turnover and counts are as if there were no gap. A share that
is never traded again earns nothing after its last close.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from generator.backtest.panel import Gaps, Matrix, Panel, last_known


def gaps_of(close: Matrix) -> Gaps:
    """Return the gaps of closes: the last day before each, the first day after, and the instrument."""
    before = last_known(close)
    days = np.arange(len(close))[:, None]
    after, instrument = np.nonzero(~np.isnan(close) & (before >= 0) & (before < days - 1))
    return np.stack([before[after, instrument], after, instrument], axis=1).astype(np.int32)


def earned_across(positions: Matrix, panel: Panel) -> npt.NDArray[np.float64]:
    """Return the correction of each day's PnL: a gap's move counts for the position before it, not for that at its end."""
    last, after, instrument = panel.gaps.T
    move = panel.fields["returns"][after, instrument].astype(np.float64)
    held = positions[last, instrument].astype(np.float64) - positions[after - 1, instrument]
    earned = np.where(np.isfinite(move), held * move, 0.0)
    result = np.zeros(len(panel.dates))
    np.add.at(result, after - 1, earned)
    return result


def without_gaps(panel: Panel) -> Panel:
    """Return the panel with no return on the day after a gap: no position earns the move."""
    _, after, instrument = panel.gaps.T
    if not len(after):
        return panel
    returns = panel.fields["returns"].copy()
    returns[after, instrument] = np.nan
    return replace(panel, fields={**panel.fields, "returns": returns}, gaps=panel.gaps[:0])
