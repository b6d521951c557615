"""Correlations of daily PnL. Series are float32, and those of one table end on the same day.

Missing days at the front of a series count as 0: a later alpha earned nothing before its beginning. numpy is imported
here; the modules that prompts need do not import this one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]


def series(pnl: bytes) -> Rows:
    """Return the values of a stored PnL."""
    return np.frombuffer(pnl, dtype=np.float32)


def standardized(pnls: Sequence[bytes]) -> Rows:
    """Return one row a PnL, of mean 0 and length 1: the product of two rows is their correlation.

    A PnL that is constant, or not finite on some day, gives a row of zeros.
    """
    days = max((len(pnl) // 4 for pnl in pnls), default=0)
    rows = np.zeros((len(pnls), days), dtype=np.float32)
    for row, pnl in zip(rows, pnls, strict=True):
        values = series(pnl)
        row[days - len(values) :] = values
    rows[~np.isfinite(rows).all(axis=1)] = 0.0
    rows -= rows.mean(axis=1, keepdims=True, dtype=np.float64) if days else 0.0
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    np.divide(rows, lengths[:, None], out=rows, where=lengths[:, None] > 0.0, casting="unsafe")
    return rows


class PnlTable:
    """The PnL of several alphas by digest, standardized once for many questions."""

    def __init__(self, pnls: Mapping[str, bytes]) -> None:
        self._pnls = {digest: pnl for digest, pnl in pnls.items() if pnl}
        self._rows = standardized(list(self._pnls.values()))

    def correlations(self, pnl: bytes) -> dict[str, float]:
        """Return the correlation of a PnL with each alpha of the table; nothing for an empty PnL."""
        if not pnl or not self._pnls:
            return {}
        days = self._rows.shape[1]
        if len(pnl) // 4 > days:
            rows = standardized([*self._pnls.values(), pnl])
            found = rows[:-1] @ rows[-1]
        else:
            padded = b"\0" * (4 * days - len(pnl)) + pnl
            found = self._rows @ standardized([padded])[0]
        return dict(zip(self._pnls, map(float, found), strict=True))

    def highest(self) -> dict[str, float]:
        """Return each alpha's highest correlation with another one; nothing for a single alpha."""
        if len(self._pnls) < 2:  # noqa: PLR2004  # a correlation takes two
            return {}
        every = self._rows @ self._rows.T
        np.fill_diagonal(every, -1.0)
        return dict(zip(self._pnls, map(float, every.max(axis=1)), strict=True))


def distinct(pnls: Sequence[bytes], limit: float) -> int:
    """Return the number of series without those that correlate at `limit` or more with an earlier one."""
    rows = standardized(pnls)
    close = rows @ rows.T >= limit
    leaders: list[int] = []
    for number in range(len(rows)):
        if not close[number, leaders].any():
            leaders.append(number)
    return len(leaders)
