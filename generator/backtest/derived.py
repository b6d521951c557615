"""Fields that follow from others, added where the data do not have them."""

from dataclasses import replace

import numpy as np

from generator.backtest.gaps import returns_of
from generator.backtest.panel import Matrix, Panel

ADV_DAYS = 20


def with_derived(panel: Panel) -> Panel:
    """Return the panel with returns, vwap and adv20 where they are absent and follow from what is there.

    returns: close / the last known close - 1, where that was above 0 and this is not below. vwap: the mean of high,
    low and close, an approximation. adv20: the mean volume of the last 20 days that have one.
    """
    fields = dict(panel.fields)
    if "returns" not in fields and "close" in fields:
        fields["returns"] = returns_of(fields["close"])
    if "vwap" not in fields and {"high", "low", "close"} <= fields.keys():
        fields["vwap"] = (fields["high"] + fields["low"] + fields["close"]) / 3
    if "adv20" not in fields and "volume" in fields:
        fields["adv20"] = _rolling_mean(fields["volume"], ADV_DAYS)
    return replace(panel, fields=fields)


def _rolling_mean(x: Matrix, days: int) -> Matrix:
    known = ~np.isnan(x)
    total = np.zeros(x.shape)
    count = np.zeros(x.shape)
    for back in range(min(days, len(x))):
        part = slice(0, len(x) - back)
        total[back:] += np.where(known[part], x[part], 0.0)
        count[back:] += known[part]
    with np.errstate(invalid="ignore"):
        return (total / count).astype(x.dtype)
